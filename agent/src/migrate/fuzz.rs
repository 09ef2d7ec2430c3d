//! The fuzz target of the translation; see `pipeline::fuzz`.

use super::yaml::{Entry, Kind, Node};
use super::{Options, lower, migrate, steps, vrl, yaml};
use crate::migrate::formula::Writer;

/// A program of VRL, and a whole file: read or refused with words, within bounds. Where it is a Vector configuration, what comes out
/// is YAML, and each of its components is spoken of.
pub fn migration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    program(text);
    let options = Options { file: "f".to_owned(), ..Options::default() };
    let migration = match migrate(text, &options) {
        Ok(migration) => migration,
        Err(problem) => {
            assert!(!problem.is_empty(), "refused without a word");
            return;
        }
    };
    let read = yaml::parse(&migration.config);
    assert!(read.is_ok(), "what comes out is no YAML: {read:?}\n{}", migration.config);
    let shown = migration.report.to_string();
    let lines = migration.report.findings.len();
    assert!(shown.lines().count() >= lines, "a finding is missing");
    // A text that stands as a secret is in no output; an anchor puts it elsewhere too. What is only like one, in the middle of a
    // program, is shown with the program.
    let tree = yaml::parse(text);
    for secret in ["hush-password", "hush-token"] {
        if text.matches(secret).count() == 1
            && tree.as_ref().is_ok_and(|tree| has_password(tree, secret))
            && text.contains("strategy: basic")
            && !text.contains('&')
        {
            let beside = migration.config.contains(secret);
            assert!(!beside, "{secret} is shown");
        }
    }
}

/// Whether it is the value of a key `password`, somewhere.
fn has_password(node: &Node, secret: &str) -> bool {
    match &node.kind {
        Kind::Map(entries) => entries.iter().any(|Entry { key, value, .. }| {
            (key == "password" && value.text() == Some(secret)) || has_password(value, secret)
        }),
        Kind::List(nodes) => nodes.iter().any(|node| has_password(node, secret)),
        Kind::Nothing | Kind::Scalar { .. } => false,
    }
}

/// What is read of VRL becomes rules that compile, or words.
fn program(text: &str) {
    for statement in vrl::program(text) {
        let expr = match statement.expr {
            Ok(expr) => expr,
            Err(problem) => {
                assert!(!problem.is_empty(), "refused without a word");
                continue;
            }
        };
        if let Ok(truth) = lower::condition(&expr) {
            let _ = Writer::default().keep(&truth.yes);
        }
        let _ = steps::statement(&expr, &mut Writer::default());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn migrations_of_the_corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/migration");
        let files: Vec<_> = std::fs::read_dir(&corpus).unwrap().collect();
        assert!(!files.is_empty());
        for file in files {
            super::migration(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
