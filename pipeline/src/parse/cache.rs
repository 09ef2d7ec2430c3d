//! Which line of an exposition is which series, and which line follows which.
//!
//! An exporter mostly answers with the lines of its last answer, in the same order, some with other values. So each known line
//! holds a hash of its bytes up to the value, how many bytes those are, and which line followed it: at the place where that one
//! is expected, one hash of so many bytes tells whether it is there, and where its value has not changed of late, of so many
//! more whether that is what it was. Where it is not, the line is looked up by its hash, and the chain is mended at that place
//! only; lines that come, go or change places cost themselves.
//!
//! While all is as expected nothing is written: which lines an answer held is noted for a whole run of them, when the run
//! ends, and not at all where the answer held what all did before it.

use std::sync::Arc;

use hashbrown::HashTable;

use super::hash::Secret;
use super::known::{BELOW_SCRAPE, Family, Known, LENGTH_MAX, Place, Position, SCRAPE_SHIFT, TYPE_BIT};
use super::lines::Lines;
use super::tail::{self, Last};
use crate::model::sample::{NO_TIMESTAMP, Samples, Slot};

/// The known lines of one target.
///
/// Two different lines of one target that hash alike and are of one length would be taken for one series. The hash has 64 bits
/// and a secret: with a million lines the odds are 1 in 37 million, once and not per scrape. That a value which changes is taken
/// for the one before it has odds of 1 in 2^64 each time: with a million changes a second, once in half a million years.
#[derive(Debug)]
pub struct Cache {
    known: Vec<Known>,
    /// Beside `known`: the series that a sample line leads to.
    slots: Vec<Slot>,
    /// Beside `known`: what stood behind it last.
    values: Vec<Last>,
    /// All lines by their hashes, which only those need that stand where others were expected: made when one does, gone after an
    /// answer without any.
    by_hash: Option<HashTable<Place>>,
    free: Vec<Place>,
    first: Place,
    /// The scrape, modulo 256.
    scrape: u8,
    pass: Pass,
    /// How many lines the last whole answer had, where the chain from the first line on is those lines.
    before: Option<u64>,
    /// Whether that answer held every line that is known.
    was_all: bool,
    secret: Secret,
    all: Arc<Lines>,
}

/// How far the answer at hand has been read.
#[derive(Clone, Copy, Debug)]
struct Pass {
    /// The line that is expected next.
    expected: Place,
    /// The line before it, whose successor is corrected where the expectation fails.
    last: Place,
    /// How many lines the answer before had, as in [`Cache::before`].
    before: Option<u64>,
    /// Where the run of expected lines began, and how many they are: they are not marked as held yet.
    run: (Place, u64),
    /// Known lines read, each time that they stood there.
    lines: u64,
    /// Known lines marked as held.
    held: usize,
    /// A line stood where another was expected.
    is_other: bool,
    /// A line stood there twice, so that the chain does not lead along all lines.
    is_repeated: bool,
    /// A line could not be remembered.
    is_forgetful: bool,
    /// A line was looked up by its hash.
    is_looking: bool,
}

impl Pass {
    fn from(first: Place) -> Self {
        Self {
            expected: first,
            last: Place::NONE,
            before: None,
            run: (first, 0),
            lines: 0,
            held: 0,
            is_other: false,
            is_repeated: false,
            is_forgetful: false,
            is_looking: false,
        }
    }
}

impl Cache {
    /// An empty one.
    #[must_use]
    pub fn new(secret: Secret, all: Arc<Lines>) -> Self {
        Self {
            known: Vec::new(),
            slots: Vec::new(),
            values: Vec::new(),
            by_hash: None,
            free: Vec::new(),
            first: Place::NONE,
            scrape: 0,
            pass: Pass::from(Place::NONE),
            before: None,
            was_all: false,
            secret,
            all,
        }
    }

    /// Begins to read an answer.
    pub(super) fn begin(&mut self) {
        self.scrape = self.scrape.wrapping_add(1);
        // Where nobody said that the answer before was read, there is nothing to be as before.
        self.pass = Pass { before: self.before.take(), ..Pass::from(self.first) };
    }

