//! What is read of VRL, and what is not.

use super::evaluate::{Labels, passes};
use super::{condition, program};

fn labels(text: &str) -> Labels {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn conditions() {
    let check = |text: &str, of: &str, expected: bool| {
        let expr = condition(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(passes(&expr, &labels(of)), expected, "{text} of {of}");
    };
    let a = "__name__=a x=1";
    check(".name == \"a\" || .name == \"b\"", a, true);
    check(".name == \"b\" ||\n  .name == \"a\" # why\n", a, true);
    check(".name == \"b\"\n  || .name == \"a\"", a, true);
    // And binds tighter than or, and not tighter than both.
    check(".name == \"a\" || .name == \"b\" && .tags.x == \"2\"", a, true);
    check("(.name == \"a\" || .name == \"b\") && .tags.x == \"2\"", a, false);
    check("!exists(.tags.y) && exists(.tags.\"x\")", a, true);
    check("match(string!(.name), r'^(a|it\\'s)$')", a, true);
    check("includes([\"a\", \"b\",], .name)", a, true);
    // A failure is not false: it ends the whole.
    check("starts_with(string!(.tags.y), \"p\") || true", a, false);
    check("true || starts_with(string!(.tags.y), \"p\")", a, true);
    check("!starts_with(string!(.tags.y), \"p\")", a, false);
    check("(starts_with(string!(.tags.y), \"p\") ?? true)", a, true);
    check(".tags.y != \"p\"", a, true);
}

#[test]
fn what_is_not_read() {
    let check = |text: &str, part: &str| {
        let problem = condition(text).unwrap_err();
        assert!(problem.contains(part), "{text}: {problem}");
    };
    check("", "an empty condition");
    check(".name == ", "does not end");
    check(".name == \"a", "closing quote");
    check(".gauge.value > 1", ".gauge.value");
    check(".name == \"{{ x }}\"", "template");
    check("a = 1\na == 1", "several statements");
    check("x == 1", "the variable x");
    check("starts_with(value: .name, substring: \"a\")", "an argument by its name");
    check(&format!("{}true", "!".repeat(1_000)), "depth");
    check(&format!("{}true{}", "(".repeat(1_000), ")".repeat(1_000)), "depth");
    check(&vec!["true"; 10_000].join(" || "), "length");
    check(&"if true { true } else ".repeat(1_000), "depth");
}

#[test]
fn a_statement_that_is_not_read_costs_no_other() {
    let statements = program(
        ".tags.a = \"1\"\n# b\nx = {\n  \"k\": [1,\n  2]}\n.tags.c = .tags.a; del(.tags.a)\nif .name == \"n\" {\n  .name = \"m\"\n}\nelse {\n abort }\n",
    );
    let shown: Vec<_> =
        statements.iter().map(|s| (s.line, s.expr.is_ok(), s.text.split('\n').next().unwrap())).collect();
    let expected = [
        (0, true, ".tags.a = \"1\""),
        (2, false, "x = {"),
        (5, true, ".tags.c = .tags.a"),
        (5, true, "del(.tags.a)"),
        (6, true, "if .name == \"n\" {"),
    ];
    assert_eq!(shown, expected);
}
