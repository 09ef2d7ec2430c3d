//! Lines that are written alike take a short way to their series: it leads where the simple one does, whatever the lines say.

use crate::Limits;
use crate::intern::{Kept, Resolver, TargetSeries};
use crate::model::alike::Resolve;
use crate::model::batch::Batch;
use crate::model::labels::Labels;
use crate::model::sample::Samples;
use crate::model::series::{Series, SeriesTable};
use crate::model::target::Target;
use crate::parse::{Cache, Lines, Progress, Reading, Secret};

/// One of the two ways, with all that it remembers.
struct Way {
    is_short: bool,
    cache: Cache,
    series: TargetSeries,
    table: SeriesTable,
    progress: Progress,
}

/// What a reading gave, comparable to the bit.
#[derive(Debug, PartialEq)]
struct Found {
    reading: Reading,
    values: Vec<(u32, u64)>,
    timestamps: Vec<i64>,
    is_as_before: bool,
    /// Those of the samples that were kept.
    series: Vec<Series>,
    /// Series and bytes of labels in the table, series of the target, lines.
    held: (usize, u64, usize, usize),
}

impl Way {
    fn new(is_short: bool) -> Self {
        Self {
            is_short,
            cache: Cache::new(Secret::random(), Lines::new(20)),
            series: TargetSeries::new(),
            table: SeriesTable::default(),
            progress: Progress::default(),
        }
    }

    /// Reads a body in pieces of so many bytes, as the worker does; between the first two, series that are gone are freed.
    fn read(&mut self, body: &[u8], piece: usize, target: &Target, external: &Labels) -> Found {
        let Self { is_short, cache, series, table, progress } = self;
        let samples_max = target.job.limits.samples;
        progress.begin(cache);
        for (number, piece) in body.chunks(piece.max(1)).enumerate() {
            if number == 1 {
                table.sweep();
            }
            let mut resolver = Resolver { series, target, external, series_max: 40, table };
            match is_short {
                true => progress.piece_with(piece, cache, samples_max, &mut resolver),
                false => progress.piece(piece, cache, samples_max, |exposed| resolver.resolve(exposed)),
            }
        }
        let mut resolver = Resolver { series, target, external, series_max: 40, table };
        let reading = match is_short {
            true => progress.finish_with(cache, samples_max, &mut resolver),
            false => progress.finish(cache, samples_max, |exposed| resolver.resolve(exposed)),
        };
        let mut batch = Batch::default();
        if reading.failed.is_some() {
            series.roll_back(table);
            cache.clear();
        } else {
            let mut kept = Kept::default();
            series.commit(&progress.samples, 0, false, &Limits::default(), &[], &mut kept);
            series.add(&mut kept, &[], 0, &mut batch);
        }
        let kept = batch.series().filter_map(|id| Some(table.get(id)?.to_series())).collect();
        if cache.has_idle() {
            cache.prune();
        }
        series.prune(table);
        let Samples { slots, values, timestamps, is_as_before } = &progress.samples;
        Found {
            reading,
            values: slots.iter().zip(values).map(|(slot, value)| (slot.0, value.to_bits())).collect(),
            timestamps: timestamps.clone(),
            is_as_before: *is_as_before,
            series: kept,
            held: (table.len(), table.label_bytes(), series.len(), cache.len()),
        }
    }
}

/// Reads bodies of a target both ways, each in pieces of so many bytes.
pub(crate) fn check_alike<'a>(
    target: &Target,
    external: &Labels,
    bodies: impl IntoIterator<Item = (&'a [u8], usize)>,
) {
    let (mut short, mut simple) = (Way::new(true), Way::new(false));
    for (body, piece) in bodies {
        let [found, expected] = [&mut short, &mut simple].map(|way| way.read(body, piece, target, external));
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(body));
    }
    for Way { series, table, .. } in [&mut short, &mut simple] {
        series.clear(table);
        table.sweep();
        assert_eq!((table.label_bytes(), table.len()), (0, 0), "texts that nobody has are held");
    }
}
