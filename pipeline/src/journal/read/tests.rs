//! What is written is read back, and of what is damaged the rest.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::journal::scribe::Scribe;
use crate::model::labels::METRIC_NAME;

const TIME: i64 = 1_700_000_000_000;

/// What a scrape brings: of each sample its series, its timestamp and its value.
type Scrape = Vec<(u8, Option<i64>, f64)>;

fn scrapes() -> impl Strategy<Value = Vec<Scrape>> {
    let time = prop_oneof![3 => Just(None), 1 => (-100_000_000..100_000_i64).prop_map(Some)];
    let value = any::<u64>().prop_map(f64::from_bits);
    let sample = (0..40_u8, time, value);
    let scrapes = proptest::collection::vec(proptest::collection::vec(sample, 1..60), 1..6);
    // Targets bring what they brought before.
    (scrapes, 1..4_usize).prop_map(|(scrapes, rounds)| {
        let all = scrapes.len() * rounds;
        scrapes.into_iter().cycle().take(all).collect()
    })
}

fn series(name: u8) -> Series {
    let labels = Labels::from_pairs([(METRIC_NAME, format!("m{name}").as_str()), ("zone", "ä\n\"")]);
    Series { labels, metric_type: MetricType::from_code(name % 7).unwrap() }
}

fn insert(table: &mut SeriesTable, name: u8) -> SeriesId {
    let series = series(name);
    table.insert(series.labels.iter(), series.metric_type)
}

/// The files that a scribe makes of these scrapes, and the batch that they are of.
fn written(scrapes: &[Scrape], tenure: Option<Tenure>) -> (Vec<u8>, Vec<u8>, Batch, SeriesTable) {
    let (mut table, mut batch, mut scribe) = (SeriesTable::default(), Batch::default(), Scribe::new(3));
    let ids: Vec<_> = (0..40).map(|name| insert(&mut table, name)).collect();
    let mut line_ups = HashMap::new();
    let (mut definitions, mut samples) = (Vec::new(), Vec::new());
    for (scrape, content) in scrapes.iter().enumerate() {
        let (time, from) = (TIME + 15_000 * i64::try_from(scrape).unwrap(), batch.scrapes());
        let series: Vec<_> = content.iter().map(|(name, ..)| ids[usize::from(*name)]).collect();
        let each: Vec<_> =
            content.iter().map(|(_, explicit, _)| time + explicit.unwrap_or_default()).collect();
        let values: Vec<_> = content.iter().map(|(.., value)| *value).collect();
        let is_same = content.iter().all(|(_, explicit, _)| explicit.is_none());
        let times = if is_same { Times::Same(time) } else { Times::Each(&each) };
        let line_up = line_ups.entry(series).or_insert_with_key(|series| LineUp::new(series));
        batch.add(line_up, times, &values);
        (batch.last_scrape, batch.tenure) = (time, tenure);
        let entry = scribe.write(&batch, from, &table, 9);
        assert_eq!((entry.sequence, entry.generation), (9, 3));
        definitions.extend(entry.series);
        samples.extend(entry.samples);
    }
    (definitions, samples, batch, table)
}

/// All samples as they would be shipped.
fn shipped(batch: &Batch, table: &SeriesTable) -> Vec<(Series, i64, u64)> {
    batch
        .iter()
        .map(|(id, time, value)| (table.get(id).unwrap().to_series(), time, value.to_bits()))
        .collect()
}

fn tenure() -> Option<Tenure> {
    Some(Tenure { transitions: 7, acquired: -1_700_000_000_000_000 })
}

#[test]
fn a_series_stands_once_and_a_sample_takes_its_value() {
    let steady: Scrape = (0..40).map(|name| (name, None, 1.0)).collect();
    let (once, first, ..) = written(std::slice::from_ref(&steady), None);
    let (definitions, samples, ..) = written(&[steady.clone(), steady], None);
    assert_eq!(definitions, once);
    let second = samples.len() - first.len();
    assert!(second < 40 * 8 + 40, "{second} bytes for 40 samples");
}

#[test]
fn a_missing_file_of_series_costs_the_samples_and_is_counted() {
    let (definitions, samples, ..) = written(&[vec![(1, None, 1.0), (2, None, 2.0)]], None);
    for (definitions, lost) in [(&definitions[..], 0), (&definitions[..10], 2), (&[], 2)] {
        let (definitions, _) = Definitions::read(definitions);
        let (batch, condition) = read_batch(&samples, &definitions);
        assert_eq!((batch.len() as u64, condition.lost), (2 - lost, lost));
    }
}

