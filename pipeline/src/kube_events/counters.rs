//! `kube_events_total`: how often things happened, for the job `kubernetes-events`.
//!
//! Takes by how much a Kubernetes event's count grew, gives an exposition. The number of series is limited: what is beyond
//! goes to one whose labels all say `other`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// The labels, in their order.
const LABELS: [&str; 5] = ["reason", "type", "kind", "namespace", "source"];
/// What stands for the values of all series beyond the limit.
const OTHER: &str = "other";

/// The values of [`LABELS`].
pub(super) type Series = [Box<str>; 5];

/// Counters by series.
pub(super) type Counters = BTreeMap<Series, u64>;

/// The counters as they are exposed: only what is in the spool is in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exposed(Arc<Mutex<Counters>>);

impl Exposed {
    pub(super) fn set(&self, counters: &Counters) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone_from(counters);
    }

    /// The text format 0.0.4.
    pub(crate) fn render(&self) -> Vec<u8> {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = "# HELP kube_events_total Kubernetes events, repeated ones by their count.\n\
                        # TYPE kube_events_total counter\n"
            .to_owned();
        for (series, value) in counters.iter() {
            text.push_str("kube_events_total{");
            for (i, (label, value)) in LABELS.iter().zip(series).enumerate() {
                let comma = if i == 0 { "" } else { "," };
                // Writing to a text cannot fail.
                let _ = write!(text, "{comma}{label}=\"{}\"", escaped(value));
            }
            let _ = writeln!(text, "}} {value}");
        }
        text.into_bytes()
    }
}

/// The series itself if there is one, or room for one more; otherwise the one for all others, which has its place.
pub(super) fn within(counters: &Counters, open: &Counters, series: Series, max: usize) -> (Series, bool) {
    let is_known = counters.contains_key(&series) || open.contains_key(&series);
    let new = || open.keys().filter(|series| !counters.contains_key(*series)).count();
    if is_known || counters.len() + new() + 1 < max {
        return (series, false);
    }
    (std::array::from_fn(|_| OTHER.into()), true)
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(reason: &str) -> Series {
        [reason, "Normal", "Pod", "a", "kubelet"].map(Into::into)
    }

    #[test]
    fn counters_are_exposed_as_text() {
        let exposed = Exposed::default();
        exposed.set(&Counters::from([(series("a\"b\\c\nd"), 7)]));
        let text = String::from_utf8(exposed.render()).unwrap();
        let line = r#"kube_events_total{reason="a\"b\\c\nd",type="Normal",kind="Pod",namespace="a",source="kubelet"} 7"#;
        assert_eq!(text.lines().last(), Some(line));
    }

    #[test]
    fn series_beyond_the_limit_are_one() {
        let mut counters = Counters::new();
        let mut seen = Vec::new();
        for reason in ["a", "b", "c", "d", "a"] {
            let (series, is_beyond) = within(&counters, &Counters::new(), series(reason), 3);
            seen.push((series[0].to_string(), is_beyond));
            *counters.entry(series).or_default() += 1;
        }
        let of = |reason: &str, is_beyond| (reason.to_owned(), is_beyond);
        assert_eq!(
            seen,
            [of("a", false), of("b", false), of("other", true), of("other", true), of("a", false)]
        );
        assert_eq!(counters.len(), 3);
    }
}
