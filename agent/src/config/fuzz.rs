//! The fuzz target of the configuration; see `pipeline::fuzz`.

use serde_json::Value;

use super::problem::Path;
use super::{Environment, Purpose, effective, parse, reveal, yaml};

/// The variables that an input finds. Both values are nobody's to see.
const VARIABLES: [(&str, &str); 5] = [
    ("CEDANA_AUTH_TOKEN", "hush-token"),
    ("AWS_SECRET_ACCESS_KEY", "hush-key"),
    ("HUSH", "hush-variable"),
    ("CLUSTER_ID", "c-1"),
    ("POD_NAME", "agent-0"),
];

/// A configuration: taken or refused with words, for whatever purpose; what is taken can be run, and no secret is shown, be it
/// from a variable or from the file.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let environment = Environment::from_pairs(VARIABLES);
    let secrets = secrets(text);
    for purpose in [Purpose::Run, Purpose::DryRun] {
        let (shown, config): (Vec<String>, _) = match parse(text, &environment, purpose) {
            Ok((config, warnings, reveal)) => {
                assert!(config.pipeline.jobs(None).is_ok(), "taken, and yet it cannot be run");
                let effective = effective::print(&config, &reveal);
                (warnings.iter().map(ToString::to_string).chain([effective]).collect(), Some(config))
            }
            Err(problems) => {
                assert!(!problems.is_empty(), "refused without a word");
                (problems.iter().map(ToString::to_string).collect(), None)
            }
        };
        let shown = shown.join("\n");
        for (_, value) in VARIABLES.iter().filter(|(_, value)| value.starts_with("hush")) {
            assert!(text.contains(value) || !shown.contains(value), "a variable is shown: {shown}");
        }
        let debug = format!("{config:?}");
        assert!(
            text.contains("hush") || text.contains('$') || !debug.contains("hush"),
            "a secret is shown: {debug}"
        );
        for secret in &secrets {
            assert!(
                !shown.contains(secret) && !debug.contains(secret),
                "{secret:?} is shown: {shown} {debug}"
            );
        }
    }
}

/// The values that are secrets for where they stand, and can be told from everything else in the text.
fn secrets(text: &str) -> Vec<String> {
    // Through an anchor a value stands elsewhere too.
    if text.contains('&') {
        return Vec::new();
    }
    let mut found = Vec::new();
    collect(&yaml::parse(text, &mut Vec::new()), &Path::default(), &mut found);
    found.retain(|value| value.contains("hush") && text.matches(value.as_str()).count() == 1);
    found
}

fn collect(value: &Value, path: &Path, found: &mut Vec<String>) {
    match value {
        Value::String(text) if reveal::is_secret(path) => found.push(text.clone()),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(i, value)| collect(value, &path.index(i), found));
        }
        Value::Object(map) => map.iter().for_each(|(key, value)| collect(value, &path.key(key), found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn configurations_of_the_corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/configuration");
        let files: Vec<_> = std::fs::read_dir(&corpus).unwrap().collect();
        assert!(!files.is_empty());
        for file in files {
            super::configuration(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
