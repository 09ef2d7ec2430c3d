//! For any labels, VRL as Vector evaluates it and the rules made of it come to the same.

use pipeline::model::labels::{Labels, LabelsBuilder};
use pipeline::relabel::{RelabelConfig, Rules};
use proptest::prelude::*;

use super::formula::Writer;
use super::vrl::evaluate::{self, passes, remapped};
use super::{lower, steps, vrl};

/// What the rules leave of labels, none if they drop them.
fn applied(rules: &[RelabelConfig], labels: &evaluate::Labels) -> Option<evaluate::Labels> {
    let rules = Rules::compile(rules).unwrap();
    let mut builder = LabelsBuilder::from_labels(&Labels::from_pairs(labels));
    let kept = rules.apply(&mut builder);
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    kept.then(|| builder.build().iter().map(own).collect())
}

/// The rules of a condition.
fn kept(text: &str) -> Result<Vec<RelabelConfig>, String> {
    let truth = lower::condition(&vrl::condition(text)?)?;
    let mut writer = Writer::default();
    let mut rules = writer.keep(&truth.yes)?;
    rules.extend(writer.cleaned());
    Ok(rules)
}

/// The rules of a program.
fn changed(program: &[vrl::Expr]) -> Result<Vec<RelabelConfig>, String> {
    let mut writer = Writer::default();
    let mut rules = Vec::new();
    for expr in program {
        rules.extend(steps::statement(expr, &mut writer)?);
    }
    rules.extend(writer.cleaned());
    Ok(rules)
}

const VALUES: [&str; 8] = ["a", "ab", "abc", "b.c", "b|c", "$1;1", "1", "x"];
const NAMES: [&str; 3] = ["x", "y", "z"];

fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(VALUES.as_slice())
}

fn label() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMES.as_slice())
}

fn labels() -> impl Strategy<Value = evaluate::Labels> {
    (value(), prop::collection::btree_map(label(), value(), 0..4)).prop_map(|(name, labels)| {
        let own = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        own.chain([("__name__".to_owned(), name.to_owned())]).collect()
    })
}

/// A text that a condition looks at.
fn subject() -> BoxedStrategy<String> {
    prop_oneof![
        Just(".name".to_owned()),
        Just("string!(.name)".to_owned()),
        label().prop_map(|label| format!("string!(.tags.{label})")),
        label().prop_map(|label| format!("to_string(.tags.{label})")),
        (label(), value()).prop_map(|(label, value)| format!("(string(.tags.{label}) ?? {value:?})")),
    ]
    .boxed()
}

fn question() -> BoxedStrategy<String> {
    let regex = prop::sample::select(&["^a", "b$", "^ab?$", "b.c", "[bc]", "", "^(a|b)", "c*"][..]);
    let function = prop::sample::select(&["starts_with", "ends_with", "contains"][..]);
    prop_oneof![
        (subject(), value(), any::<bool>())
            .prop_map(|(subject, value, is)| format!("{subject} {} {value:?}", if is { "==" } else { "!=" })),
        (label(), value(), any::<bool>()).prop_map(|(label, value, is)| format!(
            ".tags.{label} {} {value:?}",
            if is { "==" } else { "!=" }
        )),
        (function, subject(), prop_oneof![value(), Just("")])
            .prop_map(|(function, subject, value)| format!("{function}({subject}, {value:?})")),
        (subject(), regex).prop_map(|(subject, regex)| format!("match({subject}, r'{regex}')")),
        (value(), value(), label())
            .prop_map(|(a, b, label)| format!("includes([{a:?}, {b:?}], .tags.{label})")),
        (value(), subject()).prop_map(|(a, subject)| format!("includes([{a:?}], {subject})")),
        label().prop_map(|label| format!("exists(.tags.{label})")),
        label().prop_map(|label| format!("is_null(.tags.{label})")),
        label().prop_map(|label| format!("null != .tags.{label}")),
        any::<bool>().prop_map(|value| value.to_string()),
    ]
    .boxed()
}

fn condition() -> BoxedStrategy<String> {
    question()
        .prop_recursive(3, 8, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})\n  && ({b})")),
                inner.clone().prop_map(|a| format!("!({a})")),
                (inner, any::<bool>()).prop_map(|(a, value)| format!("({a}) ?? {value}")),
            ]
        })
        .boxed()
}

