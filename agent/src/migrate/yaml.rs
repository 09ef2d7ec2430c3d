//! YAML with the line of every key and value.
//!
//! Takes text, gives a tree in which a mapping keeps its order, or one sentence that says what is wrong and where. The
//! configuration of the agent itself is read elsewhere, where types and not lines matter.

use granit_parser::{Event, Parser, ScalarStyle, Span, options};

/// Larger files are refused, bytes. A Vector configuration has some thousands.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// What a file may grow to through aliases.
const NODES_MAX: usize = 50_000;

/// How deep it may nest.
const DEPTH_MAX: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// From 1; that of a block is the first one of its text.
    pub(super) line: usize,
    /// Its last line.
    pub(super) end: usize,
    pub(super) kind: Kind,
}

/// What a value is. Scalars stay as they are written, since only who reads one knows what it is to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`.
    Nothing,
    /// A text, number or boolean.
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Node,
}

impl Node {
    /// The keys, where this is a mapping.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// A list, or the one value that stands for a list of one.
    pub(super) fn list(&self) -> &[Self] {
        match &self.kind {
            Kind::List(nodes) => nodes,
            Kind::Nothing => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// A boolean as Vector writes it.
    pub(super) fn is(&self, value: bool) -> bool {
        self.text() == Some(if value { "true" } else { "false" })
    }
}

/// Reads the one document of `text`.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.len() > FILE_BYTES_MAX {
        let size = text.len();
        return Err(format!(
            "the file has {size} bytes, and {FILE_BYTES_MAX} are the limit: it is no configuration"
        ));
    }
    let mut options = options! { flow_nesting_limit: DEPTH_MAX, block_nesting_limit: DEPTH_MAX };
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| format!("cannot read the YAML: {error}"))?;
        builder.take(event, &span)?;
    }
    Ok(builder.root.unwrap_or(Node { line: 1, end: 1, kind: Kind::Nothing }))
}

/// A list or mapping that is not yet closed.
struct Open {
    line: usize,
    anchor: usize,
    is_map: bool,
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// What aliases refer to, by the parser's number.
    anchors: Vec<(usize, Node, usize)>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), String> {
        let (line, end) = (span.start.line(), span.end.line());
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(format!(
                        "line {line}: a second document begins: give each a file of its own"
                    ));
                }
            }
            Event::MappingStart(_, anchor, _) => {
                self.open.push(Open { line, anchor, is_map: true, nodes: Vec::new() });
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open.push(Open { line, anchor, is_map: false, nodes: Vec::new() });
            }
            Event::MappingEnd | Event::SequenceEnd => return self.close(),
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let nothing = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let kind =
                    if nothing { Kind::Nothing } else { Kind::Scalar { text: text.into_owned(), style } };
                // A block begins below its `|`, and ends where the next line does.
                let end = match (style, &kind) {
                    (ScalarStyle::Literal, Kind::Scalar { text, .. }) => {
                        line + text.lines().count().max(1) - 1
                    }
                    (ScalarStyle::Folded, _) => end.saturating_sub(1).max(line),
                    _ => end,
                };
                return self.add(Node { line, end, kind }, anchor, 1);
            }
            Event::Alias(anchor) => {
                let found = self.anchors.iter().rev().find(|(known, ..)| *known == anchor);
                let Some((_, node, size)) = found else {
                    return Err(format!("line {line}: an alias stands within what it repeats"));
                };
                let (mut node, size) = (node.clone(), *size);
                (node.line, node.end) = (line, line);
                return self.add(node, 0, size);
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let end = open.nodes.last().map_or(open.line, |node| node.end);
        let kind = if open.is_map { mapping(open.nodes)? } else { Kind::List(open.nodes) };
        self.add(Node { line: open.line, end, kind }, open.anchor, 1)
    }

    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), String> {
        self.nodes += size;
        if self.nodes > NODES_MAX {
            return Err("the file is too large once its aliases are followed".to_owned());
        }
        if anchor != 0 {
            let size = count(&node);
            self.anchors.push((anchor, node.clone(), size));
        }
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    match &node.kind {
        Kind::Nothing | Kind::Scalar { .. } => 1,
        Kind::List(nodes) => 1 + nodes.iter().map(count).sum::<usize>(),
        Kind::Map(entries) => 1 + entries.iter().map(|entry| count(&entry.value)).sum::<usize>(),
    }
}

/// Keys and values in turn, with what `<<` merges behind what stands there itself.
fn mapping(nodes: Vec<Node>) -> Result<Kind, String> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut merged = Vec::new();
    let mut nodes = nodes.into_iter();
    while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
        let line = key.line;
        let Kind::Scalar { text, .. } = key.kind else {
            return Err(format!("line {line}: a key is no text"));
        };
        if text == "<<" {
            merged.extend(value.list().iter().flat_map(|node| node.entries().to_vec()));
        } else if entries.iter().any(|entry| entry.key == text) {
            return Err(format!("line {line}: the key {text:?} stands here twice"));
        } else {
            entries.push(Entry { key: text, line, value });
        }
    }
    for entry in merged {
        if !entries.iter().any(|own| own.key == entry.key) {
            entries.push(entry);
        }
    }
    Ok(Kind::Map(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_keys_values_and_blocks() {
        let root = parse("a:\n  b: |\n    x\n    y\n  c: [1,\n    2]\n# note\nd: >-\n  z\n").unwrap();
        let a = &root.entries()[0];
        assert_eq!((a.key.as_str(), a.line), ("a", 1));
        let b = a.value.get("b").unwrap();
        assert_eq!((b.text(), b.line, b.end), (Some("x\ny\n"), 3, 4));
        let c = a.value.get("c").unwrap();
        assert_eq!((c.list()[0].text(), c.list()[1].line), (Some("1"), 6));
        let d = &root.entries()[1];
        assert_eq!((d.line, d.value.text(), d.value.line), (8, Some("z"), 9));
    }

    #[test]
    fn aliases_and_merges() {
        let root = parse("x: &d {a: 1, b: 2}\ny: {<<: *d, b: 3}\nz: *d").unwrap();
        let y = root.get("y").unwrap();
        assert_eq!((y.get("a").unwrap().text(), y.get("b").unwrap().text()), (Some("1"), Some("3")));
        assert_eq!(root.get("z").unwrap().line, 3);
    }

    #[test]
    fn what_is_refused() {
        let check = |text: &str, part: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check("a: 1\n  b: 2", "line 2");
        check("a: 1\na: 2", "line 2: the key \"a\" stands here twice");
        check("a: 1\n---\nb: 2", "a second document begins");
        check("a: &a [*a]", "");
        check(&"[".repeat(100), "cannot read the YAML");
        check(&"x".repeat(FILE_BYTES_MAX + 1), "bytes");
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
        }
        check(&laughs, "too large once its aliases are followed");
    }
}
