//! Which source reaches which sink, through which transforms.
//!
//! Takes the sections of a configuration, gives components with their inputs resolved, and every way from a source to a sink.
//! What Vector would refuse (an input that does not exist, a cycle) is a finding.

use super::report::{Place, Report};
use super::yaml::Node;

/// Ways from one source to one sink that are looked at.
const CHAINS_MAX: usize = 64;

/// Components that are looked at.
const COMPONENTS_MAX: usize = 500;

/// Steps of one search.
const STEPS_MAX: usize = 100_000;

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Source,
    Transform,
    Sink,
}

/// A source, a transform or a sink.
#[derive(Debug)]
pub(super) struct Component<'a> {
    pub(super) section: Section,
    pub(super) id: &'a str,
    /// `type`.
    pub(super) kind: &'a str,
    pub(super) node: &'a Node,
    pub(super) place: Place,
    /// The positions of those that it reads from.
    pub(super) inputs: Vec<usize>,
}

impl Component<'_> {
    /// The place of a key below it.
    pub(super) fn at(&self, key: &str) -> Place {
        let line = self
            .node
            .entries()
            .iter()
            .find(|entry| entry.key == key)
            .map_or(self.place.line, |entry| entry.line);
        Place { line, path: format!("{}.{key}", self.place.path) }
    }
}

/// All components.
pub(super) struct Graph<'a> {
    pub(super) components: Vec<Component<'a>>,
}

impl<'a> Graph<'a> {
    /// Reads the three sections.
    pub(super) fn new(config: &'a Node, report: &mut Report) -> Self {
        let mut components = Vec::new();
        let sections =
            [("sources", Section::Source), ("transforms", Section::Transform), ("sinks", Section::Sink)];
        for (name, section) in sections {
            for entry in config.get(name).map(Node::entries).unwrap_or_default() {
                let place = Place { line: entry.line, path: format!("{name}.{}", entry.key) };
                if components.len() >= COMPONENTS_MAX {
                    report.decide(
                        &place,
                        format!("more than {COMPONENTS_MAX} components: the rest is not looked at"),
                    );
                    break;
                }
                let kind = entry.value.get("type").and_then(Node::text).unwrap_or_default();
                let node = &entry.value;
                components.push(Component { section, id: &entry.key, kind, node, place, inputs: Vec::new() });
            }
        }
        let mut graph = Self { components };
        graph.resolve(report);
        graph.find_cycles(report);
        graph
    }

    fn resolve(&mut self, report: &mut Report) {
        let mut resolved = Vec::new();
        for (position, component) in self.components.iter().enumerate() {
            let mut inputs = Vec::new();
            let listed = component.node.get("inputs").filter(|_| component.section != Section::Source);
            for input in listed.map(Node::list).unwrap_or_default().iter().take(COMPONENTS_MAX) {
                let place = Place { line: input.line, path: format!("{}.inputs", component.place.path) };
                let Some(wanted) = input.text() else { continue };
                let found = self.named(wanted, position);
                if found.is_empty() {
                    report.decide(&place, self.unknown(wanted));
                }
                inputs.extend(found);
            }
            inputs.sort_unstable();
            inputs.dedup();
            resolved.push(inputs);
        }
        for (component, inputs) in self.components.iter_mut().zip(resolved) {
            component.inputs = inputs;
        }
    }

    /// The components that an input names: by its id, by one of its outputs (`id.output`), or by a pattern.
    fn named(&self, wanted: &str, reader: usize) -> Vec<usize> {
        let can_feed = |(position, component): &(usize, &Component<'_>)| {
            component.section != Section::Sink && *position != reader
        };
        let readable = || self.components.iter().enumerate().filter(can_feed);
        let fits = |fit: &dyn Fn(&str) -> bool| -> Vec<usize> {
            readable().filter(|(_, component)| fit(component.id)).map(|(position, _)| position).collect()
        };
        let exact = fits(&|id| id == wanted);
        if !exact.is_empty() {
            return exact;
        }
        if wanted.contains('*') {
            return fits(&|id| glob(wanted, id));
        }
        fits(&|id| wanted.strip_prefix(id).is_some_and(|output| output.starts_with('.')))
    }

    fn unknown(&self, wanted: &str) -> String {
        let ids = self.components.iter().filter(|component| component.section != Section::Sink).map(|c| c.id);
        let near =
            ids.map(|id| (strsim::levenshtein(id, wanted), id)).min().filter(|(distance, _)| *distance <= 3);
        let hint = near.map_or(":".to_owned(), |(_, id)| format!(", did you mean {id:?}?"));
        let none = if wanted.contains('*') { "matches nothing" } else { "does not exist" };
        format!("the input {wanted:?} {none}{hint} Vector would not start; here it brings nothing")
    }

    fn find_cycles(&self, report: &mut Report) {
        let mut steps = 0;
        for (position, component) in self.components.iter().enumerate() {
            let mut seen = vec![false; self.components.len()];
            let mut open = component.inputs.clone();
            while let Some(next) = open.pop().filter(|_| steps < STEPS_MAX) {
                steps += 1;
                if next == position {
                    let text = "reads, by others, what it writes itself: Vector would not start; here no way leads around in a circle";
                    report.decide(&component.place, text);
                    break;
                }
                if let (Some(seen), Some(found)) = (seen.get_mut(next), self.components.get(next))
                    && !std::mem::replace(seen, true)
                {
                    open.extend(&found.inputs);
                }
            }
        }
    }

