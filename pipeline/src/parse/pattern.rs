//! How lines are written: whether one has the label names of a line before it, and where its values stand then.
//!
//! The lines of a family differ in what their labels say, and hardly in anything else. So the line that was decoded last is kept:
//! where the next one says the same between its values, byte for byte, nothing of its grammar is left to be read. Takes a line,
//! gives [`Alike`]; a line with an escape, or written in another way, is [`super::line`]'s.

use super::known::Family;
use super::line;
use crate::model::alike::{Alike, Kinds, Resolve, Span, VALUES_MAX};
use crate::model::sample::{MetricType, Slot};

/// Ways to write a line that are remembered.
const PATTERNS_MAX: usize = 8;
/// Bytes of a line up to its value beyond which it is decoded.
const PATTERN_BYTES_MAX: usize = 4 << 10;

/// The ways in which lines of one answer are written.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    all: Vec<Pattern>,
    /// The one that was met last.
    last: usize,
    /// The one that is given up next.
    oldest: usize,
    /// Where the values of the line at hand stand.
    spans: Vec<Span>,
    same: u64,
    empty: u64,
}

/// Lines with the same label names in the same order.
#[derive(Debug, Default)]
struct Pattern {
    /// The line before, up to its value.
    line: Vec<u8>,
    /// Its values, the metric name first.
    spans: Vec<Span>,
    /// What it stood under, and its type there.
    declared: (Family, MetricType),
    kinds: Kinds,
}

/// A line that is written as one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    /// Where its labels end.
    pub(super) end: usize,
    pub(super) name_length: usize,
    pattern: usize,
}

impl Patterns {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        (self.last, self.oldest) = (0, 0);
    }

    /// Whether a line is written as one before it.
    pub(super) fn find(&mut self, line: &[u8]) -> Option<Match> {
        let last = self.all.get(self.last)?;
        let name = last.name();
        let is_name = line.starts_with(name) && matches!(line.get(name.len()), Some(b'{' | b' '));
        let name_length = if is_name { name.len() } else { line::metric_name_length(line)? };
        if let Some(end) = self.fits(self.last, line, name_length) {
            return Some(Match { end, name_length, pattern: self.last });
        }
        let last = self.last;
        let mut others = (0..self.all.len()).filter(|pattern| *pattern != last);
        let (pattern, end) =
            others.find_map(|pattern| Some((pattern, self.fits(pattern, line, name_length)?)))?;
        self.last = pattern;
        Some(Match { end, name_length, pattern })
    }

    /// Where the labels of a line end, whose name has so many bytes, if it has this pattern.
    fn fits(&mut self, pattern: usize, line: &[u8], name_length: usize) -> Option<usize> {
        let Self { all, spans, .. } = self;
        let pattern = all.get(pattern)?;
        let (before, mut places) = (pattern.line.as_slice(), pattern.spans.iter().copied());
        let name = places.next()?;
        let mut same = u64::from(name.of(before) == line.get(..name_length)?);
        let (mut empty, mut at, mut behind) = (0, name_length, name.end as usize);
        spans.clear();
        spans.push(span(0, at)?);
        for (bit, place) in (1..).zip(places) {
            let (start, end) = (place.start as usize, place.end as usize);
            let separator = before.get(behind..start)?;
            let rest = line.get(at..)?.strip_prefix(separator)?;
            at += separator.len();
            // With the quote behind it, which no value has in it here.
            let value = before.get(start..=end)?;
            let length = if rest.starts_with(value) {
                same |= 1 << bit;
                end - start
            } else {
                memchr::memchr2(b'"', b'\\', rest).filter(|at| rest.get(*at) == Some(&b'"'))?
            };
            empty |= u64::from(length == 0) << bit;
            spans.push(span(at, at + length)?);
            at += length;
            behind = end;
        }
        let rest = line.get(at..)?;
        let closing = before.get(behind..)?;
        let is_closed = match closing {
            [] => matches!(rest.trim_ascii_start().first(), Some(byte) if *byte != b'{') && is_blank(rest),
            closing => rest.starts_with(closing),
        };
        (self.same, self.empty) = (same, empty);
        is_closed.then_some(at + closing.len()).filter(|end| *end <= PATTERN_BYTES_MAX)
    }

    /// The type of the line at hand, if the line before says it.
    pub(super) fn metric_type(&self, found: Match, family: Family) -> Option<MetricType> {
        let (of, metric_type) = self.all.get(found.pattern)?.declared;
        (of == family && self.same & 1 == 1).then_some(metric_type)
    }

    /// Has the line at hand resolved by what became of those before it.
    pub(super) fn resolve(
        &mut self,
        found: Match,
        line: &[u8],
        declared: (Family, MetricType),
        resolver: &mut impl Resolve,
    ) -> Option<Slot> {
        let alike =
            Alike { line, spans: &self.spans, same: self.same, empty: self.empty, metric_type: declared.1 };
        let pattern = self.all.get_mut(found.pattern)?;
        let slot = resolver.resolve_alike(&alike, &mut pattern.kinds)?;
        pattern.keep(line, &mut self.spans, declared);
        Some(slot)
    }

    /// Remembers a line that had to be decoded, and what became of it.
    pub(super) fn learn(
        &mut self,
        found: Option<Match>,
        line: &[u8],
        declared: (Family, MetricType),
        slot: Slot,
        resolver: &mut impl Resolve,
    ) -> Option<()> {
        if found.is_none() {
            self.empty = read(line, &mut self.spans)?;
            self.last = if self.all.len() < PATTERNS_MAX { self.all.len() } else { self.oldest };
            self.oldest = (self.last + 1) % PATTERNS_MAX;
            match self.all.get_mut(self.last) {
                Some(pattern) => *pattern = Pattern::default(),
                None => self.all.push(Pattern::default()),
            }
        }
        let Self { all, spans, empty, last, .. } = self;
        let pattern = all.get_mut(*last)?;
        let alike = Alike { line, spans, same: 0, empty: *empty, metric_type: declared.1 };
        resolver.learn(slot, &alike, names(line, spans), &mut pattern.kinds);
        pattern.keep(line, spans, declared);
        Some(())
    }
}

