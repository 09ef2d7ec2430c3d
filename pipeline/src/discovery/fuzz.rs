//! Fuzz targets of discovery; see `crate::fuzz`.

use std::cell::LazyCell;

use url::Url;

use super::list::{Format, parse};
pub use crate::discovery::kubernetes::fuzz::watch;
use crate::model::target::TargetSet;
use crate::scrape::{GlobalConfig, ResolvedJob, ScrapeConfig, resolve};

/// A job that lets discovery say everything that a label can say.
const JOB: &str = r#"
job_name: j
static_configs: [{targets: ["a:1"]}]
params: {module: [x]}
relabel_configs:
  - {source_labels: [__meta_x], regex: "(.+)", target_label: __metrics_path__}
  - {regex: __meta_(.+), action: labelmap}
"#;

thread_local! {
    static RESOLVED: LazyCell<Option<ResolvedJob>> = const { LazyCell::new(|| {
        let job: ScrapeConfig = serde_norway::from_str(JOB).ok()?;
        job.resolve(&GlobalConfig::default()).ok()
    }) };
}

/// A list of targets, of JSON or of YAML by the first byte, and what is scraped because of it: complete URLs without a
/// password, and no label left that is ours.
pub fn lists(data: &[u8]) {
    let Some((first, list)) = data.split_first() else { return };
    let format = if first & 1 == 0 { Format::Json } else { Format::Yaml };
    let Ok(groups) = parse(list, format, "f", ("__meta_url", "u")) else { return };
    let set = TargetSet { groups, ..TargetSet::default() };
    RESOLVED.with(|job| {
        let job = job.as_ref();
        assert!(job.is_some(), "the job of this target is refused");
        let found = job.map(|job| resolve(job, &set)).unwrap_or_default();
        for active in found.active {
            let url = Url::parse(&active.target.url);
            let plain = |url: &Url| url.has_host() && url.username().is_empty() && url.password().is_none();
            assert!(url.as_ref().is_ok_and(plain), "{url:?}");
            assert!(active.timeout <= active.interval, "{active:?}");
            let labels = &active.target.labels;
            assert!(labels.get("instance").is_some(), "{labels:?}");
            assert!(labels.iter().all(|(name, _)| !name.starts_with("__")), "{labels:?}");
        }
    });
}
