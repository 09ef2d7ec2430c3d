//! Expectations are those of Prometheus' own `relabel_test.go`, with what it leaves out.

use proptest::prelude::*;

use super::pattern::{self, Template};
use super::*;
use crate::model::labels::Labels;

/// Rules as they stand in the file.
fn rules(yaml: &str) -> Rules {
    let configs: Vec<RelabelConfig> = serde_norway::from_str(yaml).unwrap_or_else(|e| panic!("{yaml}: {e}"));
    Rules::compile(&configs).unwrap_or_else(|e| panic!("{yaml}: {e:?}"))
}

/// Applies the rules to `labels` (`a=1 b=2`) and compares; `None` means that they are dropped.
fn check(labels: &str, yaml: &str, expected: Option<&str>) {
    let mut builder = LabelsBuilder::from_labels(&parse(labels));
    let kept = rules(yaml).apply(&mut builder);
    let result = kept.then(|| builder.build());
    assert_eq!(result, expected.map(parse), "{labels} by {yaml}");
}

fn parse(text: &str) -> Labels {
    Labels::from_pairs(text.split_whitespace().map(|pair| pair.split_once('=').unwrap()))
}

#[test]
fn replace() {
    let abc = "a=foo b=bar c=baz";
    check(
        abc,
        "[{source_labels: [a], regex: 'f(.*)', target_label: d, replacement: 'ch${1}-ch${1}'}]",
        Some("a=foo b=bar c=baz d=choo-choo"),
    );
    check(
        abc,
        "[{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'}, \
          {source_labels: [c, a], regex: '(b).*b(.*)ba(.*)', target_label: d, replacement: '$1$2$2$3'}]",
        Some("a=boobam b=bar c=baz d=boooom"),
    );
    check("a=abc", "[{source_labels: [a], regex: '.*(b).*', target_label: d}]", Some("a=abc d=b"));
    // Without a match nothing happens.
    check("a=boo", "[{source_labels: [a], regex: f, target_label: b, replacement: bar}]", Some("a=boo"));
    // The whole text must match.
    check("a=foo", "[{source_labels: [a], regex: f|o, target_label: a, replacement: x}]", Some("a=foo"));
    // The defaults copy.
    check("a=foo", "[{source_labels: [a], target_label: b}]", Some("a=foo b=foo"));
    check("a=foo", "[{target_label: b, replacement: fixed}]", Some("a=foo b=fixed"));
    check(
        "a=foo b=bar",
        "[{source_labels: [a, b, none], separator: '', target_label: c}]",
        Some("a=foo b=bar c=foobar"),
    );
    // An empty result removes the label.
    check("a=foo b=bar", "[{source_labels: [none], target_label: b}]", Some("a=foo"));
    check("a=foo b=bar", "[{target_label: b, replacement: ''}]", Some("a=foo"));
}

#[test]
fn replace_with_a_target_made_of_groups() {
    let rule = |regex: &str, target: &str, replacement: &str| {
        format!(
            "[{{source_labels: [a], regex: '{regex}', target_label: '{target}', replacement: '{replacement}'}}]"
        )
    };
    let regex = "some-([^-]+)-([^,]+)";
    check("a=some-name-value", &rule(regex, "${1}", "${2}"), Some("a=some-name-value name=value"));
    check("a=some-name-value", &rule(regex, "${1}", "${3}"), Some("a=some-name-value"));
    check("a=some-name-0", &rule(regex, "${3}", "${1}"), Some("a=some-name-0"));
    check("a=some-name-0", &rule("some-([^-]+)(-[^,]+)", "${3}", "${1}"), Some("a=some-name-0"));
    let tags = "__meta_sd_tags=path:/secret,job:some-job,label:foo=bar";
    let yaml = "
        - {source_labels: [__meta_sd_tags], regex: '(?:.+,|^)path:(/[^,]+).*', target_label: __metrics_path__}
        - {source_labels: [__meta_sd_tags], regex: '(?:.+,|^)job:([^,]+).*', target_label: job}
        - {source_labels: [__meta_sd_tags], regex: '(?:.+,|^)label:([^=]+)=([^,]+).*', target_label: '${1}', replacement: '${2}'}";
    check(tags, yaml, Some(&format!("{tags} __metrics_path__=/secret job=some-job foo=bar")));
}

