//! The result as text and as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::table::{Example, Row};
use super::{Outcome, Reading};
use crate::targets::rfc3339;

/// Width of the column of names at most; longer ones push the rest of their line.
const NAME_MAX: usize = 60;

/// One line for each metric, those that lack something first; then the totals and what could not be compared.
pub(super) fn text(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let names = outcome.rows.keys().map(String::len);
    let width = names.chain(["all metrics".len()]).max().unwrap_or_default().min(NAME_MAX);
    let head = ["OLD", "NEW", "BOTH", "MISSING", "EXTRA", "DIFFER", "HOLES"];
    let cells = |cells: [String; 7]| cells.map(|cell| format!("{cell:>8}")).concat();
    writeln!(out, "{:width$}{}  EXAMPLE", "METRIC", cells(head.map(str::to_owned)))?;
    let mut rows: Vec<_> = outcome.rows.iter().collect();
    rows.sort_by_key(|(_, row)| (!row.is_bad(), row.extra == 0));
    let numbers = |row: &Row| {
        let numbers = [row.old, row.new, row.both, row.missing, row.extra, row.differ, row.holes];
        cells(numbers.map(|number| number.to_string()))
    };
    for (name, row) in rows {
        let mut examples = row.examples.iter().map(example);
        let first = examples.next().unwrap_or_default();
        let line = format!("{name:width$}{}  {first}", numbers(row));
        writeln!(out, "{}", line.trim_end())?;
        for more in examples {
            writeln!(out, "{:indent$}{more}", "", indent = width + 58)?;
        }
    }
    writeln!(out, "{:width$}{}", "all metrics", numbers(&outcome.totals))?;
    for (metric, (reason, samples)) in &outcome.incomparable {
        writeln!(out, "not compared: {metric} ({samples} samples): {reason}")?;
    }
    notes(out, outcome)
}

fn example(example: &Example) -> String {
    format!("{}: {}: {}", example.what, example.series, example.text)
}

fn notes(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let (from, to) = outcome.range;
    writeln!(out, "\nsamples from {} until {}", rfc3339(from), rfc3339(to))?;
    for (side, reading) in [("old", &outcome.old), ("new", &outcome.new)] {
        let Reading { objects, bytes, samples, in_range, .. } = reading;
        writeln!(
            out,
            "{side}: {objects} objects, {bytes} bytes, {samples} samples, {in_range} of them compared"
        )?;
        if reading.passed_over > 0 {
            writeln!(
                out,
                "{side}: {} files passed over, which are no objects by their names",
                reading.passed_over
            )?;
        }
        for (reason, count) in &reading.left_out {
            writeln!(out, "{side}: {count} elements left out: {reason}")?;
        }
        for (name, problem) in &reading.named {
            writeln!(out, "{side}: unreadable: {name}: {problem}")?;
        }
        let unnamed = reading.unreadable - reading.named.len() as u64;
        if unnamed > 0 {
            writeln!(out, "{side}: {unnamed} more objects are unreadable")?;
        }
    }
    if outcome.totals.edge > 0 {
        let edge = outcome.totals.edge;
        writeln!(out, "{edge} series on one side only, close to an end of the range (--slack): not missed")?;
    }
    if outcome.untold > 0 {
        let (untold, max) = (outcome.untold, outcome.series_max);
        writeln!(
            out,
            "{untold} samples of series beyond --max-series {max}: narrow it by --select, or raise it"
        )?;
    }
    let found = &outcome.totals;
    let verdict = match () {
        () if outcome.old.in_range == 0 => {
            "nothing to compare: the old side has no samples in the range".to_owned()
        }
        () if outcome.is_well() => "the new side has all that the old one has".to_owned(),
        () if outcome.totals.is_bad() => format!(
            "the new side lacks {} series, differs in {} and has holes in {}",
            found.missing, found.differ, found.holes
        ),
        () => "not everything was compared".to_owned(),
    };
    writeln!(out, "{verdict}")
}

/// The same as one JSON object.
pub(super) fn json(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let metric = |(name, row): (&String, &Row)| {
        let mut value = numbers(row);
        let examples =
            row.examples.iter().map(|e| json!({"what": e.what, "series": e.series, "text": e.text}));
        if let Some(map) = value.as_object_mut() {
            map.insert("examples".to_owned(), examples.collect());
            map.shift_insert(0, "metric".to_owned(), name.as_str().into());
        }
        value
    };
    let incomparable = outcome.incomparable.iter();
    let incomparable = incomparable
        .map(|(metric, (reason, samples))| json!({"metric": metric, "reason": reason, "samples": samples}));
    let value = json!({
        "from": rfc3339(outcome.range.0),
        "to": rfc3339(outcome.range.1),
        "well": outcome.is_well(),
        "old": side(&outcome.old),
        "new": side(&outcome.new),
        "totals": numbers(&outcome.totals),
        "series_held": outcome.series,
        "series_max": outcome.series_max,
        "samples_beyond_limit": outcome.untold,
        "not_compared": incomparable.collect::<Vec<_>>(),
        "metrics": outcome.rows.iter().map(metric).collect::<Vec<_>>(),
    });
    writeln!(out, "{value:#}")
}

fn numbers(row: &Row) -> Value {
    json!({
        "old": row.old, "new": row.new, "both": row.both, "missing": row.missing, "extra": row.extra,
        "differ": row.differ, "holes": row.holes, "edge": row.edge,
    })
}

fn side(reading: &Reading) -> Value {
    let named = reading.named.iter().map(|(name, problem)| json!({"object": name, "problem": problem}));
    json!({
        "objects": reading.objects,
        "bytes": reading.bytes,
        "samples": reading.samples,
        "samples_compared": reading.in_range,
        "files_passed_over": reading.passed_over,
        "elements_left_out": reading.left_out,
        "unreadable": reading.unreadable,
        "unreadable_objects": named.collect::<Vec<_>>(),
    })
}
