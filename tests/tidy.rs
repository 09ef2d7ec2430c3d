//! The house style, as far as a program can check it: sizes, module docs, words, dependency direction, the tree.

#![expect(clippy::expect_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use support::agent::Agent;

/// Longest file.
const LINES_MAX: usize = 500;

/// Everything that may stand at the top, beside dotfiles and what `.gitignore` names.
const TOP: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "agent",
    "benches",
    "deploy",
    "pipeline",
    "sinks",
    "tests",
];

/// Words that say nothing, or that mean something else to whoever reads the name.
const WORDS: [&str; 13] = [
    "event", "record", "message", "tag", "payload", "item", "manager", "handler", "helper", "util", "common",
    "helpers", "utils",
];

/// Names that have to use such a word, because it is the outside world's own: a Kubernetes event is called so.
const FOREIGN: [&str; 1] = ["KubeEvent"];

/// Modules of the pipeline that may be used from any stage: the nouns, the columns, relabelling, the roads to servers, and
/// what is no stage.
const SHARED: [&str; 9] =
    ["model", "schema", "relabel", "http", "kubernetes", "gate", "clock", "metrics", "rest"];

/// The only parts of the pipeline that the sinks see.
const SEEN_BY_SINKS: [&str; 3] = ["model::object", "model::units", "model::secret"];

/// A source file: its path from the top, and its text.
struct Source {
    path: String,
    text: String,
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// All Rust files of our own.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for directory in ["agent", "pipeline", "sinks", "tests", "benches"] {
        walk(&top().join(directory), &mut files);
    }
    let rust = files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let sources: Vec<_> = rust
        .map(|file| {
            let path = file.strip_prefix(top()).expect("a file below the top").display().to_string();
            Source { path, text: fs::read_to_string(&file).expect("a readable file") }
        })
        .collect();
    assert!(sources.len() > 30, "only {} files found", sources.len());
    sources
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.expect("a readable directory").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name != "target" && !name.starts_with('.') => walk(&path, files),
            true => {}
            false => files.push(path),
        }
    }
}

/// Fails with all problems at once.
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Lines of `text` that match, with their place.
fn lines<'t>(source: &'t Source, pattern: &Regex) -> Vec<(String, regex::Captures<'t>)> {
    let numbered = source.text.lines().enumerate();
    let code = numbered.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter_map(|(n, line)| Some((format!("{}:{}", source.path, n + 1), pattern.captures(line)?)))
        .collect()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut problems = Vec::new();
    for source in sources() {
        let count = source.text.lines().count();
        if count > LINES_MAX {
            problems.push(format!("{}: {count} lines are more than {LINES_MAX}: split it", source.path));
        }
        if !source.text.starts_with("//!") {
            problems.push(format!("{}: does not begin with a module doc (//!)", source.path));
        }
    }
    none(&problems);
}

#[test]
fn names_say_something() {
    let types = pattern(r"^\s*(?:pub(?:\([a-z]+\))? )?(?:struct|enum|trait|type) ([A-Z]\w*)");
    let modules = pattern(r"^\s*(?:pub(?:\([a-z]+\))? )?mod (\w+)");
    let mut problems = Vec::new();
    for source in sources() {
        let found = lines(&source, &types).into_iter().chain(lines(&source, &modules));
        // An iterator's own word.
        let found = found.filter(|(_, name)| !FOREIGN.contains(&&name[1]));
        for (place, name) in found.filter(|(_, name)| !name[0].trim_start().starts_with("type Item")) {
            let word = words(&name[1]).into_iter().find(|word| WORDS.contains(&word.as_str()));
            if let Some(word) = word {
                problems.push(format!("{place}: {} is named with the word {word:?}", &name[1]));
            }
        }
    }
    none(&problems);
}

/// The words of a name in camel case or snake case.
fn words(name: &str) -> Vec<String> {
    let mut spaced = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() {
            spaced.push('_');
        }
        spaced.extend(letter.to_lowercase());
    }
    spaced.split('_').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn dependencies_point_one_way() {
    let manifest = |name: &str| fs::read_to_string(top().join(name).join("Cargo.toml")).expect("a manifest");
    let mut problems = Vec::new();
    for (package, forbidden) in [("pipeline", "sinks"), ("pipeline", "agent"), ("sinks", "agent")] {
        if pattern(&format!(r"(?m)^{forbidden}\b")).is_match(&manifest(package)) {
            problems.push(format!("{package}/Cargo.toml: {package} must not depend on {forbidden}"));
        }
    }
    let from_pipeline = pattern(r"\bpipeline::((?:\w+::)?\w+)");
    // What tests share is no dependency of the stage.
    let from_stage = pattern(r"\bcrate::([a-z_]+)(?:::\w+)?");
    let of_tests = |used: &regex::Captures<'_>| used[0].ends_with("::tests");
    for source in sources() {
        if source.path.starts_with("sinks/src/") {
            for (place, used) in lines(&source, &from_pipeline) {
                if !SEEN_BY_SINKS.contains(&&used[1]) {
                    problems.push(format!("{place}: sinks must not see pipeline::{}", &used[1]));
                }
            }
        }
        let Some(stage) = source.path.strip_prefix("pipeline/src/") else { continue };
        let stage = stage.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        // These compose; and a fuzz target goes all the way that bytes go.
        if ["lib", "worker", "dry_run"].contains(&stage) || source.path.ends_with("fuzz.rs") {
            continue;
        }
        for (place, used) in lines(&source, &from_stage) {
            if of_tests(&used) {
                continue;
            }
            let used = &used[1];
            // A scrape section holds the sections of discovery.
            let nested = stage == "scrape" && used == "discovery";
            if used != stage && !nested && !SHARED.contains(&used) {
                problems.push(format!("{place}: stage {stage} must not use stage {used}"));
            }
        }
    }
    none(&problems);
}

