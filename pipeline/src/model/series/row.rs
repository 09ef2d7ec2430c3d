//! Series that are put together from texts which are held already.
//!
//! A series that says mostly what another one does needs no label set: its row is a copy of that one with other values here and
//! there.

use std::hash::{Hash, Hasher};

use super::{Row, SeriesId, SeriesTable, Text, grow};

/// The values of a series and the number of their shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowRef<'a> {
    pub(crate) shape: u32,
    pub(crate) values: &'a [Text],
}

impl Hash for RowRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Four numbers at a time.
        let (fours, rest) = self.values.as_chunks();
        for [a, b, c, d] in fours {
            state.write_u128([a, b, c, d].into_iter().fold(0, |sum, text| sum << 32 | text.number() as u128));
        }
        for text in rest {
            state.write_u32(text.id());
        }
        state.write_u32(self.shape);
    }
}

impl SeriesTable {
    /// Changes whenever texts may be gone that were held before. What is known of texts and shapes is known until then.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Holds a text that stands where `before` stood in the series before; `None` if it is no text.
    pub(crate) fn hold_after(&mut self, before: Text, text: &[u8]) -> Option<Text> {
        self.texts.hold_after(before, text)
    }

    /// One more user of a text that has one.
    pub(crate) fn hold_again(&mut self, text: Text) -> Text {
        self.texts.hold_again(text)
    }

    /// One user less.
    pub(crate) fn release(&mut self, text: Text) {
        self.texts.release(text);
    }

    /// Whether this series has just these values.
    pub(crate) fn is_row(&self, id: SeriesId, row: RowRef<'_>) -> bool {
        let Some(place) = self.rows.get(id.0 as usize).filter(|place| place.shape == row.shape) else {
            return false;
        };
        self.shapes.get(place.shape as usize).is_some_and(|shape| shape.values(place.at) == row.values)
    }

    /// Gives a series an id whose texts the caller has held for it; as [`SeriesTable::insert`].
    pub(crate) fn insert_row(&mut self, row: RowRef<'_>) -> SeriesId {
        let Self { shapes, bytes, .. } = self;
        let at = shapes.get_mut(row.shape as usize).map_or(0, |shape| {
            let at = shape.take_row();
            let start = at as usize * shape.names.len();
            if let Some(places) = shape.values.get_mut(start..start + row.values.len()) {
                places.copy_from_slice(row.values);
            }
            shape.last = at;
            *bytes += row.values.len() as u64 * super::NUMBER_BYTES;
            at
        });
        self.take_id(Row { shape: row.shape, at })
    }

    /// An id for this row.
    pub(super) fn take_id(&mut self, row: Row) -> SeriesId {
        let Self { rows, free, .. } = self;
        if let Some(id) = free.pop()
            && let Some(place) = rows.get_mut(id.0 as usize)
        {
            *place = row;
            return id;
        }
        // 2^32 series would need terabytes; the limits on series refuse long before.
        let id = SeriesId(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        grow(rows, 1);
        rows.push(row);
        id
    }
}
