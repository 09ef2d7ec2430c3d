//! What an agent of these tests lives in: a directory, an S3, a Cedana API, and exporters.

use std::fmt::Write;
use std::path::PathBuf;

use support::agent::{Agent, Outcome, Running};
use support::cedana::{Account, Cedana};
use support::exporter::Exporter;
use support::exposition::Exposition;
use support::ledger::Ledger;
use support::objects::{self, File, Row};
use support::s3::S3;
use tempfile::TempDir;

pub const BUCKET: &str = "metrics";

/// Everything that an agent shows.
const PATHS: [&str; 8] = [
    "/metrics",
    "/targets",
    "/readyz",
    "/api/v1/targets",
    "/api/v1/status",
    "/api/v1/status/buildinfo",
    "/api/v1/status/config",
    "/api/v1/status/problems",
];

/// Fakes that run, and what they share with the agent.
pub struct World {
    pub dir: TempDir,
    pub s3: S3,
    pub account: Account,
    pub cedana: Cedana,
}

impl World {
    /// A healthy world.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let s3 = S3::start(BUCKET);
        let account = Account::new(BUCKET);
        let cedana = Cedana::start(&account, s3.registry());
        std::fs::write(dir.path().join("token"), format!("{}\n", account.token)).expect("to write the token");
        Self { dir, s3, account, cedana }
    }

    /// A world whose servers' clocks run ahead of this machine's.
    pub fn with_clock_ahead(seconds: i64) -> Self {
        let world = Self::new();
        world.s3.clock().set_ahead(seconds);
        world
    }

    pub fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// The configuration of an agent that scrapes one job for each of `addresses`, often, and ships to this world's S3.
    pub fn config<A: AsRef<str>>(&self, addresses: &[A]) -> String {
        let mut text =
            "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\nscrape_configs:\n".to_owned();
        for (n, address) in addresses.iter().enumerate() {
            let address = address.as_ref();
            let _ = writeln!(text, "- {{job_name: job{n}, static_configs: [{{targets: [\"{address}\"]}}]}}");
        }
        text + &self.rest()
    }

    /// All sections of the configuration that have nothing to do with scraping.
    pub fn rest(&self) -> String {
        format!(
            "batch: {{max_age: 1s}}\n\
             spool: {{dir: \"{dir}/spool\", max_bytes: 64MiB}}\n\
             credentials: {{cedana: {{url: \"{cedana}\", auth_token_file: \"{dir}/token\", cluster_id: {cluster}}}}}\n\
             sink: {{s3: {{endpoint_url: \"{s3}\", force_path_style: true}}}}\n\
             server: {{listen: \"127.0.0.1:0\"}}\n\
             internal_metrics: false\n",
            dir = self.dir.path().display(),
            cedana = self.cedana.url(),
            cluster = self.account.cluster_id,
            s3 = self.s3.url(),
        )
    }

    /// Starts an agent that scrapes these exporters.
    pub fn start(&self, exporters: &[&Exporter]) -> Running {
        let addresses: Vec<_> = exporters.iter().map(|exporter| exporter.address()).collect();
        self.start_with(&self.config(&addresses))
    }

    /// Starts an agent with this configuration.
    pub fn start_with(&self, config: &str) -> Running {
        Agent::with_config(self.dir.path(), config).start()
    }

    /// Everything delivered, object by object.
    pub fn files(&self) -> Vec<File> {
        let objects = self.s3.objects();
        objects.iter().map(|stored| objects::read(&stored.bytes).expect(&stored.key)).collect()
    }

    /// Every sample delivered.
    pub fn rows(&self) -> Vec<Row> {
        self.files().into_iter().flat_map(|file| file.rows).collect()
    }

    /// The account of one exporter.
    pub fn ledger(&self, exporter: &Exporter) -> Ledger {
        Ledger::of(&exporter.exposed(), &self.rows(), &exporter.address())
    }

    /// Ends the agent as Kubernetes does, and checks what holds in every run.
    pub fn finish(&self, mut agent: Running) -> Outcome {
        for path in PATHS {
            let (_, body) = agent.get(path);
            for secret in self.cedana.secrets() {
                assert!(!body.contains(&secret), "a secret in {path}:\n{body}");
            }
        }
        let outcome = agent.terminate();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        self.check_invariants(&outcome);
        outcome
    }

    /// The same, and that each exporter lost nothing and nothing came twice.
    pub fn finish_even(&self, agent: Running, exporters: &[&Exporter]) -> Outcome {
        let outcome = self.finish(agent);
        for exporter in exporters {
            let ledger = self.ledger(exporter);
            assert!(ledger.exposed() > 0, "nothing was exposed");
            if let Err(text) = ledger.close() {
                panic!("{text}\nlog:\n{}", outcome.stderr);
            }
        }
        let sequences: Vec<_> = self.s3.objects().iter().map(|stored| sequence(&stored.key)).collect();
        for two in sequences.windows(2) {
            assert_eq!(two[0] + 1, two[1], "a gap in the sequence of what was delivered: {sequences:?}");
        }
        outcome
    }

    /// What holds however a run ends: keys only increase, one PUT at a time, below the prefix, and no secret anywhere.
    pub fn check_invariants(&self, outcome: &Outcome) {
        self.s3.check_order();
        for stored in self.s3.objects() {
            check_key(&stored.key, &self.account.prefix);
            assert_eq!(stored.content_type, "application/vnd.apache.parquet");
        }
        for secret in self.cedana.secrets() {
            assert!(!outcome.stderr.contains(&secret), "a secret in the log:\n{}", outcome.stderr);
            assert!(!outcome.stdout.contains(&secret), "a secret in the output:\n{}", outcome.stdout);
            for stored in self.s3.objects() {
                let found = stored.bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "a secret in {}", stored.key);
            }
        }
    }
}

