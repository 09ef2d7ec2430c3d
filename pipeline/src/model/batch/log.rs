//! Lists of numbers behind each other in few pieces of memory: whichever target brings something, it goes to the end, and a batch
//! of many small targets allocates nothing for each of them.
//!
//! Takes lists, gives places; what lies at a place is not moved when more comes, and goes with all the rest.

/// Numbers for which the first piece has room: 8 KiB. Each has as much as all before it, up to [`PIECE`].
const FIRST: usize = 1 << 10;
/// Numbers for which most have room: 128 KiB. Of one size, so that those of one batch serve the next.
const PIECE: usize = 16 << 10;
/// Lists for which a piece has room at least, so that little is left at its end.
const LISTS: usize = 4;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Log<T> {
    pieces: Vec<Vec<T>>,
    /// The one that lists are added to.
    open: usize,
    /// Numbers in all of them.
    len: usize,
}

/// Where a list begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    piece: u32,
    from: u32,
}

impl Place {
    fn new(piece: usize, from: usize) -> Self {
        // A batch is far too small for either to be too large.
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self { piece: number(piece), from: number(from) }
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), open: 0, len: 0 }
    }
}

impl<T: Copy> Log<T> {
    /// Adds a list that others like it will follow.
    pub(super) fn push(&mut self, list: &[T]) -> Place {
        let has_room = |piece: &Vec<T>| piece.capacity() - piece.len() >= list.len();
        if !self.pieces.get(self.open).is_some_and(has_room) {
            let room = self.len.clamp(FIRST, PIECE).max(list.len() * LISTS);
            self.open = self.pieces.len();
            self.pieces.push(Vec::with_capacity(room));
        }
        self.len += list.len();
        let from = self.pieces.get_mut(self.open).map_or(0, |piece| {
            piece.extend_from_slice(list);
            piece.len() - list.len()
        });
        Place::new(self.open, from)
    }

    /// Adds a list that may be the only one of its length: a long one gets a piece of its own.
    pub(super) fn push_one(&mut self, list: &[T]) -> Place {
        if list.len() < FIRST {
            return self.push(list);
        }
        self.len += list.len();
        // Where it is the first, it is the open one, and full.
        self.pieces.push(list.to_vec());
        Place::new(self.pieces.len() - 1, 0)
    }

    /// The list at a place, and whatever was written behind it.
    pub(super) fn at(&self, place: Place) -> &[T] {
        let piece = self.pieces.get(place.piece as usize);
        piece.and_then(|piece| piece.get(place.from as usize..)).unwrap_or_default()
    }

    /// The same, free to change.
    pub(super) fn at_mut(&mut self, place: Place) -> &mut [T] {
        let piece = self.pieces.get_mut(place.piece as usize);
        piece.and_then(|piece| piece.get_mut(place.from as usize..)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stay_where_they_were_put() {
        let numbers: Vec<usize> = (0..2 * PIECE).collect();
        let list = |n: usize| &numbers[n..n + [0, 1, n, FIRST - 1, FIRST, PIECE - 1, PIECE][n % 7]];
        let mut log = Log::default();
        let push = |n| if n % 3 == 0 { log.push_one(list(n)) } else { log.push(list(n)) };
        let places: Vec<_> = (0..1_000).map(push).collect();
        for (n, place) in places.into_iter().enumerate() {
            assert_eq!(&log.at(place)[..list(n).len()], list(n));
            assert_eq!(&log.at_mut(place)[..list(n).len()], list(n));
        }
    }

    #[test]
    fn pieces_are_few_and_nearly_full() {
        for length in [1, 100, FIRST - 1, PIECE / 2 + 1, 10 * PIECE] {
            let (mut log, list) = (Log::default(), vec![7_u64; length]);
            while log.len < 200 * PIECE {
                log.push(&list);
                let room: usize = log.pieces.iter().map(Vec::capacity).sum();
                let ahead = log.len.clamp(FIRST, PIECE) + LISTS * length;
                assert!(room <= log.len * 5 / 4 + ahead, "{room} for {} of {length}", log.len);
            }
            assert!(log.pieces.len() <= 210, "{} pieces for {length}", log.pieces.len());
        }
        let (mut log, list) = (Log::default(), vec![7_u64; FIRST]);
        for _ in 0..10 {
            log.push_one(&list);
        }
        assert_eq!(log.pieces.iter().map(Vec::capacity).sum::<usize>(), 10 * FIRST);
    }
}
