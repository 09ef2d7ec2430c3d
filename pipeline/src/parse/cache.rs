//! Which line of an exposition is which series, and which line follows which.
//!
//! An exporter mostly answers with the lines of its last answer, in the same order, with other values. So each known line
//! holds a hash of its bytes up to the value, how many bytes those are, and which line followed it: at the place where that one
//! is expected, one hash of so many bytes tells whether it is there. Where it is not, the line is looked up by its hash, and
//! the chain is mended at that place only; lines that come, go or change places cost themselves.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use crate::model::sample::Slot;

/// Drawn once per process, so that nobody outside can make two lines collide on purpose.
#[derive(Clone, Debug)]
pub struct Secret(Arc<RapidSecrets>);

impl Secret {
    /// Draws one.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::new(RapidSecrets::seed(RandomState::new().hash_one(0))))
    }
}

/// How many lines all caches together hold, and may hold. Lines beyond are decoded each time, so that whoever spells one
/// series in a million ways, or exposes what metric relabelling drops, takes time of its own and no memory.
#[derive(Debug)]
pub struct Lines {
    held: AtomicU64,
    max: u64,
}

impl Lines {
    /// Room for two lines of each series.
    #[must_use]
    pub fn new(series_max: u64) -> Arc<Self> {
        Arc::new(Self { held: AtomicU64::new(0), max: series_max.saturating_mul(2) })
    }

    fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.max
    }

    /// One cache went from so many lines to so many.
    fn changed(&self, from: usize, to: usize) {
        if to > from {
            self.held.fetch_add((to - from) as u64, Ordering::Relaxed);
        } else {
            self.held.fetch_sub((from - to) as u64, Ordering::Relaxed);
        }
    }
}

/// The known lines of one target.
///
/// Two different lines of one target that hash alike would be taken for one series. The hash has 64 bits and a secret
/// seed: with a million lines the odds are 1 in 37 million, once and not per scrape.
#[derive(Debug)]
pub struct Cache {
    known: Vec<Known>,
    /// Beside `known`: the series that a sample line leads to.
    slots: Vec<Slot>,
    by_hash: HashTable<Place>,
    free: Vec<Place>,
    /// The line that is expected next.
    expected: Place,
    /// The line before it, whose successor is corrected where the expectation fails.
    last: Place,
    first: Place,
    /// Of the lines known, how many this scrape has held.
    held: usize,
    /// The scrape, modulo 256.
    scrape: u8,
    secret: Secret,
    all: Arc<Lines>,
}

/// A known line: 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Known {
    hash: u64,
    /// From the low end: bytes of the line up to its value, whether it is a `# TYPE` line, the scrape that last held it.
    packed: u32,
    next: Place,
}

/// Where a line stands among the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// No line.
    const NONE: Self = Self(u32::MAX);
}

/// What a known line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A sample of this series.
    Sample(Slot),
    /// `# TYPE`: what the lines behind it mean depends on it, and on nothing else of the exposition. By its hash it is part of
    /// theirs.
    Type(Family),
}

/// Stands for the `# TYPE` line that lines are read under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Family(u64);

/// Bits of [`Known::packed`].
const LENGTH_BITS: u32 = 22;
const TYPE_BIT: u32 = 1 << LENGTH_BITS;
const SCRAPE_SHIFT: u32 = 24;
const BELOW_SCRAPE: u32 = (1 << SCRAPE_SHIFT) - 1;
/// Bytes of a line up to its value beyond which it is decoded every time.
const LENGTH_MAX: usize = (1 << LENGTH_BITS) - 1;

impl Known {
    fn length(self) -> usize {
        (self.packed & (TYPE_BIT - 1)) as usize
    }

    fn is_type(self) -> bool {
        self.packed & TYPE_BIT != 0
    }

    fn scrape(self) -> u8 {
        self.packed.to_le_bytes()[3]
    }
}

impl Cache {
    /// An empty one.
    #[must_use]
    pub fn new(secret: Secret, all: Arc<Lines>) -> Self {
        Self {
            known: Vec::new(),
            slots: Vec::new(),
            by_hash: HashTable::new(),
            free: Vec::new(),
            expected: Place::NONE,
            last: Place::NONE,
            first: Place::NONE,
            held: 0,
            scrape: 0,
            secret,
            all,
        }
    }

    /// Begins to read an answer.
    pub(super) fn begin(&mut self) {
        self.scrape = self.scrape.wrapping_add(1);
        self.held = 0;
        self.last = Place::NONE;
        self.expected = self.first;
    }