fn new_value() -> BoxedStrategy<String> {
    prop_oneof![
        value().prop_map(|value| format!("{value:?}")),
        Just("\"\"".to_owned()),
        label().prop_map(|label| format!(".tags.{label}")),
        Just(".name".to_owned()),
        value().prop_map(|value| format!("{value:?} + string!(.name) + \"_$\"")),
        (label(), label(), value())
            .prop_map(|(a, b, value)| format!("if exists(.tags.{a}) {{ .tags.{b} }} else {{ {value:?} }}")),
        (label(), value())
            .prop_map(|(a, value)| format!("if exists(.tags.{a}) {{ .tags.{a} }} else {{ {value:?} }}")),
        (question(), label(), label())
            .prop_map(|(asked, a, b)| format!("if {asked} {{ .tags.{a} }} else {{ .tags.{b} }}")),
    ]
    .boxed()
}

fn statement() -> BoxedStrategy<String> {
    let plain = prop_oneof![
        (label(), new_value()).prop_map(|(label, value)| format!(".tags.{label} = {value}")),
        value().prop_map(|value| format!(".name = {value:?}")),
        label().prop_map(|label| format!("del(.tags.{label})")),
    ];
    plain
        .boxed()
        .prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                (question(), inner.clone()).prop_map(|(asked, a)| format!("if {asked} {{ {a} }}")),
                (question(), inner.clone(), inner.clone(), inner)
                    .prop_map(|(asked, a, b, c)| format!("if {asked} {{\n  {a}\n  {b}\n}} else {{ {c} }}")),
                question().prop_map(|asked| format!("if {asked} {{ abort }}")),
            ]
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn filters_let_through_the_same(text in condition(), sets in prop::collection::vec(labels(), 1..8)) {
        let expr = vrl::condition(&text).unwrap();
        // Nested deep enough, it is too large, and says so.
        let rules = match kept(&text) {
            Ok(rules) => rules,
            Err(problem) => {
                prop_assert!(problem.contains("size") || problem.contains("rules"), "{}: {}", text, problem);
                return Ok(());
            }
        };
        for labels in sets {
            let expected = passes(&expr, &labels).then(|| labels.clone());
            prop_assert_eq!(applied(&rules, &labels), expected, "{}: {:?}", text, rules);
        }
    }

    #[test]
    fn remaps_leave_the_same(texts in prop::collection::vec(statement(), 1..4), sets in prop::collection::vec(labels(), 1..8)) {
        let text = texts.join("\n");
        let program: Vec<_> = vrl::program(&text).into_iter().map(|s| s.expr.unwrap()).collect();
        // A condition that fails undoes a program, which rules cannot; they say so.
        let Ok(rules) = changed(&program) else { return Ok(()) };
        for labels in sets {
            prop_assert_eq!(applied(&rules, &labels), remapped(&program, &labels), "{}: {:?}", text, rules);
        }
    }
}

#[test]
fn common_shapes_stay_readable() {
    let check = |text: &str, expected: &[&str]| {
        let rules = kept(text).unwrap();
        let shown: Vec<_> = rules
            .iter()
            .map(|rule| format!("{} {} {}", rule.action.as_str(), rule.source_labels.join(","), rule.regex))
            .collect();
        assert_eq!(shown, expected, "{text}");
    };
    check(".name == \"a\" || .name == \"b.c\"", &["keep __name__ a|b\\.c"]);
    check(
        "starts_with(string!(.name), \"A_\") || match(string!(.name), r'^B_')",
        &["keep __name__ A_.*|B_.*"],
    );
    check(".name != \"a\" && !includes([\"b\", \"c\"], .name)", &["drop __name__ a|b|c"]);
    check(
        ".name == \"a\" && .tags.x == \"y\" && !exists(.tags.z)",
        &["keep __name__ a", "keep x y", "drop z .+"],
    );
    check("true", &[]);
    check(
        ".name == \"a\" || .tags.x == \"y\"",
        &["replace __name__ a", "replace x y", "keep __tmp_migrate_1 1", "labeldrop  __tmp_migrate_.*"],
    );
}
