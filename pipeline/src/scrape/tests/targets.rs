//! From target groups to targets, with the expectations of Prometheus' `TestPopulateLabels`.

use super::super::{DropReason, JobTargets, resolve};
use super::*;
use crate::model::labels::Labels;
use crate::model::target::{TargetGroup, TargetSet};

/// The targets of a section with static targets.
fn targets(yaml: &str) -> JobTargets {
    let job = job(yaml);
    resolve(&job, &TargetSet::of(job.static_groups.clone()))
}

/// Labels and URL of the one target of a section.
fn check(yaml: &str, labels: &[(&str, &str)], url: &str) {
    let targets = targets(yaml);
    let target = &targets.active.first().unwrap_or_else(|| panic!("{yaml}: {targets:?}")).target;
    assert_eq!(
        (&target.labels, target.url.as_str()),
        (&Labels::from_pairs(labels.iter().copied()), url),
        "{yaml}"
    );
}

/// Why the one target of a section is not scraped.
fn check_dropped(yaml: &str, expected: &str) {
    let targets = targets(yaml);
    assert!(targets.active.is_empty(), "{yaml}: {targets:?}");
    let reason = targets.dropped[0].reason.to_string();
    assert!(reason.contains(expected), "{yaml}: {reason}");
}

#[test]
fn defaults_relabelling_and_url() {
    let a = "static_configs: [{targets: ['a:9100']}]";
    check(a, &[("job", "test"), ("instance", "a:9100")], "http://a:9100/metrics");
    // Prometheus 3 leaves the address as it is.
    let https = "scheme: https, static_configs: [{targets: [a]}]";
    check(https, &[("job", "test"), ("instance", "a")], "https://a/metrics");
    let v6 = "static_configs: [{targets: ['[::1]:9100']}]";
    check(v6, &[("job", "test"), ("instance", "[::1]:9100")], "http://[::1]:9100/metrics");
    let path = format!("{a}, metrics_path: /probe, params: {{'match[]': [up, b c], z: [1]}}");
    let url = "http://a:9100/probe?match%5B%5D=up&match%5B%5D=b+c&z=1";
    check(&path, &[("job", "test"), ("instance", "a:9100")], url);
    // The cluster is not a target's to name.
    let other = "static_configs: [{targets: ['a:1'], labels: {__meta_pod_label_cluster_id: b}}], \
                 relabel_configs: [{regex: __meta_pod_label_(.+), action: labelmap}]";
    let labels = [("job", "test"), ("instance", "a:1"), ("exported_cluster_id", "b")];
    check(other, &labels, "http://a:1/metrics");
    // Labels of the group; job and instance may be set there.
    let own = "static_configs: [{targets: ['a:1'], labels: {job: b, instance: c, env: d, __internal: e}}]";
    check(own, &[("job", "b"), ("instance", "c"), ("env", "d")], "http://a:1/metrics");
    let rules = format!(
        "{a}, params: {{module: [x]}}, relabel_configs: [\
         {{source_labels: [__address__], target_label: __param_target}}, \
         {{source_labels: [__param_target], target_label: instance}}, \
         {{target_label: __param_module, replacement: y}}, \
         {{target_label: __scheme__, replacement: https}}, \
         {{target_label: __metrics_path__, replacement: /p}}, \
         {{target_label: __tmp_x, replacement: y}}, \
         {{source_labels: [__scrape_interval__, __scrape_timeout__], target_label: times}}, \
         {{target_label: __address__, replacement: 'exporter:1'}}]"
    );
    let labels = [("job", "test"), ("instance", "a:9100"), ("times", "1m;10s")];
    check(&rules, &labels, "https://exporter:1/p?module=y&target=a%3A9100");
}

#[test]
fn intervals_can_be_set_by_labels() {
    let yaml =
        "static_configs: [{targets: [a], labels: {__scrape_interval__: 2s, __scrape_timeout__: 500ms}}]";
    let targets = targets(yaml);
    let times = (targets.active[0].interval, targets.active[0].timeout);
    assert_eq!(times, (Duration::from_secs(2), Duration::from_millis(500)));
}