#[test]
fn tests_all_run_and_none_sleeps() {
    let ignored = pattern(r"#\[ignore\b");
    let sleeping = pattern(r"\bsleep\(");
    let mut problems = Vec::new();
    for source in sources() {
        if source.path == "tests/tidy.rs" {
            continue;
        }
        problems.extend(
            lines(&source, &ignored).into_iter().map(|(place, _)| format!("{place}: a test is ignored")),
        );
        // Time that is paused does not pass, so sleeping in it is only a way to give it on.
        if source.text.contains("start_paused = true") {
            continue;
        }
        let tests_at = source.text.find("#[cfg(test)]\nmod tests {").unwrap_or(source.text.len());
        let whole = source.path.ends_with("tests.rs") || source.path.starts_with("tests/end_to_end/");
        let from = if whole { 0 } else { source.text[..tests_at].lines().count() };
        for (n, line) in source.text.lines().enumerate().skip(from) {
            // One arm of a select that panics is a deadline.
            if sleeping.is_match(line) && !line.contains("=> panic!") {
                problems.push(format!("{}:{}: a test sleeps", source.path, n + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn the_top_level_is_fixed() {
    let ignored = fs::read_to_string(top().join(".gitignore")).expect(".gitignore");
    let ignored: BTreeSet<_> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let names = fs::read_dir(top()).expect("the top").map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let names: BTreeSet<_> =
        names.filter(|name| !name.starts_with('.') && !ignored.contains(name.as_str())).collect();
    assert_eq!(names, TOP.map(str::to_owned).into());
}

/// The README draws the tree as STYLE does: indented, each crate with the files a newcomer should know.
#[test]
fn the_tree_in_the_readme_exists() {
    let readme = fs::read_to_string(top().join("README.md")).expect("README.md");
    let crate_line = pattern(r"^    (agent|pipeline|sinks|deploy|tests|benches)/(?:\s|$)");
    let name = pattern(r"(?:^|\s)([a-z_0-9/.-]+(?:\.(?:rs|yaml|toml|sql|md|json|txt)|/))(?:,|\s|$)");
    let mut problems = Vec::new();
    let mut directory = None;
    let mut seen = BTreeSet::new();
    for line in readme.lines() {
        if let Some(found) = crate_line.captures(line) {
            seen.insert(found[1].to_owned());
            directory = Some(found[1].to_owned());
        } else if !line.starts_with("      ") {
            directory = None;
        }
        let Some(directory) = &directory else { continue };
        let mut files = Vec::new();
        walk(&top().join(directory), &mut files);
        let paths: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        for found in name.captures_iter(line) {
            let wanted = format!("/{}", &found[1]);
            let exists = if wanted.ends_with('/') {
                paths.iter().any(|path| path.contains(&wanted))
            } else {
                paths.iter().any(|path| path.ends_with(&wanted))
            };
            if !exists {
                problems.push(format!("README.md: {directory} has no {}", &found[1]));
            }
        }
    }
    for wanted in ["agent", "pipeline", "sinks", "deploy", "tests", "benches"] {
        if !seen.contains(wanted) {
            problems.push(format!("README.md: the tree does not show {wanted}/"));
        }
    }
    none(&problems);
}

#[test]
fn the_shipped_configuration_is_the_one_the_agent_prints() {
    let shipped = fs::read_to_string(top().join("deploy/config.yaml")).expect("deploy/config.yaml");
    let printed = Agent::new(&top(), ["default-config"]).run();
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert_eq!(printed.stdout, shipped, "run: cargo run -- default-config > deploy/config.yaml");
}

#[test]
fn the_checks_themselves_can_fail() {
    assert_eq!(words("EventHandler"), ["event", "handler"]);
    assert_eq!(words("line_item"), ["line", "item"]);
    let source = Source { path: "x.rs".to_owned(), text: "// mod util\n  pub mod util;\n".to_owned() };
    let found = lines(&source, &pattern(r"^\s*pub mod (\w+)"));
    assert_eq!(found.iter().map(|(place, _)| place.as_str()).collect::<Vec<_>>(), ["x.rs:2"]);
}