impl Pattern {
    fn name(&self) -> &[u8] {
        self.spans.first().map(|span| span.of(&self.line)).unwrap_or_default()
    }

    /// Takes a line for the one before the next.
    fn keep(&mut self, line: &[u8], spans: &mut Vec<Span>, declared: (Family, MetricType)) {
        self.line.clear();
        self.line.extend_from_slice(line);
        std::mem::swap(&mut self.spans, spans);
        self.declared = declared;
    }
}

/// Finds the values of a line that has been decoded, and which are empty; `None` where it is not written in the plainest way.
fn read(line: &[u8], spans: &mut Vec<Span>) -> Option<u64> {
    let name_length = line::metric_name_length(line)?;
    spans.clear();
    spans.push(span(0, name_length)?);
    let (mut at, mut empty) = (name_length, 0);
    if at == line.len() {
        return Some(empty);
    }
    let mut opening = b'{';
    loop {
        let rest = line.get(at..)?.strip_prefix(&[opening])?;
        let name_length = line::label_name_length(rest);
        rest.get(name_length..)?.strip_prefix(b"=\"")?;
        at += 1 + name_length + 2;
        let rest = line.get(at..)?;
        let length = memchr::memchr2(b'"', b'\\', rest).filter(|end| rest.get(*end) == Some(&b'"'))?;
        empty |= u64::from(length == 0) << spans.len();
        spans.push(span(at, at + length)?);
        at += length + 1;
        if line.get(at..) == Some(b"}") {
            return (line.len() <= PATTERN_BYTES_MAX).then_some(empty);
        }
        if spans.len() == VALUES_MAX {
            return None;
        }
        opening = b',';
    }
}

/// The label names of a line that is written in the plainest way.
fn names<'l>(line: &'l [u8], spans: &[Span]) -> impl Iterator<Item = &'l str> {
    spans.windows(2).map(|pair| {
        let [before, value] = pair else { return "" };
        let name = line.get(before.end as usize..value.start as usize).unwrap_or_default();
        let name = name.strip_prefix(b"{").or_else(|| name.strip_prefix(b"\",")).unwrap_or_default();
        std::str::from_utf8(name.strip_suffix(b"=\"").unwrap_or_default()).unwrap_or_default()
    })
}

fn span(start: usize, end: usize) -> Option<Span> {
    Some(Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
}

fn is_blank(rest: &[u8]) -> bool {
    matches!(rest.first(), Some(b' ' | b'\t'))
}