#[test]
fn targets_that_cannot_be_scraped() {
    let with = |rule: &str| format!("static_configs: [{{targets: ['a:1']}}], relabel_configs: [{{{rule}}}]");
    check_dropped(&with("action: drop"), "relabel_configs");
    check_dropped(&with("target_label: __address__, replacement: ''"), "no address");
    check_dropped(&with("target_label: __address__, replacement: 'http://a'"), "without scheme and path");
    check_dropped(&with("target_label: __address__, replacement: 'a:b'"), "is not an address");
    check_dropped(&with("target_label: __address__, replacement: '::1'"), "is not an address");
    check_dropped(&with("target_label: __address__, replacement: 'user@a'"), "is not an address");
    check_dropped(&with("target_label: __scheme__, replacement: ftp"), "__scheme__");
    check_dropped(&with("target_label: __scrape_interval__, replacement: often"), "__scrape_interval__");
    check_dropped(&with("target_label: __scrape_interval__, replacement: 0s"), "__scrape_interval__");
    check_dropped(
        &with("target_label: __scrape_timeout__, replacement: 2m"),
        "longer than the scrape interval",
    );
}

#[test]
fn what_was_discovered_can_be_seen() {
    let targets = targets("static_configs: [{targets: [a]}], relabel_configs: [{action: drop}]");
    let discovered = [
        ("__address__", "a"),
        ("__metrics_path__", "/metrics"),
        ("__scheme__", "http"),
        ("__scrape_interval__", "1m"),
        ("__scrape_timeout__", "10s"),
        ("job", "test"),
    ];
    assert_eq!(targets.dropped[0].discovered.labels(), Labels::from_pairs(discovered));
    assert_eq!(targets.dropped[0].reason, DropReason::Relabelling);
}

#[test]
fn equal_targets_of_a_job_are_one() {
    let targets = targets("static_configs: [{targets: [a, b, a]}, {targets: [b], labels: {c: d}}]");
    let urls: Vec<_> = targets.active.iter().map(|active| active.target.url.as_str()).collect();
    assert_eq!(urls, ["http://a/metrics", "http://b/metrics", "http://b/metrics"]);
    assert_eq!(targets.dropped.iter().map(|d| &d.reason).collect::<Vec<_>>(), [&DropReason::Duplicate]);
}

#[test]
fn a_targets_own_labels_win_over_its_groups() {
    let job = job("");
    let group = TargetGroup {
        targets: vec![Labels::from_pairs([("__address__", "a"), ("env", "own")])],
        labels: Labels::from_pairs([("env", "group"), ("zone", "z")]),
        ..TargetGroup::default()
    };
    let targets = resolve(&job, &TargetSet::of(vec![group]));
    let labels = &targets.active[0].target.labels;
    assert_eq!((labels.value("env"), labels.value("zone")), ("own", "z"));
}

#[test]
fn too_many_targets_fail_together() {
    let limited =
        |limit: u64| targets(&format!("target_limit: {limit}, static_configs: [{{targets: [a, b]}}]"));
    assert_eq!((limited(2).limit_exceeded, limited(1).limit_exceeded), (None, Some(1)));
}

#[test]
fn a_group_that_stays_the_same_is_not_looked_at_again() {
    let job = job("relabel_configs: [{source_labels: [x], regex: drop, action: drop}]");
    let group = |address: &str, x: &str| {
        let targets = vec![Labels::from_pairs([("__address__", address), ("x", x)])];
        Arc::new(TargetGroup { targets, ..TargetGroup::default() })
    };
    let group_with = |address: &str, new: &str| {
        let targets = vec![Labels::from_pairs([("__address__", address), ("__meta_new", new)])];
        Arc::new(TargetGroup { targets, ..TargetGroup::default() })
    };
    let mut resolver = super::super::targets::Resolver::new(&job);
    let (a, b, c) = (group("a", ""), group("b", ""), group("c", "drop"));
    let mut resolve = |groups: &[&Arc<TargetGroup>]| {
        let groups = groups.iter().map(|group| Arc::clone(group)).collect();
        let targets = resolver.resolve(&job, &TargetSet { groups, ..TargetSet::default() });
        (targets.active.into_iter().map(|active| active.target).collect::<Vec<_>>(), targets.dropped.len())
    };
    let (before, dropped) = resolve(&[&a, &b, &c]);
    assert_eq!((before.len(), dropped), (2, 1));
    // One group is exchanged for an equal one, and another is new and the same as the first.
    let (after, dropped) = resolve(&[&a, &group_with("b", "yes"), &c, &group("a", "")]);
    assert_eq!((after.len(), dropped), (2, 2));
    assert!(Arc::ptr_eq(&before[0], &after[0]), "looked at again");
    // The loop of a target that is found again in another group goes on, and the labels are those of the new group.
    assert!(Arc::ptr_eq(&before[1], &after[1]), "another target");
    assert_eq!(after[1].discovered().labels().value("__meta_new"), "yes");
    assert_eq!(resolve(&[&b]).0[0].url, "http://b/metrics");
}