#[test]
fn keep_and_drop() {
    check("a=foo", "[{source_labels: [a], regex: '.*o.*', action: drop}]", None);
    check("a=foo", "[{source_labels: [a], regex: no-match, action: drop}]", Some("a=foo"));
    check("a=foo", "[{source_labels: [a], regex: f|o, action: drop}]", Some("a=foo"));
    check("a=foo", "[{source_labels: [a], regex: no-match, action: keep}]", None);
    check("a=foo", "[{source_labels: [a], regex: 'f.*', action: keep}]", Some("a=foo"));
    // A dropped set sees no further rule.
    check(
        "a=foo",
        "[{source_labels: [a], regex: f.., action: drop}, {target_label: a, replacement: x}]",
        None,
    );
    let ports = "__tmp_port=1234 __port1=1234 __port2=5678";
    let rule = |action, target| {
        format!("[{{source_labels: [__tmp_port], action: {action}, target_label: {target}}}]")
    };
    check(ports, &rule("keepequal", "__port1"), Some(ports));
    check(ports, &rule("dropequal", "__port1"), None);
    check(ports, &rule("dropequal", "__port2"), Some(ports));
    check(ports, &rule("keepequal", "__port2"), None);
}

#[test]
fn hash_and_case() {
    check(
        "c=baz",
        "[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]",
        Some("c=baz d=976"),
    );
    let mut builder = LabelsBuilder::from_labels(&Labels::from_pairs([("a", "foo\nbar")]));
    assert!(
        rules("[{source_labels: [a], target_label: b, action: hashmod, modulus: 1000}]").apply(&mut builder)
    );
    assert_eq!(builder.get("b"), "734");
    check(
        "foo=bAr123Foo",
        "[{source_labels: [foo], action: uppercase, target_label: up}, \
          {source_labels: [foo], action: lowercase, target_label: low}]",
        Some("foo=bAr123Foo low=bar123foo up=BAR123FOO"),
    );
}

#[test]
fn rules_for_label_names() {
    let labels = "a=foo b1=bar b2=baz";
    check(
        labels,
        "[{regex: '(b.*)', replacement: 'bar_${1}', action: labelmap}]",
        Some("a=foo b1=bar b2=baz bar_b1=bar bar_b2=baz"),
    );
    check(
        "a=foo __meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc",
        "[{regex: '__meta_(my.*)', replacement: '${1}', action: labelmap}]",
        Some("a=foo __meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc my_bar=aaa my_baz=bbb"),
    );
    check(labels, "[{regex: '(b.*)', action: labelkeep}]", Some("b1=bar b2=baz"));
    check(labels, "[{regex: '(b.*)', action: labeldrop}]", Some("a=foo"));
    // https://github.com/prometheus/prometheus/issues/12283
    check(
        "__port_name=foo __metrics_port=9091",
        "[{regex: '^__port_name$', action: labeldrop}, \
          {source_labels: [__metrics_port], regex: '(.+)', replacement: metrics, target_label: __port_name}, \
          {source_labels: [__port_name], regex: '^metrics$', action: keep}]",
        Some("__metrics_port=9091 __port_name=metrics"),
    );
}

#[test]
fn texts_without_quotes() {
    check("a=true", "[{source_labels: [a], regex: true, action: keep}]", Some("a=true"));
    check(
        "a=8080",
        "[{source_labels: [a], regex: 8080, target_label: b, replacement: 1}]",
        Some("a=8080 b=1"),
    );
    check("a=x", "[{source_labels: [a], regex: x, action: Drop}]", None);
}

#[test]
fn newlines_are_characters_like_others() {
    let mut builder = LabelsBuilder::from_labels(&Labels::from_pairs([("a", "foo\nbar")]));
    assert!(rules("[{source_labels: [a], regex: 'foo.(.*)', target_label: b}]").apply(&mut builder));
    assert_eq!(builder.get("b"), "bar");
}

