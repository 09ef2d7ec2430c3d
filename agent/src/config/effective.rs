//! The configuration in force, for people: every key with its value, defaults filled in.
//!
//! Takes the configuration and what of it may be shown, gives YAML. Secrets have a type that writes itself as stars; what
//! stands at a place for secrets is starred too, whatever its type; what came out of a variable is shown as it stands in
//! the file, since the variable may hold a secret.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Config;
use super::problem::Path;
use super::reveal::{Reveal, is_secret, without_user};

/// As Prometheus shows secrets in its configuration.
const STARS: &str = "<secret>";

/// The configuration as YAML.
pub(super) fn print(config: &Config, reveal: &Reveal) -> String {
    let Config {
        pipeline,
        sinks,
        ingestion,
        leader_election,
        server,
        reload,
        internal_metrics,
        cluster_id: _,
    } = config;
    // All of them, by name: a section that is added is shown.
    let pipeline::Config {
        global,
        scrape_configs,
        host_metrics,
        kubernetes_events,
        sharding,
        own_labels: _,
        batch,
        journal,
        encoding,
        parquet,
        vector_json,
        limits,
    } = pipeline;
    // The order of the sections in the file.
    let mut tree = Map::from_iter([
        section("global", global),
        section("scrape_configs", scrape_configs),
        section("host_metrics", host_metrics),
        section("kubernetes_events", kubernetes_events),
        section("sharding", sharding),
        section("leader_election", leader_election),
        section("batch", batch),
        section("journal", journal),
        section("encoding", encoding),
        section("parquet", parquet),
        section("vector_json", vector_json),
        section("limits", limits),
        section("spool", &sinks.spool),
        section("credentials", &sinks.credentials),
        section("sink", &sinks.sink),
        section("ingestion", ingestion),
        section("server", server),
        section("reload", reload),
        section("internal_metrics", internal_metrics),
    ]);
    for (name, value) in &mut tree {
        star(value, &Path::root(name), reveal);
    }
    tree.retain(|_, value| !value.is_null());
    // Plain values, which YAML can always hold.
    serde_norway::to_string(&tree).unwrap_or_default()
}

fn section<T: Serialize>(name: &str, section: &T) -> (String, Value) {
    // Sections are mappings with texts for keys, which JSON can always hold.
    (name.to_owned(), serde_json::to_value(section).unwrap_or_default())
}

/// Hides what must not be shown of the value at `path`, and leaves out what is not set.
fn star(value: &mut Value, path: &Path, reveal: &Reveal) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.iter_mut().for_each(|(key, value)| star(value, &path.key(key), reveal));
        }
        Value::Array(values) => {
            values.iter_mut().enumerate().for_each(|(i, value)| star(value, &path.index(i), reveal));
        }
        Value::Null => {}
        Value::String(_) | Value::Number(_) | Value::Bool(_) if is_secret(path) => *value = STARS.into(),
        Value::String(text) => match reveal.expanded.get(path) {
            Some(expansion) => text.clone_from(&expansion.written),
            None => *text = without_user(text),
        },
        Value::Number(_) | Value::Bool(_) => {
            if let Some(expansion) = reveal.expanded.get(path) {
                *value = expansion.written.as_str().into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULT, Environment, KUBERNETES, LOCAL, Purpose, parse};
    use super::*;

    fn printed(text: &str, variables: &[(&str, &str)]) -> String {
        let environment = Environment::from_pairs(variables.iter().copied());
        let (config, _, reveal) = parse(text, &environment, Purpose::Run).unwrap();
        print(&config, &reveal)
    }

    #[test]
    fn what_is_printed_is_what_is_in_force() {
        for text in [DEFAULT, LOCAL, KUBERNETES] {
            let variables =
                [("CEDANA_AUTH_TOKEN_FILE", "/token"), ("CLUSTER_ID", "c-1"), ("POD_NAME", "a-0")];
            let environment = Environment::from_pairs(variables);
            let (config, _, reveal) = parse(text, &environment, Purpose::Run).unwrap();
            let again = parse(&print(&config, &reveal), &environment, Purpose::Run).unwrap().0;
            assert_eq!(format!("{again:?}"), format!("{config:?}"));
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let text = printed("sink: {file: {dir: x}}\nscrape_configs: [{job_name: a}]", &[]);
        for line in [
            "scrape_configs:",
            "- job_name: a",
            "  metrics_path: /metrics",
            "  scrape_interval: 1m",
            "server:",
        ] {
            assert!(
                text.lines().any(|found| found.trim_end() == line || found.trim() == line),
                "{line}: {text}"
            );
        }
        assert!(!text.contains("null"), "{text}");
    }

    #[test]
    fn secrets_are_starred_wherever_they_stand() {
        let file = "sink: {s3: {bucket: \"${B:-objects}\"}}\n\
            credentials: {cedana: {auth_token: hush, cluster_id: c}}\n\
            scrape_configs:\n\
            - job_name: a\n  basic_auth: {username: me, password: hush}\n  \
              http_headers: {X-Key: {secrets: [hush], values: [hush]}}\n  params: {module: [\"${T}\"]}\n\
            - {job_name: b, authorization: {credentials: hush}}\n";
        let text = printed(file, &[("T", "hush")]);
        assert!(!text.contains("hush"), "{text}");
        for shown in ["username: me", "auth_token: <secret>", "password: <secret>", "${T}", "${B:-objects}"] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }

    #[test]
    fn values_are_starred_by_their_place_and_by_what_is_in_them() {
        let check = |path: Path, value: Value, expected: Value| {
            let mut shown = value;
            star(&mut shown, &path, &Reveal::default());
            assert_eq!(shown, expected, "{path}");
        };
        check(Path::root("a"), "http://me:pw@h:1/x".into(), "http://<secret>@h:1/x".into());
        check(Path::root("a").key("password"), 1234.into(), STARS.into());
        check(Path::root("a").key("password_file"), "f".into(), "f".into());
        check(
            Path::root("a").key("token"),
            serde_json::json!({"b": [true, null]}),
            serde_json::json!({"b": [STARS, null]}),
        );
    }
}
