//! Targets and the way to them: what discovery finds, whether it may look, and how one target of each job answers.

use pipeline::discovery::{KubernetesConfig, Role};
use pipeline::kubernetes::{Client, Leases, Permission, Server};
use pipeline::model::target::Health;
use pipeline::scrape::{JobTargets, Scheme, ScrapeConfig};
use prometheus::Registry;

use super::Finding;
use crate::config::Config;
use crate::targets::health;
use crate::{dry_run, telemetry};

/// Looks for the targets of all jobs and scrapes one of each.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let asked = async {
        let registry: Registry = telemetry::registry()?;
        dry_run::scrape(config, &registry, 1).await
    };
    let found = match asked.await {
        Ok(found) => found,
        Err(error) => return vec![Finding::bad("targets", crate::commands::with_causes(&error))],
    };
    let mut needed = [found.permissions, of_kubelets(config)].concat();
    needed.extend(of_lease(config).await);
    if config.watches_events() {
        needed.extend(pipeline::kube_events::permissions(&config.pipeline.kubernetes_events));
    }
    let mut findings = permissions(needed).await;
    findings.extend(found.jobs.iter().map(|job| targets(job)));
    findings
}

/// What kubelets ask the API server for before they show metrics (Kubernetes' documentation, "Kubelet authentication/
/// authorization").
fn of_kubelets(config: &Config) -> Vec<(Server, Permission)> {
    let is_kubelet =
        |job: &&ScrapeConfig| job.scheme == Scheme::Https && job.metrics_path.starts_with("/metrics");
    let jobs = config.pipeline.scrape_configs.iter().filter(is_kubelet);
    let sections = jobs.flat_map(|job| &job.kubernetes_sd_configs);
    let needed = |section: &KubernetesConfig| {
        let permission = Permission::new("get", "", "nodes", None);
        (section.server(), Permission { subresource: "metrics".to_owned(), ..permission })
    };
    sections.filter(|section| section.role == Some(Role::Node)).map(needed).collect()
}

/// What taking turns needs.
async fn of_lease(config: &Config) -> Vec<(Server, Permission)> {
    let election = &config.leader_election;
    if !election.enabled {
        return Vec::new();
    }
    let server = election.server();
    let permissions = match Client::open(&server).await {
        Ok(client) => Leases::new(client, election.lease_namespace.as_deref(), &election.lease_name)
            .permissions()
            .to_vec(),
        // Without a client the namespace is not known, and the question fails anyway.
        Err(_) => [Permission::new("get", "coordination.k8s.io", "leases", None)].to_vec(),
    };
    permissions.into_iter().map(|permission| (server.clone(), permission)).collect()
}

/// Asks each server for each permission; one line for all that we hold.
async fn permissions(mut needed: Vec<(Server, Permission)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    while let Some((server, _)) = needed.first().cloned() {
        let (here, elsewhere): (Vec<_>, Vec<_>) = needed.into_iter().partition(|(of, _)| *of == server);
        needed = elsewhere;
        let client = match Client::open(&server).await {
            Ok(client) => client,
            Err(error) => {
                findings.push(Finding::bad("kubernetes", crate::commands::with_causes(&error)));
                continue;
            }
        };
        let mut held = 0;
        for (_, permission) in &here {
            match client.may(permission).await {
                Ok(true) => held += 1,
                Ok(false) => findings.push(Finding::bad(
                    "permission",
                    format!("may not {permission}: add to {}: {}", permission.place(), permission.rule()),
                )),
                Err(error) => {
                    findings.push(Finding::bad("kubernetes", crate::commands::with_causes(&error)));
                    break;
                }
            }
        }
        if held > 0 {
            let text = format!("{} permits {held} of {} things that are needed", client.server(), here.len());
            findings.push(Finding::good("permission", text));
        }
    }
    findings
}

