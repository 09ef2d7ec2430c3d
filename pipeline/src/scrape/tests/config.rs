//! What is refused, where, and with what advice.

use super::super::{UNSUPPORTED_GLOBAL_KEYS, UNSUPPORTED_KEYS, check_names};
use super::*;
use crate::model::units;

fn paths(problems: &[(String, String)]) -> Vec<&str> {
    problems.iter().map(|(path, _)| path.as_str()).collect()
}

/// The paths of all problems of a section.
fn check(yaml: &str, expected: &[&str]) {
    let config = config(yaml);
    let problems = config.check(&GlobalConfig::default());
    assert_eq!(paths(&problems), expected, "{yaml}: {problems:?}");
    assert_eq!(config.resolve(&GlobalConfig::default()).is_ok(), expected.is_empty(), "{yaml}");
}

#[test]
fn sections_that_are_fine() {
    check("{job_name: a}", &[]);
    check("{job_name: a, scrape_interval: 5s}", &[]);
    check("{job_name: a, scrape_interval: 5s, scrape_timeout: 5s}", &[]);
    check(
        "{job_name: a, static_configs: [{targets: ['a:9100', '[::1]:80', a, 10.0.0.1], labels: {env: 1}}]}",
        &[],
    );
    check("{job_name: a, scrape_protocols: [PrometheusText0.0.4], scheme: https}", &[]);
    check("{job_name: a, authorization: {credentials_file: x}, tls_config: {min_version: TLS10}}", &[]);
    // With rules, what discovery gives need not be an address yet.
    check("{job_name: a, static_configs: [{targets: ['a/b']}], relabel_configs: [{target_label: b}]}", &[]);
}

#[test]
fn relations_between_fields() {
    check("{}", &["job_name"]);
    check("{job_name: a, scrape_interval: 5s, scrape_timeout: 6s}", &["scrape_timeout"]);
    check("{job_name: a, scrape_timeout: 61s}", &["scrape_timeout"]);
    check("{job_name: a, scrape_interval: 0s}", &["scrape_interval"]);
    check("{job_name: a, metrics_path: metrics}", &["metrics_path"]);
    check("{job_name: a, scrape_protocols: [OpenMetricsText1.0.0]}", &["scrape_protocols"]);
    check(
        "{job_name: a, static_configs: [{targets: [a, 'http://b:80']}]}",
        &["static_configs[0].targets[1]"],
    );
    check("{job_name: a, static_configs: [{labels: {__name__: x}}]}", &["static_configs[0].labels.__name__"]);
    check("{job_name: a, bearer_token: a, basic_auth: {}}", &["basic_auth"]);
    check(
        "{job_name: a, authorization: {credentials: a, credentials_file: b}}",
        &["authorization.credentials"],
    );
    check("{job_name: a, authorization: {type: basic}}", &["authorization.type"]);
    check("{job_name: a, basic_auth: {password: a, password_file: b}}", &["basic_auth.password"]);
    check("{job_name: a, tls_config: {cert_file: a}}", &["tls_config.key_file"]);
    check("{job_name: a, tls_config: {key_file: a}}", &["tls_config.cert_file"]);
    check("{job_name: a, tls_config: {ca: a, ca_file: b}}", &["tls_config.ca"]);
    check("{job_name: a, tls_config: {max_version: TLS11}}", &["tls_config.max_version"]);
    check("{job_name: a, tls_config: {min_version: TLS13, max_version: TLS12}}", &["tls_config.min_version"]);
    check("{job_name: a, tls_config: {server_name: 'a b'}}", &["tls_config.server_name"]);
    check("{job_name: a, http_headers: {Host: {values: [a]}}}", &["http_headers.Host"]);
    check("{job_name: a, http_headers: {'a b': {}}}", &["http_headers.a b"]);
    check("{job_name: a, http_headers: {a: {values: [b, \"c\\nd\"]}}}", &["http_headers.a.values[1]"]);
    check("{job_name: a, http_headers: {a: {secrets: [\"c\\nd\"]}}}", &["http_headers.a.secrets[0]"]);
    let rules = "{job_name: a, relabel_configs: [{target_label: a}, {}], metric_relabel_configs: [{regex: '(', action: drop}]}";
    check(rules, &["relabel_configs[1].target_label", "metric_relabel_configs[0].regex"]);
}

#[test]
fn several_problems_are_said_together() {
    check("{metrics_path: x, scrape_timeout: 2m}", &["job_name", "scrape_timeout", "metrics_path"]);
    let configs = [config("{job_name: a}"), config("{job_name: b}"), config("{job_name: a}")];
    assert_eq!(check_names(&configs).iter().map(|(i, _)| *i).collect::<Vec<_>>(), [2]);
}