/// Checks `{prefix}/{unix:010}/{writer}-{seq:010}.parquet`.
pub fn check_key(key: &str, prefix: &str) {
    let pattern = regex::Regex::new(r"^/\d{10}/[a-z0-9]+-\d{10}\.parquet$").expect("a pattern");
    let rest = key.strip_prefix(prefix).unwrap_or_else(|| panic!("{key} is not below {prefix}"));
    assert!(pattern.is_match(rest), "{key} is not a key");
}

/// The sequence number in a key.
pub fn sequence(key: &str) -> u64 {
    let (_, number) = key.rsplit_once('-').expect("a key");
    number.trim_end_matches(".parquet").parse().expect("a number")
}

/// The Unix second in a key.
pub fn second(key: &str) -> i64 {
    key.rsplit('/').nth(1).expect("a key").parse().expect("a number")
}

/// A small body with one of everything; no two scrapes serve the same.
pub fn body(scrape: usize) -> Exposition {
    let n = f64::from(u32::try_from(scrape).expect("few scrapes"));
    Exposition::new()
        .declare("requests_total", "counter")
        .sample("requests_total", &[("method", "GET"), ("path", "/a\"b\\c\nd")], n * 10.0 + 1_234_567.0)
        .sample("requests_total", &[("method", "GET"), ("path", "/\u{fc}nicode")], n)
        .declare("temperature_celsius", "gauge")
        .sample("temperature_celsius", &[("room", "server"), ("rack", "")], 21.5 - n)
        .sample("temperature_celsius", &[("room", "unknown")], f64::NAN)
        .declare("latency_seconds", "histogram")
        .sample("latency_seconds_bucket", &[("le", "0.1")], n)
        .sample("latency_seconds_bucket", &[("le", "+Inf")], n + 1.0)
        .sample("latency_seconds_sum", &[], n / 3.0)
        .sample("latency_seconds_count", &[], n + 1.0)
        .sample("limit", &[("namespace", "team-a"), ("pod", "app-1"), ("node", "n1")], f64::INFINITY)
        .sample("floor", &[("type", "x"), ("value", "y"), ("name", "z")], f64::NEG_INFINITY)
}