    pub(super) fn get(&self, position: usize) -> Option<&Component<'a>> {
        self.components.get(position)
    }

    /// Positions of a section.
    pub(super) fn of(&self, section: Section) -> impl Iterator<Item = (usize, &Component<'a>)> {
        self.components.iter().enumerate().filter(move |(_, component)| component.section == section)
    }

    /// Everything that feeds a component, by others too.
    pub(super) fn above(&self, position: usize) -> Vec<bool> {
        let mut feeds = vec![false; self.components.len()];
        let mut open = vec![position];
        while let Some(next) = open.pop() {
            for input in self.get(next).map(|component| component.inputs.as_slice()).unwrap_or_default() {
                if let Some(known) = feeds.get_mut(*input)
                    && !std::mem::replace(known, true)
                {
                    open.push(*input);
                }
            }
        }
        feeds
    }

    /// Those that read from a component.
    fn readers(&self, position: usize) -> impl Iterator<Item = usize> {
        let reads = move |(_, component): &(usize, &Component<'a>)| component.inputs.contains(&position);
        self.components.iter().enumerate().filter(reads).map(|(reader, _)| reader)
    }

    /// The transforms on every way from `source` to `sink`; false if there are more than are looked at.
    pub(super) fn chains(&self, source: usize, sink: usize) -> (Vec<Vec<usize>>, bool) {
        let above = self.above(sink);
        let leads = |position: usize| position == sink || above.get(position) == Some(&true);
        self.ways(source, &leads, Some(sink))
    }

    /// The transforms on the ways from `source` to where nobody reads any more.
    pub(super) fn dead_ends(&self, source: usize) -> Vec<Vec<usize>> {
        self.ways(source, &|_| true, None).0
    }

    fn ways(
        &self,
        source: usize,
        leads: &dyn Fn(usize) -> bool,
        sink: Option<usize>,
    ) -> (Vec<Vec<usize>>, bool) {
        let mut found = Vec::new();
        let mut open = vec![vec![source]];
        let mut steps = 0;
        while let Some(way) = open.pop() {
            steps += 1;
            if found.len() >= CHAINS_MAX || steps > STEPS_MAX / 20 {
                return (found, false);
            }
            let Some(last) = way.last().copied() else { continue };
            let next: Vec<_> =
                self.readers(last).filter(|next| leads(*next) && !way.contains(next)).collect();
            let inner = || way.get(1..).unwrap_or_default().to_vec();
            if next.iter().any(|next| Some(*next) == sink) || (next.is_empty() && sink.is_none()) {
                found.push(inner());
            }
            for next in next.into_iter().filter(|next| Some(*next) != sink).rev() {
                open.push([way.as_slice(), &[next]].concat());
            }
        }
        (found, true)
    }
}

/// Whether `id` is what `pattern` says, in which `*` stands for any text.
fn glob(pattern: &str, id: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| id.strip_prefix(first)) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::yaml;

    /// The ways from `s` to `k`, and what is found to be wrong.
    fn check(text: &str, expected: &[&[&str]], wrong: &[&str]) {
        let root = yaml::parse(text).unwrap();
        let mut report = Report::default();
        let graph = Graph::new(&root, &mut report);
        let position = |id: &str| graph.components.iter().position(|c| c.id == id).unwrap();
        let (chains, all) = graph.chains(position("s"), position("k"));
        let named: Vec<Vec<_>> =
            chains.iter().map(|chain| chain.iter().map(|p| graph.components[*p].id).collect()).collect();
        assert_eq!(named, expected, "{text}");
        assert!(all);
        assert_eq!(report.findings.len(), wrong.len(), "{report}");
        for (finding, part) in report.findings.iter().zip(wrong) {
            assert!(finding.text.contains(part), "{report}");
        }
    }

    #[test]
    fn ways_from_source_to_sink() {
        check("sources: {s: {type: x}}\nsinks: {k: {inputs: [s]}}", &[&[]], &[]);
        check("sources: {s: {}}\nsinks: {k: {inputs: s}}", &[&[]], &[]);
        check(
            "sources: {s: {}}\ntransforms: {a: {inputs: [s]}, b: {inputs: [s]}, c: {inputs: [a, b]}}\nsinks: {k: {inputs: [c]}}",
            &[&["a", "c"], &["b", "c"]],
            &[],
        );
        check(
            "sources: {s: {}}\ntransforms: {a: {inputs: [s]}}\nsinks: {k: {inputs: [s, a]}}",
            &[&[], &["a"]],
            &[],
        );
        check(
            "sources: {s: {}}\ntransforms: {a-1: {inputs: ['*s']}}\nsinks: {k: {inputs: ['a*']}}",
            &[&["a-1"]],
            &[],
        );
        check(
            "sources: {s: {}}\ntransforms: {a: {inputs: [s]}}\nsinks: {k: {inputs: [a.out]}}",
            &[&["a"]],
            &[],
        );
        check("sources: {s: {}}\nsinks: {k: {inputs: []}}", &[], &[]);
    }

    #[test]
    fn what_vector_would_refuse() {
        check(
            "sources: {s: {}, sun: {}}\nsinks: {k: {inputs: [sum, 'z*']}}",
            &[],
            &["did you mean \"sun\"?", "\"z*\" matches nothing"],
        );
        check(
            "sources: {s: {}}\ntransforms: {a: {inputs: [s, b]}, b: {inputs: [a]}}\nsinks: {k: {inputs: [b]}}",
            &[&["a", "b"]],
            &["what it writes itself", "what it writes itself"],
        );
    }
}
