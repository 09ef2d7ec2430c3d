//! The ledger: samples exposed = samples delivered + samples counted as dropped, sample by sample and with its value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::exposition::Exposed;
use crate::objects::Row;

/// What makes a sample: name, labels without those of the target, the bits of its value, and its explicit timestamp.
type Key = (String, BTreeMap<String, String>, u64, Option<i64>);

/// Labels that every sample gets from its target, and that the exporter did not write.
const TARGET_LABELS: [&str; 3] = ["job", "instance", "cluster_id"];

/// Samples that the agent adds to every scrape (prometheus.io, "Jobs and instances").
const REPORT: [&str; 6] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_body_size_bytes",
];

/// Accounts of one target.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Exposed minus found, by sample.
    balance: BTreeMap<Key, i64>,
    explicit: BTreeMap<(String, BTreeMap<String, String>), bool>,
    exposed: u64,
    found: u64,
    /// Samples of scrapes that failed as a whole.
    failed: u64,
    dropped: BTreeMap<String, u64>,
}

impl Ledger {
    /// An account of what `scrapes` exposed and what is found of it in the rows of `instance`.
    ///
    /// A scrape is all or nothing. One of which nothing arrived is booked as dropped if the agent reported that it
    /// failed (`up` is 0), which a machine under load can bring about.
    #[must_use]
    pub fn of(scrapes: &[Vec<Exposed>], rows: &[Row], instance: &str) -> Self {
        let mut ledger = Self::default();
        let rows = || rows.iter().filter(|row| row.label("instance") == instance);
        let explained = scrapes.iter().filter(|samples| samples.is_empty()).count();
        let failed = rows().filter(|row| row.metric == "up" && row.value == 0.0).count();
        let mut failed = failed.saturating_sub(explained);
        let found: BTreeSet<_> = rows().map(|row| (row.metric.as_str(), row.value.to_bits())).collect();
        for samples in scrapes {
            let missing = samples.iter().any(|s| !found.contains(&(s.metric.as_str(), s.value.to_bits())));
            if missing && failed > 0 {
                failed -= 1;
                ledger.exposed += samples.len() as u64;
                ledger.failed += samples.len() as u64;
                continue;
            }
            for sample in samples {
                ledger.expose(sample);
            }
        }
        for row in rows().filter(|row| !REPORT.contains(&row.metric.as_str())) {
            ledger.find(row);
        }
        ledger
    }

    fn expose(&mut self, sample: &Exposed) {
        self.exposed += 1;
        let (metric, labels) = (sample.metric.clone(), sample.labels.clone());
        self.explicit.insert((metric.clone(), labels.clone()), sample.timestamp.is_some());
        *self.balance.entry((metric, labels, sample.value.to_bits(), sample.timestamp)).or_default() += 1;
    }

    fn find(&mut self, row: &Row) {
        self.found += 1;
        let mut labels = row.all_labels();
        labels.retain(|name, _| !TARGET_LABELS.contains(&name.as_str()));
        let explicit = self.explicit.get(&(row.metric.clone(), labels.clone())).copied().unwrap_or_default();
        let timestamp = explicit.then_some(row.timestamp);
        *self.balance.entry((row.metric.clone(), labels, row.value.to_bits(), timestamp)).or_default() -= 1;
    }

    /// Books samples that were counted as dropped for a reason.
    #[must_use]
    pub fn dropped(mut self, reason: &str, count: u64) -> Self {
        *self.dropped.entry(reason.to_owned()).or_default() += count;
        self
    }

    /// Samples delivered.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Samples neither delivered nor of a scrape that failed as a whole.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.exposed - self.found - self.failed
    }

    /// Samples exposed.
    #[must_use]
    pub fn exposed(&self) -> u64 {
        self.exposed
    }

    /// Checks that the account is even.
    ///
    /// # Errors
    /// With the sums and the samples that are missing or too many.
    pub fn close(&self) -> Result<(), String> {
        let missing: i64 = self.balance.values().filter(|count| **count > 0).sum();
        let extra: i64 = self.balance.values().filter(|count| **count < 0).sum();
        let dropped: u64 = self.dropped.values().sum();
        if extra == 0 && u64::try_from(missing) == Ok(dropped) {
            return Ok(());
        }
        let mut text = format!(
            "exposed {} = found {} + failed {} + dropped {dropped} {:?} does not hold: {missing} missing, {} too many\n",
            self.exposed, self.found, self.failed, self.dropped, -extra
        );
        for ((metric, labels, bits, timestamp), count) in
            self.balance.iter().filter(|(_, c)| **c != 0).take(20)
        {
            let sign = if *count > 0 { "missing" } else { "too many" };
            let value = f64::from_bits(*bits);
            let _ = writeln!(text, "  {sign} {}: {metric}{labels:?} {value} {timestamp:?}", count.abs());
        }
        Err(text)
    }

    /// Checks that the account is even.
    ///
    /// # Panics
    /// When it is not, with what is missing or too many.
    pub fn check(&self) {
        if let Err(text) = self.close() {
            panic!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Exposition, NAN};

    #[test]
    fn a_scrape_that_failed_is_excused_once() {
        let exposed = [2.0, 3.0].map(|value| Exposition::new().sample("a", &[], value).samples);
        let check = |rows: &[Row], even: bool| {
            assert_eq!(Ledger::of(&exposed, rows, "i").close().is_ok(), even, "{rows:?}");
        };
        check(&[row("a", 2.0), row("up", 0.0)], true);
        check(&[row("a", 2.0)], false);
        check(&[row("up", 0.0)], false);
        check(&[row("up", 0.0), row("up", 0.0)], true);
    }

    fn row(metric: &str, value: f64) -> Row {
        let promoted = [("job", "j"), ("instance", "i")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let (metric, kind) = (metric.to_owned(), String::new());
        Row { timestamp: 7, metric, kind, promoted: promoted.into(), labels: BTreeMap::new(), value }
    }

    #[test]
    fn only_an_even_account_closes() {
        let exposed = [Exposition::new().sample("a", &[], 1.0).sample("a", &[], NAN).samples];
        let check = |rows: &[Row], dropped, even: bool| {
            let ledger = Ledger::of(&exposed, rows, "i").dropped("reason", dropped);
            assert_eq!(ledger.close().is_ok(), even, "{:?}", ledger.close());
        };
        check(&[row("a", 1.0), row("a", NAN), row("up", 1.0)], 0, true);
        check(&[row("a", 1.0)], 1, true);
        check(&[row("a", 1.0)], 0, false); // One is missing.
        check(&[row("a", 1.0), row("a", NAN)], 1, false); // Counted as dropped, but there.
        check(&[row("a", 1.0), row("a", NAN), row("a", 1.0)], 0, false); // Twice.
        check(&[row("a", 2.0), row("a", NAN)], 1, false); // Another value.
    }
}