#[test]
fn refused_rules() {
    let check = |yaml: &str, key: &str| {
        let config: RelabelConfig = serde_norway::from_str(yaml).unwrap();
        let problems = Rules::compile(&[RelabelConfig::default_target(), config]).err().unwrap_or_default();
        match problems.as_slice() {
            [(1, text)] => assert!(text.starts_with(&format!("{key}: ")), "{yaml}: {text}"),
            _ => panic!("{yaml}: {problems:?}"),
        }
    };
    check("{source_labels: [a]}", "target_label");
    check("{action: lowercase}", "target_label");
    check("{action: hashmod, target_label: a}", "modulus");
    check("{action: hashmod, modulus: 8}", "target_label");
    check("{action: uppercase, target_label: a, replacement: b}", "replacement");
    check("{action: keepequal, source_labels: [a], target_label: b, regex: c}", "regex");
    check("{action: dropequal, source_labels: [a], target_label: b, separator: ''}", "separator");
    check("{action: dropequal, source_labels: [a]}", "target_label");
    check("{action: labeldrop, regex: a, source_labels: [a]}", "source_labels");
    check("{action: labelkeep, regex: a, target_label: a}", "target_label");
    check("{action: labelmap, regex: a, replacement: ''}", "replacement");
    check("{target_label: a, regex: '('}", "regex");
    check("{target_label: a, regex: 'a)(b'}", "regex");
    check("{target_label: a, regex: 'a++?('}", "regex");
    for yaml in ["{action: rename}", "{regex: 1.5}", "{source: [a]}", "{modulus: -1}"] {
        assert!(serde_norway::from_str::<RelabelConfig>(yaml).is_err(), "{yaml}");
    }
}

impl RelabelConfig {
    fn default_target() -> Self {
        Self { target_label: "x".to_owned(), ..Self::default() }
    }
}

/// Where Go's syntax and the crate's differ, Go's counts.
#[test]
fn expressions_as_go_reads_them() {
    let check = |regex: &str, text: &str, expected: bool| {
        let compiled = pattern::compile(regex).unwrap_or_else(|e| panic!("{regex}: {e}"));
        assert_eq!(compiled.is_match(text), expected, "{regex} on {text}");
    };
    check(r"\d+", "123", true);
    check(r"\d+", "١٢٣", false);
    check(r"\w", "é", false);
    check(r"[\w-]+", "a-b_9", true);
    check(r"[^\s]+", "a b", false);
    check(r"\W\S\D", "--x", true);
    check(r"\Qa.b\E+", "a.bbb", true);
    check(r"\Qa.b\E", "axb", false);
    check(r"\<a\>", "<a>", true);
    check(r"[[]", "[", true);
    check(r"[]a]+", "]a", true);
    check(r"[a&&b]+", "a&b", true);
    check(r"[[:alpha:]]+", "ab", true);
    check(r"a{b}", "a{b}", true);
    check(r"a{2}", "aa", true);
    check(r"a{2,}", "aaa", true);
    check(r"{", "{", true);
    check(r"(?i)ABC", "abc", true);
    check(r"\pL+", "é", true);
    check(r"a\bc?", "a", true);
    check("", "", true);
    check("", "a", false);
}

/// `Regexp.Expand` of Go.
#[test]
fn templates_as_go_reads_them() {
    let regex = pattern::compile("(?P<first>[^-]*)-(?P<b_2>[^-]*)(-none)?").unwrap();
    let captures = regex.captures("one-two").unwrap();
    let check = |template: &str, expected: &str| {
        assert_eq!(Template::new(template, &regex).expand(&captures), expected, "{template}");
    };
    check("$1x", "");
    check("${1}x", "onex");
    check("$1-$2", "one-two");
    check("$0", "one-two");
    check("$first.${b_2}", "one.two");
    check("$$1", "$1");
    check("$$$1", "$one");
    check("$", "$");
    check("a$", "a$");
    check("$-", "$-");
    check("${", "${");
    check("${}", "${}");
    check("${1", "${1");
    check("${fir-st}", "${fir-st}");
    check("$3$4$none", "");
    check("$01", "");
    check("$99999999999999999999", "");
}

proptest! {
    /// Whatever stands in the file, it is refused or it works.
    #[test]
    fn no_rule_panics(
        regex in "[a-z0-9(){}\\[\\]\\\\.*+?|^$&~:QE<>,é-]{0,12}",
        template in "[a-z0-9$\\{\\}_é]{0,12}",
        action in 0..11_usize,
        pairs in proptest::collection::vec(("[a-c_é]{0,3}", "\\PC{0,6}"), 0..5),
    ) {
        let names = ["replace", "lowercase", "uppercase", "keep", "drop", "keepequal", "dropequal", "hashmod",
            "labelmap", "labeldrop", "labelkeep"];
        let action = serde_norway::from_str(names[action]).unwrap();
        let config = RelabelConfig {
            source_labels: vec!["a".to_owned(), "b".to_owned()],
            regex,
            target_label: template.clone(),
            replacement: template,
            modulus: 7,
            action,
            ..RelabelConfig::default()
        };
        if let Ok(rules) = Rules::compile(&[config]) {
            let mut builder = LabelsBuilder::from_labels(&Labels::from_pairs(pairs));
            let _kept = rules.apply(&mut builder);
        }
    }
}
