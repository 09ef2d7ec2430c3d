//! The fuzz target of the journal's files; see `crate::fuzz`.

use super::frame::{begin, finish};
use super::read::{Definitions, generation, read_batch, tenure};
use crate::encode::{Compression, Config, Encoder, Numbers};
use crate::model::batch::Batch;

/// Between two frames of the input.
const BETWEEN: &[u8] = b"\n%%\n";
/// Between the file of series and the file of samples.
const FILES: &[u8] = b"\n==\n";

/// The two files of a journal as a crash or a bad disk may leave them: read without harm into a batch whose series are all
/// known; a shorter file gives the start of what the whole one gives; and what was read makes an object.
///
/// A piece that begins with `f` becomes a frame with the right checksums, which a fuzzer cannot guess: its second byte says how
/// many things are before it, its third how many are in it. Any other piece stands as it is.
pub fn journal(data: &[u8]) {
    let (series, samples) = split(data, FILES).unwrap_or((data, &[]));
    let (series, samples) = (file(series), file(samples));
    let (definitions, condition) = Definitions::read(&series);
    assert!(condition.torn_bytes <= series.len(), "{condition:?}");
    let (batch, condition) = read_batch(&samples, &definitions);
    assert!(condition.torn_bytes <= samples.len(), "{condition:?}");
    assert!(condition.damaged || condition.lost == 0, "{condition:?}");
    for id in batch.series() {
        let known = definitions.table.get(id);
        let pairs: Vec<_> = known.map(|series| series.labels().collect()).unwrap_or_default();
        assert!(known.is_some(), "a sample of nothing");
        assert!(pairs.is_sorted_by(|(a, _), (b, _)| a < b), "{pairs:?}");
        assert!(pairs.iter().all(|(_, value)| !value.is_empty()), "{pairs:?}");
    }
    let (_, _) = (generation(&samples), tenure(&samples));
    let torn = samples.get(..samples.len() / 2).unwrap_or_default();
    let (part, _) = read_batch(torn, &definitions);
    assert!(bits(&batch).starts_with(&bits(&part)), "the start of a file is another file");
    let config = Config { compression: Compression::None, ..Config::default() };
    let Ok(mut encoder) = Encoder::new(&config, "w0", "c1") else { return };
    let rows = batch.len() as u64;
    let mut samples = 0;
    let numbers = Numbers { first: 1, last: 1 };
    let encoded =
        encoder.encode(&batch, &definitions.table, numbers, &mut |object| samples += object.samples);
    assert!(encoded.is_ok_and(|made| samples + made.duplicates == rows), "no object of it");
}

/// All samples, with every bit of a NaN.
fn bits(batch: &Batch) -> Vec<(u32, i64, u64)> {
    batch.iter().map(|(id, time, value)| (id.0, time, value.to_bits())).collect()
}

fn file(mut pieces: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    while !pieces.is_empty() {
        let (piece, rest) = split(pieces, BETWEEN).unwrap_or((pieces, &[]));
        pieces = rest;
        if let [b'f', before, count, body @ ..] = piece {
            let start = begin(&mut file);
            file.extend_from_slice(body);
            finish(&mut file, start, u32::from(*before), u32::from(*count));
        } else {
            file.extend_from_slice(piece);
        }
    }
    file
}

fn split<'a>(bytes: &'a [u8], between: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::find(bytes, between)?;
    Some((bytes.get(..at)?, bytes.get(at + between.len()..)?))
}
