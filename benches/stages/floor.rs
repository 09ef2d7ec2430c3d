//! What the least of each stage's work costs: the floor under its rows, measured in the same run.
//!
//! Reading: finding the ends of lines, and a hash of lines whose ends are known, which is what it takes to notice that nothing
//! has changed. At first sight: finding every quote, and a hash of each text between two of them, which is what it takes to hold
//! each text once. Encoding: compressing the pages of an object that is made already once more.

use anyhow::{Context, Result};
use benches::callgrind::{Fastest, fastest};
use benches::table::Row;
use bytes::Bytes;
use parquet::basic::Type;
use parquet::file::reader::{FileReader, SerializedFileReader};
use pipeline::model::object::Object;
use xxhash_rust::xxh3::xxh3_64;

use crate::Stages;
use crate::encoding::{self, CASES};
use crate::reading::{INPUTS, Scrapes};

/// The level at which objects are compressed, one that many take, and the highest that is meant for use.
const LEVELS: [i32; 3] = [1, 3, 19];
/// Samples of each series in an object, at most: the highest level takes its time.
const EACH_MAX: u64 = 4;

/// The rows under those of reading.
pub(crate) fn reading(stages: &mut Stages) -> Result<()> {
    let works: [(&str, Work); 3] =
        [("lines found", lines_found), ("lines hashed", lines_hashed), ("texts hashed", texts_hashed)];
    for input in INPUTS {
        for (name, work) in works {
            let name = format!("floor, {name}: {}", input.name);
            stages.time(&name, None, |rounds| Ok(measure(&(input.targets)()?, rounds, work)))?;
        }
    }
    Ok(())
}

/// A body, and where its lines end.
struct Body {
    text: Bytes,
    ends: Vec<usize>,
}

/// What is done to a body; the result is of no use.
type Work = fn(&Body) -> u64;

impl Body {
    fn new(text: &Bytes) -> Self {
        let ends = memchr::memchr_iter(b'\n', text).map(|end| end + 1).collect();
        Self { text: text.clone(), ends }
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).filter_map(|(start, end)| self.text.get(*start..*end))
    }
}

fn measure(targets: &[Scrapes], rounds: u32, work: Work) -> Fastest {
    let bodies: Vec<Body> = targets.iter().flatten().map(Body::new).collect();
    let lines = bodies.iter().flat_map(Body::lines);
    let samples = lines.filter(|line| !matches!(line, [b'\n' | b'#', ..])).count() as u64;
    fastest(
        rounds,
        &mut (),
        |()| (),
        |(), ()| {
            std::hint::black_box(bodies.iter().fold(0, |sum, body| work(body) ^ sum));
            samples
        },
    )
}

fn lines_found(body: &Body) -> u64 {
    memchr::memchr_iter(b'\n', &body.text).count() as u64
}

fn lines_hashed(body: &Body) -> u64 {
    body.lines().fold(0, |sum, line| xxh3_64(line) ^ sum)
}

fn texts_hashed(body: &Body) -> u64 {
    body.lines().fold(0, |sum, line| {
        let mut quotes = memchr::memchr_iter(b'"', line);
        let texts = std::iter::from_fn(|| line.get(quotes.next()? + 1..quotes.next()?));
        texts.fold(sum, |sum, text| xxh3_64(text) ^ sum)
    })
}

/// The rows under those of encoding: for pages of numbers, which are new in every object, and for all of them.
pub(crate) fn encoding(stages: &mut Stages) -> Result<()> {
    for case in CASES.iter().filter(|case| case.each <= EACH_MAX && !case.is_churning) {
        let name = format!("floor, zstd: {}", case.name);
        if stages.arguments.counted || !stages.wants(&name) {
            continue;
        }
        eprintln!("{name}");
        let (_, object) = encoding::measure(case, 1);
        for (which, is_wanted) in [("of numbers", is_number as fn(Type) -> bool), ("of all", |_| true)] {
            let pages = pages(&object, is_wanted)?;
            for level in LEVELS {
                let rounds = if level == LEVELS[0] { case.rounds } else { 1 };
                let (nanoseconds, bytes) = compress(&pages, level, rounds, object.samples)?;
                let row = |unit, found| {
                    let name = format!("floor, zstd {level} {which}, {}", case.name);
                    Row { name, unit, found, ..Row::default() }
                };
                stages.rows.extend([row("ns", nanoseconds), row("B", bytes)]);
            }
        }
    }
    Ok(())
}

/// Nanoseconds and bytes for each sample.
fn compress(pages: &[Bytes], level: i32, rounds: u32, samples: u64) -> Result<(f64, f64)> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    let mut bytes = 0;
    let found = fastest(
        rounds,
        &mut bytes,
        |_| (),
        |bytes, ()| {
            let sizes = pages.iter().map(|page| compressor.compress(page).map_or(0, |page| page.len()));
            *bytes = sizes.sum();
            samples
        },
    );
    Ok((found.nanoseconds, bytes as f64 / samples as f64))
}

/// Columns whose values are new in every object.
fn is_number(physical: Type) -> bool {
    matches!(physical, Type::INT64 | Type::DOUBLE)
}

/// The pages of an object as they are before compression.
fn pages(object: &Object, is_wanted: fn(Type) -> bool) -> Result<Vec<Bytes>> {
    let file = SerializedFileReader::new(object.bytes.clone())?;
    let group = file.get_row_group(0)?;
    let mut pages = Vec::new();
    for column in 0..group.num_columns() {
        if !is_wanted(group.metadata().column(column).column_type()) {
            continue;
        }
        let mut reader = group.get_column_page_reader(column)?;
        while let Some(page) = reader.get_next_page()? {
            pages.push(page.buffer().clone());
        }
    }
    (!pages.is_empty()).then_some(pages).context("an object has pages")
}