#[test]
fn global() {
    let check = |yaml: &str, expected: &[&str]| {
        let global: GlobalConfig = serde_norway::from_str(yaml).unwrap();
        assert_eq!(paths(&global.check()), expected, "{yaml}");
    };
    check("{}", &[]);
    check("{scrape_interval: 5s}", &[]);
    check("{scrape_interval: 5s, scrape_timeout: 10s}", &["scrape_timeout"]);
    check("{external_labels: {a: 1, __name__: b}}", &["external_labels.__name__"]);
}

#[test]
fn jobs_inherit_from_global() {
    let global = "{scrape_interval: 5s, sample_limit: 7, target_limit: 3, body_size_limit: 1MiB}";
    let global: GlobalConfig = serde_norway::from_str(global).unwrap();
    let job = config("{job_name: a, label_limit: 9}").resolve(&global).unwrap();
    // Prometheus: ten seconds, or the interval where that is shorter.
    assert_eq!((job.interval, job.timeout), (Duration::from_secs(5), Duration::from_secs(5)));
    assert_eq!((job.job.limits.samples, job.job.limits.labels, job.target_limit), (7, 9, 3));
    assert_eq!(job.body_limit, 1 << 20);
    let job = config(
        "{job_name: a, sample_limit: 8, scrape_interval: 30s, scrape_timeout: 20s, body_size_limit: 2MiB}",
    );
    let job = job.resolve(&global).unwrap();
    assert_eq!((job.interval, job.timeout), (Duration::from_secs(30), Duration::from_secs(20)));
    assert_eq!((job.job.limits.samples, job.body_limit), (8, 2 << 20));
    let job = config("{job_name: a}").resolve(&GlobalConfig::default()).unwrap();
    assert_eq!((job.interval, job.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
    assert!(job.job.honor_timestamps && !job.job.honor_labels);
    let none = GlobalConfig { body_size_limit: units::Size(0), ..GlobalConfig::default() };
    assert_eq!(config("{job_name: a}").resolve(&none).unwrap().body_limit, u64::MAX);
}

#[test]
fn secrets_in_the_file_are_advised_against_and_not_shown() {
    let yaml = "{job_name: a, authorization: {credentials: hunter2}, bearer_token: hunter2, \
        basic_auth: {password: hunter2}, tls_config: {key: hunter2}, http_headers: {X: {secrets: [hunter2]}}}";
    let config = config(yaml);
    let expected = [
        "authorization.credentials",
        "bearer_token",
        "basic_auth.password",
        "tls_config.key",
        "http_headers.X.secrets",
    ];
    assert_eq!(paths(&config.warnings()), expected);
    let shown = format!("{config:?} {:?} {:?}", config.check(&GlobalConfig::default()), config.warnings());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!serde_norway::to_string(&config).unwrap().contains("hunter2"));
    assert!(super::config("{job_name: a, bearer_token_file: b}").warnings().is_empty());
}

#[test]
fn paths_are_relative_to_the_configuration_file() {
    let mut config = config(
        "{bearer_token_file: a, authorization: {credentials_file: b}, http_headers: {X: {files: [c, /d]}}, \
          basic_auth: {username_file: e, password_file: f}, tls_config: {ca_file: g, cert_file: h, key_file: ../i}}",
    );
    config.join_paths(std::path::Path::new("/etc/agent"));
    let written = serde_norway::to_string(&config).unwrap();
    for path in ["a", "b", "c", "e", "f", "g", "h", "../i"] {
        assert!(written.contains(&format!(" /etc/agent/{path}\n")), "{path}: {written}");
    }
    assert!(written.contains(" /d\n"), "{written}");
}

#[test]
fn what_is_written_can_be_read_again() {
    let yaml = "{job_name: a, static_configs: [{targets: [b], labels: {c: d}}], params: {e: [f]}, tls_config: {ca: g}, \
        relabel_configs: [{target_label: h, modulus: 8, action: HashMod}], body_size_limit: 3MiB}";
    let config = config(yaml);
    assert_eq!(super::config(&serde_norway::to_string(&config).unwrap()), config);
}

#[test]
fn keys_that_are_supported_are_not_called_unsupported() {
    let known = |yaml: &str, key: &str| serde_norway::from_str::<ScrapeConfig>(&format!("{{{key}: {yaml}}}"));
    for key in UNSUPPORTED_KEYS {
        let error = known("1", key).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{key}: {error}");
    }
    for key in UNSUPPORTED_GLOBAL_KEYS {
        let error = serde_norway::from_str::<GlobalConfig>(&format!("{{{key}: 1}}")).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{key}: {error}");
    }
}

/// The paths of all problems of one section of discovery, below that section.
fn check_discovery(key: &str, yaml: &str, expected: &[&str]) {
    let expected: Vec<_> = expected.iter().map(|path| format!("{key}[0].{path}")).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    check(&format!("{{job_name: a, {key}: [{yaml}]}}"), &expected);
}

#[test]
fn kubernetes_sections() {
    let check = |yaml: &str, expected: &[&str]| check_discovery("kubernetes_sd_configs", yaml, expected);
    check("{role: endpointslice}", &[]);
    check("{role: pod, namespaces: {own_namespace: true, names: [a, 1]}}", &[]);
    check("{role: pod, api_server: 'https://a:6443', bearer_token_file: b, tls_config: {ca_file: c}}", &[]);
    check("{role: node, kubeconfig_file: a}", &[]);
    // Empty means absent, as in Prometheus.
    check("{role: node, kubeconfig_file: '', api_server: ''}", &[]);
    check("{}", &["role"]);
    check("{role: node, kubeconfig_file: a, api_server: 'https://b'}", &["kubeconfig_file"]);
    check("{role: node, kubeconfig_file: a, tls_config: {}}", &["api_server"]);
    check("{role: node, bearer_token: a}", &["api_server"]);
    check("{role: node, api_server: 'b:6443'}", &["api_server"]);
    check(
        "{role: pod, api_server: 'https://b', namespaces: {own_namespace: true}}",
        &["namespaces.own_namespace"],
    );
    check(
        "{role: pod, kubeconfig_file: b, namespaces: {own_namespace: true}}",
        &["namespaces.own_namespace"],
    );
    check("{role: pod, namespaces: {names: ['']}}", &["namespaces.names[0]"]);
    check("{role: pod, selectors: [{role: pod, label: a=b, field: c=d}, {role: node}]}", &[]);
    check("{role: endpoints, selectors: [{role: pod}, {role: service}, {role: endpoints}]}", &[]);
    check("{role: service, selectors: [{role: pod}]}", &["selectors[0].role"]);
    check("{role: endpoints, selectors: [{role: endpointslice}]}", &["selectors[0].role"]);
    check("{role: pod, selectors: [{role: pod}, {role: pod}]}", &["selectors[1].role"]);
    check("{role: pod, selectors: [{label: a=b}]}", &["selectors[0].role"]);
    check(
        "{role: pod, selectors: [{role: pod, label: a in, field: b}]}",
        &["selectors[0].label", "selectors[0].field"],
    );
    check("{role: pod, api_server: 'https://b', bearer_token: a, basic_auth: {}}", &["basic_auth"]);
    check("{role: pod, api_server: 'https://b', tls_config: {cert: a, key: b}}", &["tls_config.cert"]);
    let unknown = serde_norway::from_str::<ScrapeConfig>("{kubernetes_sd_configs: [{role: services}]}");
    assert!(unknown.unwrap_err().to_string().contains("unknown variant"));
}

#[test]
fn other_sections_of_discovery() {
    let file = |yaml: &str, expected: &[&str]| check_discovery("file_sd_configs", yaml, expected);
    file("{files: [a.json, b.yml, c.YAML, 'd/*.json', 'd/e*.yaml', '*.json']}", &[]);
    file("{}", &["files"]);
    file("{files: [a.txt, a, 'a*/b.json', 'a*b*.json']}", &["files[0]", "files[1]", "files[2]"]);
    file("{files: [a.json], refresh_interval: 0s}", &["refresh_interval"]);
    let http = |yaml: &str, expected: &[&str]| check_discovery("http_sd_configs", yaml, expected);
    http("{url: 'http://a/b', basic_auth: {username: a}}", &[]);
    http("{}", &["url"]);
    http("{url: 'ftp://a'}", &["url"]);
    http("{url: 'http://me:hunter2@a'}", &["url"]);
    http("{url: 'http://a', tls_config: {cert_file: b}}", &["tls_config.key_file"]);
    let dns = |yaml: &str, expected: &[&str]| check_discovery("dns_sd_configs", yaml, expected);
    dns("{names: [a]}", &[]);
    dns("{names: [a], type: aaaa, port: 80}", &[]);
    dns("{}", &["names"]);
    dns("{names: [a], type: A}", &["port"]);
    dns("{names: [a], type: TXT, port: 1}", &["type"]);
}

#[test]
fn files_of_discovery_are_relative_to_the_configuration() {
    let mut config = config(
        "{kubernetes_sd_configs: [{kubeconfig_file: a, tls_config: {ca_file: b}}], file_sd_configs: [{files: \
         [c.json, /d.json]}], http_sd_configs: [{bearer_token_file: e}]}",
    );
    config.join_paths(std::path::Path::new("/x"));
    let kubernetes = &config.kubernetes_sd_configs[0];
    assert_eq!(kubernetes.kubeconfig_file.as_deref(), Some("/x/a"));
    assert_eq!(kubernetes.tls_config.as_ref().unwrap().ca_file.as_deref(), Some("/x/b"));
    assert_eq!(config.file_sd_configs[0].files, ["/x/c.json", "/d.json"]);
    assert_eq!(config.http_sd_configs[0].bearer_token_file.as_deref(), Some("/x/e"));
}