    /// Says that the answer has been read, as a whole or not. Gives whether it had the same lines as the last whole one, in the
    /// same order, each leading to the same series.
    pub(super) fn finish(&mut self, is_whole: bool) -> bool {
        let Pass { before, lines, is_other, is_forgetful, .. } = self.pass;
        let is_as_before = is_whole && before == Some(lines) && !is_other && !is_forgetful;
        if is_as_before && self.was_all {
            // Whatever is marked as held by the scrape before is what this one held too.
            self.scrape = self.scrape.wrapping_sub(1);
            self.pass.held = self.len();
            self.settle();
        } else {
            self.mark();
            self.was_all = !self.has_idle();
        }
        let is_chain = !is_other || !self.pass.is_repeated;
        self.before = Some(lines).filter(|_| is_whole && is_chain && !is_forgetful);
        is_as_before
    }

    /// Gives back what only other lines need.
    fn settle(&mut self) {
        if !self.pass.is_looking && self.by_hash.take().is_some() {
            self.known.shrink_to_fit();
            self.slots.shrink_to_fit();
            self.values.shrink_to_fit();
        }
    }

    /// Reads line by line for as long as `text` goes on with the line that is expected, at most `lines_max`; gives what is left.
    pub(super) fn follow<'t>(
        &mut self,
        mut text: &'t [u8],
        at: &mut Position<'t>,
        lines_max: u64,
        samples: &mut Samples,
    ) -> &'t [u8] {
        let Self { known, slots, values, pass, secret, .. } = self;
        // Of one length, so that a place is checked once.
        let (Some(slots), Some(values)) = (slots.get(..known.len()), values.get_mut(..known.len())) else {
            return text;
        };
        let Pass { mut expected, last: mut before, .. } = *pass;
        let mut lines = 0;
        while lines < lines_max {
            let place = expected.0 as usize;
            let (Some(known), Some(slot), Some(last)) =
                (known.get_mut(place), slots.get(place), values.get_mut(place))
            else {
                break;
            };
            let next = known.next;
            if let Some((end, rest)) = known.same(last, text, at.family, secret) {
                let (timestamp, rest) = match end {
                    b'\n' => (NO_TIMESTAMP, rest),
                    end => {
                        let Some(found) = tail::timestamp(end, rest) else { break };
                        found
                    }
                };
                at.push(*slot, last.value(), timestamp, samples);
                text = rest;
            } else {
                let Some(rest) = known.other(last, *slot, text, at, samples, secret) else { break };
                text = rest;
            }
            lines += 1;
            (before, expected) = (expected, next);
        }
        at.lines += lines;
        pass.lines += lines;
        pass.run.1 += lines;
        (pass.expected, pass.last) = (expected, before);
        text
    }

    /// Says that the line at this place has been read.
    pub(super) fn held(&mut self, place: Place) {
        if place != self.pass.expected {
            self.lead_to(place);
        }
        self.pass.lines += 1;
        self.pass.run.1 += 1;
        self.pass.last = place;
        self.pass.expected = self.known.get(place.0 as usize).map_or(Place::NONE, |known| known.next);
    }

    /// From now on this line is expected where it stands now. A run of lines begins with it.
    fn lead_to(&mut self, place: Place) {
        self.mark();
        self.pass.is_other = true;
        self.pass.run = (place, 0);
        match self.known.get_mut(self.pass.last.0 as usize) {
            Some(last) => last.next = place,
            None => self.first = place,
        }
    }

    /// Marks the lines of the run as held.
    fn mark(&mut self) {
        let (mut place, lines) = self.pass.run;
        for _ in 0..lines {
            let Some(known) = self.known.get_mut(place.0 as usize) else { break };
            if known.scrape() == self.scrape {
                self.pass.is_repeated = true;
            } else {
                self.pass.held += 1;
                known.packed = (known.packed & BELOW_SCRAPE) | u32::from(self.scrape) << SCRAPE_SHIFT;
            }
            place = known.next;
        }
        self.pass.run = (place, 0);
    }

    /// The hash of a line's bytes up to the value.
    pub(super) fn hash(&self, line: &[u8], family: Family) -> u64 {
        self.secret.hash(line, family.0)
    }

    /// Looks a line up by its bytes up to the value, and their hash.
    pub(super) fn find(&mut self, line: &[u8], hash: u64) -> Option<(Place, Slot)> {
        let place = self.by_hash(hash, line.len(), false)?;
        Some((place, *self.slots.get(place.0 as usize)?))
    }

    /// Looks a `# TYPE` line up.
    pub(super) fn find_type(&mut self, line: &[u8]) -> Option<(Place, Family)> {
        let hash = self.secret.hash(line, 0);
        Some((self.by_hash(hash, line.len(), true)?, Family(hash)))
    }

    fn by_hash(&mut self, hash: u64, length: usize, is_type: bool) -> Option<Place> {
        self.pass.is_looking = true;
        let Self { known, by_hash, .. } = self;
        let by_hash = by_hash.get_or_insert_with(|| index(known));
        let same = |place: &Place| {
            let known = known.get(place.0 as usize);
            known.is_some_and(|known| {
                known.hash == hash && known.length() == length && known.is_type() == is_type
            })
        };
        by_hash.find(hash, same).copied()
    }

    /// Remembers a sample line that was not found, and says that it has been read.
    pub(super) fn insert(&mut self, line: &[u8], hash: u64, slot: Slot) {
        self.add(line, hash, 0, slot);
    }

    /// Remembers a `# TYPE` line that was not found, and says that it has been read.
    pub(super) fn insert_type(&mut self, line: &[u8]) -> Family {
        let hash = self.secret.hash(line, 0);
        self.add(line, hash, TYPE_BIT, Slot::DROPPED);
        Family(hash)
    }

    fn add(&mut self, line: &[u8], hash: u64, kind: u32, slot: Slot) {
        let length = u32::try_from(line.len()).ok().filter(|length| *length as usize <= LENGTH_MAX);
        let Some(length) = length.filter(|_| !self.all.is_full()) else {
            self.pass.is_forgetful = true;
            return;
        };
        // Not of this scrape yet: it is marked with the run that begins with it.
        let scrape = u32::from(self.scrape.wrapping_sub(1)) << SCRAPE_SHIFT;
        let known = Known { hash, packed: length | kind | scrape, next: self.pass.expected };
        let place = self.free.pop().unwrap_or_else(|| {
            self.known.push(known);
            self.slots.push(slot);
            self.values.push(Last::default());
            // Four billion lines of one target do not fit into its body.
            Place(u32::try_from(self.known.len() - 1).unwrap_or(u32::MAX))
        });
        if let (Some(to), Some(its)) =
            (self.known.get_mut(place.0 as usize), self.slots.get_mut(place.0 as usize))
        {
            (*to, *its) = (known, slot);
        }
        if let Some(last) = self.values.get_mut(place.0 as usize) {
            // What a forgotten line was last says nothing of this one.
            *last = Last::default();
        }
        self.all.changed(0, 1);
        let Self { known, by_hash, .. } = self;
        if let Some(by_hash) = by_hash {
            by_hash.insert_unique(hash, place, |place| hash_of(known, *place));
        }
        // A line that was expected may have been at this very place and be forgotten.
        self.pass.expected = Place::NONE;
        self.held(place);
    }

    /// Lines remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len() - self.free.len()
    }

    /// Whether no line is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there are lines that this scrape did not hold.
    #[must_use]
    pub fn has_idle(&self) -> bool {
        self.pass.held < self.len()
    }

    /// Forgets the lines that neither this scrape nor the one before it held.
    pub fn prune(&mut self) {
        let before = self.len();
        let Self { known, by_hash, free, scrape, .. } = self;
        for (place, line) in known.iter_mut().enumerate().filter(|(_, line)| line.packed != 0) {
            if scrape.wrapping_sub(line.scrape()) > 1 {
                // What still expects it finds nothing.
                line.packed = 0;
                free.push(Place(u32::try_from(place).unwrap_or(u32::MAX)));
            }
        }
        if let Some(by_hash) = by_hash {
            by_hash.retain(|place| known.get(place.0 as usize).is_some_and(|line| line.packed != 0));
        }
        self.all.changed(before, self.len());
        if self.free.len() > self.len() {
            // The rest is decoded once more, in half the room.
            self.clear();
        }
    }

    /// Forgets all lines, because the series they lead to are about to go.
    pub fn clear(&mut self) {
        let mut empty = Self::new(self.secret.clone(), Arc::clone(&self.all));
        empty.scrape = self.scrape;
        *self = empty;
    }
}

/// All lines by their hashes.
fn index(known: &[Known]) -> HashTable<Place> {
    let mut index = HashTable::new();
    for (place, line) in known.iter().enumerate().filter(|(_, line)| line.packed != 0) {
        let place = Place(u32::try_from(place).unwrap_or(u32::MAX));
        index.insert_unique(line.hash, place, |place| hash_of(known, *place));
    }
    index
}

fn hash_of(known: &[Known], place: Place) -> u64 {
    known.get(place.0 as usize).map_or(0, |line| line.hash)
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.all.changed(self.len(), 0);
    }
}