#[test]
fn a_new_generation_writes_every_series_again() {
    let (mut table, mut batch, mut scribe) = (SeriesTable::default(), Batch::default(), Scribe::new(0));
    let mut freed = Vec::new();
    for name in 0..200_000_u32 {
        freed.push(insert(&mut table, u8::try_from(name % 40).unwrap()));
    }
    batch.add(&mut LineUp::new(&freed), Times::Same(TIME), &vec![0.0; freed.len()]);
    let stays = freed.pop().unwrap();
    assert_eq!(scribe.write(&batch, 0, &table, 1).generation, 0);
    scribe.sealed(&freed);
    let mut batch = Batch::default();
    batch.add(&mut LineUp::new(&[stays]), Times::Same(TIME), &[1.0]);
    let entry = scribe.write(&batch, 0, &table, 2);
    assert_eq!(entry.generation, 1);
    let (definitions, _) = Definitions::read(&entry.series);
    let (read, _) = read_batch(&entry.samples, &definitions);
    assert_eq!(shipped(&read, &definitions.table), shipped(&batch, &table));
    assert_eq!((generation(&entry.samples), super::tenure(&entry.samples)), (Some(1), None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(scrapes in scrapes(), in_turn: bool) {
        let tenure = tenure().filter(|_| in_turn);
        let (definitions, samples, batch, table) = written(&scrapes, tenure);
        let (definitions, of_series) = Definitions::read(&definitions);
        let (read, of_samples) = read_batch(&samples, &definitions);
        prop_assert_eq!((of_series, of_samples), (Condition::default(), Condition::default()));
        prop_assert_eq!(shipped(&read, &definitions.table), shipped(&batch, &table));
        prop_assert_eq!((read.last_scrape, read.tenure), (batch.last_scrape, tenure));
        prop_assert_eq!(super::tenure(&samples), tenure);
    }

    /// A kill tears the last write off anywhere: whole scrapes stay, and nothing counts as damaged.
    #[test]
    fn a_torn_end_costs_the_last_scrapes_only(scrapes in scrapes(), cut in any::<prop::sample::Index>()) {
        let (definitions, samples, batch, table) = written(&scrapes, None);
        let (definitions, _) = Definitions::read(&definitions);
        let (read, condition) = read_batch(&samples[..cut.index(samples.len())], &definitions);
        let (read, all) = (shipped(&read, &definitions.table), shipped(&batch, &table));
        prop_assert_eq!(&read[..], &all[..read.len()]);
        let mut ends = scrapes.iter().scan(0, |end, scrape| { *end += scrape.len(); Some(*end) });
        prop_assert!(read.is_empty() || ends.any(|end| end == read.len()), "a whole number of scrapes");
        prop_assert_eq!((condition.lost, condition.damaged), (0, false));
    }

    /// A flipped bit anywhere: what is read is what was written, and what is missing is counted. Only of the last header
    /// it cannot be known how many samples it spoke of.
    #[test]
    fn a_flipped_bit_is_counted(scrapes in scrapes(), at in any::<prop::sample::Index>(), bit in 0..8_u8, in_series: bool) {
        let (mut definitions, mut samples, batch, table) = written(&scrapes, None);
        let bytes = if in_series { &mut definitions } else { &mut samples };
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (definitions, of_series) = Definitions::read(&definitions);
        let (read, of_samples) = read_batch(&samples, &definitions);
        prop_assert!(of_series.damaged || of_samples.damaged);
        let (read, all) = (shipped(&read, &definitions.table), shipped(&batch, &table));
        let mut rest = all.iter();
        prop_assert!(read.iter().all(|sample| rest.any(|written| written == sample)), "in order, and nothing else");
        let missing = (all.len() - read.len()) as u64;
        let last = scrapes.last().map_or(0, Vec::len) as u64;
        prop_assert!(of_samples.lost == missing || (!in_series && missing == last), "{of_samples:?} {missing}");
    }

    #[test]
    fn anything_can_be_read(definitions: Vec<u8>, samples: Vec<u8>) {
        let (definitions, _) = Definitions::read(&definitions);
        let (read, _) = read_batch(&samples, &definitions);
        prop_assert!(read.is_empty());
    }
}