/// One job: what keeps discovery from looking, else how its first target answers.
fn targets(job: &JobTargets) -> Finding {
    let name = format!("job {}", job.job);
    let found = count(job.active.len() as u64, "target");
    if let Some(problem) = job.problems.first() {
        return Finding::bad(name, format!("{found} found; {problem}"));
    }
    let Some(first) = job.active.first() else {
        let remedy = match job.dropped.len() {
            0 => "discovery gives nothing: is the exporter installed, in a namespace that is looked at?"
                .to_owned(),
            n => format!("{n} were dropped: `agent targets` shows each with the reason"),
        };
        return Finding::note(name, format!("no targets: {remedy}"));
    };
    let (url, Some(last)) = (&first.target.url, first.target.last()) else {
        return Finding::note(name, format!("{found} found, not scraped"));
    };
    let seconds = last.duration.as_secs_f64();
    match &last.health {
        Health::Up if last.lines_bad > 0 => Finding::bad(
            name,
            format!(
                "{found} found; {url} answered with {} bad lines, the first: {}",
                last.lines_bad,
                last.first_bad_line.unwrap_or_default()
            ),
        ),
        Health::Up => Finding::good(
            name,
            format!(
                "{found} found; {url} answered: {} in {seconds:.3} s",
                count(last.samples_kept, "sample")
            ),
        ),
        other => {
            let (state, error) = health(other);
            let why = error.map_or_else(String::new, |error| format!(": {error}"));
            let text = format!("{found} found; {url} is {state}{why}");
            if *other == Health::NotRunning { Finding::note(name, text) } else { Finding::bad(name, text) }
        }
    }
}

/// `1 target`, `2 targets`.
fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::config::{Environment, Purpose, Source, load};

    /// What is found of a configuration whose targets are all on this machine.
    async fn of(text: &str) -> Vec<(State, String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.yaml");
        std::fs::write(&file, format!("sink: {{file: {{dir: objects}}}}\n{text}")).unwrap();
        let loaded = load(Source::File(file), &Environment::default(), Purpose::Run).unwrap();
        let found = examine(&loaded.config).await;
        found.into_iter().map(|finding| (finding.state, finding.subject, finding.text)).collect()
    }

    #[tokio::test]
    async fn one_target_of_each_job_is_scraped() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na 1\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
            // A second connection would be a second target.
            let again = listener.accept().await;
            panic!("{again:?}");
        };
        let text = format!(
            "scrape_configs:\n\
             - {{job_name: two, static_configs: [{{targets: ['127.0.0.1:{port}', 'localhost:{port}']}}]}}\n\
             - {{job_name: none, static_configs: []}}\n\
             - {{job_name: gone, static_configs: [{{targets: ['127.0.0.1:1']}}]}}\n\
             - {{job_name: files, file_sd_configs: [{{files: [/nowhere/*.json]}}]}}\n\
             - {{job_name: dropped, static_configs: [{{targets: [a]}}], relabel_configs: [{{action: drop}}]}}\n"
        );
        let found = tokio::select! {
            found = of(&text) => found,
            () = serve => unreachable!(),
        };
        let check = |job: &str, state: State, parts: &[&str]| {
            let (_, (found, _, text)) = found.iter().enumerate().find(|(_, f)| f.1 == job).expect(job);
            assert_eq!(*found, state, "{job}: {text}");
            assert!(parts.iter().all(|part| text.contains(part)), "{job}: {text}");
        };
        check("job two", State::Good, &["2 targets found", "answered: 1 sample in"]);
        check("job none", State::Note, &["no targets: discovery gives nothing"]);
        check("job gone", State::Bad, &["1 target found", "is down: "]);
        check("job files", State::Bad, &["/nowhere/*.json"]);
        check("job dropped", State::Note, &["1 were dropped"]);
        check("job agent", State::Good, &["1 target found"]);
    }

    #[tokio::test]
    async fn a_cluster_that_is_not_there_is_said() {
        let text = "scrape_configs:\n- job_name: nodes\n  kubernetes_sd_configs: [{role: node, kubeconfig_file: /nowhere/config}]";
        let found = of(text).await;
        let bad: Vec<_> = found.iter().filter(|(state, ..)| *state == State::Bad).collect();
        assert!(
            bad.iter().any(|(_, subject, text)| subject == "kubernetes" && text.contains("/nowhere/config")),
            "{found:?}"
        );
        assert!(bad.iter().any(|(_, subject, _)| subject == "job nodes"), "{found:?}");
    }

    #[test]
    fn kubelets_ask_for_a_permission_of_their_own() {
        let check = |job: &str, expected: usize| {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("agent.yaml");
            let text = format!("sink: {{file: {{dir: x}}}}\nscrape_configs:\n- {job}");
            std::fs::write(&file, text).unwrap();
            let config = load(Source::File(file), &Environment::default(), Purpose::Run).unwrap().config;
            assert_eq!(of_kubelets(&config).len(), expected, "{job}");
        };
        check(
            "{job_name: a, scheme: https, metrics_path: /metrics/cadvisor, kubernetes_sd_configs: [{role: node}]}",
            1,
        );
        check("{job_name: a, metrics_path: /metrics/cadvisor, kubernetes_sd_configs: [{role: node}]}", 0);
        check("{job_name: a, scheme: https, kubernetes_sd_configs: [{role: pod}]}", 0);
    }
}