    /// The line that is expected, if `text` begins with it: how many bytes it takes and what it is. Says nothing about what
    /// follows it.
    #[inline]
    pub(super) fn expected(&self, text: &[u8], family: Family) -> Option<(Place, usize, Meaning)> {
        let known = self.known.get(self.expected.0 as usize)?;
        let line = text.get(..known.length())?;
        // A place that is free has no length, and a line has one.
        let first = line.first()?;
        if known.is_type() {
            let found = *first == b'#' && self.hash(line) == known.hash;
            return found.then_some((self.expected, line.len(), Meaning::Type(Family(known.hash))));
        }
        if *first == b'#' || self.hash(line) ^ family.0 != known.hash {
            return None;
        }
        let slot = self.slots.get(self.expected.0 as usize)?;
        Some((self.expected, line.len(), Meaning::Sample(*slot)))
    }

    /// Says that the line at this place has been read.
    #[inline]
    pub(super) fn held(&mut self, place: Place) {
        let Some(known) = self.known.get_mut(place.0 as usize) else { return };
        if known.scrape() != self.scrape {
            self.held += 1;
            known.packed = (known.packed & BELOW_SCRAPE) | u32::from(self.scrape) << SCRAPE_SHIFT;
        }
        let next = known.next;
        if place != self.expected {
            match self.known.get_mut(self.last.0 as usize) {
                Some(last) => last.next = place,
                None => self.first = place,
            }
        }
        self.last = place;
        self.expected = next;
    }

    /// Looks a line up by its bytes up to the value.
    pub(super) fn find(&self, line: &[u8], family: Family) -> Option<(Place, Slot)> {
        let place = self.by_hash(self.hash(line) ^ family.0, false)?;
        Some((place, *self.slots.get(place.0 as usize)?))
    }

    /// Looks a `# TYPE` line up.
    pub(super) fn find_type(&self, line: &[u8]) -> Option<(Place, Family)> {
        let hash = self.hash(line);
        Some((self.by_hash(hash, true)?, Family(hash)))
    }

    fn by_hash(&self, hash: u64, is_type: bool) -> Option<Place> {
        let same = |place: &Place| {
            let known = self.known.get(place.0 as usize);
            known.is_some_and(|known| known.hash == hash && known.is_type() == is_type)
        };
        self.by_hash.find(hash, same).copied()
    }

    /// Remembers a sample line that was not found, and says that it has been read.
    pub(super) fn insert(&mut self, line: &[u8], family: Family, slot: Slot) {
        self.add(line, self.hash(line) ^ family.0, 0, slot);
    }

    /// Remembers a `# TYPE` line that was not found, and says that it has been read.
    pub(super) fn insert_type(&mut self, line: &[u8]) -> Family {
        let hash = self.hash(line);
        self.add(line, hash, TYPE_BIT, Slot::DROPPED);
        Family(hash)
    }

    fn add(&mut self, line: &[u8], hash: u64, kind: u32, slot: Slot) {
        let Some(length) = u32::try_from(line.len()).ok().filter(|length| *length as usize <= LENGTH_MAX)
        else {
            return;
        };
        if self.all.is_full() {
            return;
        }
        // Not of this scrape yet: `held` will say so.
        let scrape = u32::from(self.scrape.wrapping_sub(1)) << SCRAPE_SHIFT;
        let known = Known { hash, packed: length | kind | scrape, next: self.expected };
        let place = self.free.pop().unwrap_or_else(|| {
            self.known.push(known);
            self.slots.push(slot);
            // Four billion lines of one target do not fit into its body.
            Place(u32::try_from(self.known.len() - 1).unwrap_or(u32::MAX))
        });
        if let (Some(to), Some(its)) =
            (self.known.get_mut(place.0 as usize), self.slots.get_mut(place.0 as usize))
        {
            (*to, *its) = (known, slot);
        }
        self.all.changed(0, 1);
        let lines = &self.known;
        self.by_hash
            .insert_unique(hash, place, |place| lines.get(place.0 as usize).map_or(0, |line| line.hash));
        self.held(place);
    }

    /// Lines remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether no line is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there are lines that this scrape did not hold.
    #[must_use]
    pub fn has_idle(&self) -> bool {
        self.held < self.len()
    }

    /// Forgets the lines that neither this scrape nor the one before it held.
    pub fn prune(&mut self) {
        let before = self.len();
        let Self { known, by_hash, free, scrape, .. } = self;
        by_hash.retain(|place| {
            let Some(line) = known.get_mut(place.0 as usize) else { return false };
            let keep = scrape.wrapping_sub(line.scrape()) <= 1;
            if !keep {
                // What still expects it finds nothing.
                line.packed = 0;
                free.push(*place);
            }
            keep
        });
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

    #[inline]
    fn hash(&self, text: &[u8]) -> u64 {
        rapidhash_v3_seeded(text, &self.secret.0)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.all.changed(self.len(), 0);
    }
}
