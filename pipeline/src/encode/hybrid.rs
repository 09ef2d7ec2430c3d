//! The RLE / bit-packing hybrid in which Parquet writes dictionary keys and levels.
//!
//! Source: Apache Parquet, Encodings, "Run Length Encoding / Bit-Packing Hybrid (RLE = 3)": a run is a varint header,
//! `count << 1` and the value in whole bytes, or `groups << 1 | 1` and groups of eight values packed from the least
//! significant bit. Takes runs rather than values, because that is what sorted rows are.

/// Groups in one packed run at most, so that its header stays one byte and can be written afterwards.
const GROUPS_MAX: u8 = 63;

/// Writes one sequence of values of `width` bits.
#[derive(Debug)]
pub(super) struct Hybrid<'a> {
    out: &'a mut Vec<u8>,
    width: u32,
    /// Equal values not written yet.
    run: (u32, usize),
    /// Values of an incomplete group.
    group: [u32; 8],
    filled: usize,
    /// Where the header of the open packed run stands, and its groups so far.
    packed: Option<(usize, u8)>,
}

/// Bits that the largest value needs.
pub(super) fn width(largest: u32) -> u32 {
    u32::BITS - largest.leading_zeros()
}

impl<'a> Hybrid<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, width: u32) -> Self {
        Self { out, width, run: (0, 0), group: [0; 8], filled: 0, packed: None }
    }

    /// Adds `count` times `value`.
    #[inline]
    pub(super) fn push(&mut self, value: u32, count: usize) {
        if value == self.run.0 {
            self.run.1 += count;
        } else {
            self.write_run();
            self.run = (value, count);
        }
    }

    /// Writes what is left. The last group is filled up with zeros, which the page's number of values tells apart.
    pub(super) fn finish(mut self) {
        self.write_run();
        if self.filled > 0 {
            let rest = 8 - self.filled;
            self.literals(0, rest);
        }
    }

    fn write_run(&mut self) {
        let (value, mut count) = std::mem::take(&mut self.run);
        if self.filled > 0 {
            let taken = count.min(8 - self.filled);
            self.literals(value, taken);
            count -= taken;
        }
        if count >= 8 {
            self.packed = None;
            self.varint((count as u64) << 1);
            let bytes = value.to_le_bytes();
            self.out.extend_from_slice(bytes.get(..self.width.div_ceil(8) as usize).unwrap_or(&bytes));
        } else {
            self.literals(value, count);
        }
    }

    /// Adds values to the open group; never more than fit.
    fn literals(&mut self, value: u32, count: usize) {
        let end = self.filled + count;
        self.group.iter_mut().take(end).skip(self.filled).for_each(|place| *place = value);
        self.filled = end;
        if self.filled == 8 {
            self.filled = 0;
            self.pack();
        }
    }

    fn pack(&mut self) {
        match &mut self.packed {
            Some((_, groups)) if *groups < GROUPS_MAX => *groups += 1,
            packed => {
                *packed = Some((self.out.len(), 1));
                self.out.push(0);
            }
        }
        if let Some((header, groups)) = self.packed
            && let Some(byte) = self.out.get_mut(header)
        {
            *byte = groups << 1 | 1;
        }
        let (mut bits, mut held) = (0_u64, 0);
        for value in self.group {
            bits |= u64::from(value) << held;
            held += self.width;
            while held >= 8 {
                self.out.push(bits.to_le_bytes()[0]);
                bits >>= 8;
                held -= 8;
            }
        }
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.out.push(number.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(runs: &[(u32, usize)], width: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut hybrid = Hybrid::new(&mut out, width);
        runs.iter().for_each(|(value, count)| hybrid.push(*value, *count));
        hybrid.finish();
        out
    }

    /// A decoder after the specification.
    fn decode(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut out = Vec::new();
        while out.len() < count {
            let (mut header, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            if header & 1 == 0 {
                let (value, rest) = bytes.split_at(width.div_ceil(8) as usize);
                let mut whole = [0; 4];
                whole[..value.len()].copy_from_slice(value);
                out.extend(std::iter::repeat_n(u32::from_le_bytes(whole), (header >> 1) as usize));
                bytes = rest;
            } else {
                let (packed, rest) = bytes.split_at((header >> 1) as usize * width as usize);
                let bit = |i: usize| u32::from(packed[i / 8] >> (i % 8) & 1);
                for value in 0..(header >> 1) as usize * 8 {
                    out.push((0..width as usize).map(|b| bit(value * width as usize + b) << b).sum());
                }
                bytes = rest;
            }
        }
        out.truncate(count);
        out
    }

    #[test]
    fn the_examples_of_the_specification() {
        // "the numbers 1 through 7 using bit width 3", with 0 in front.
        let numbers: Vec<_> = (0..8).map(|n| (n, 1)).collect();
        assert_eq!(encode(&numbers, 3), [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        assert_eq!(encode(&[(4, 100)], 3), [200, 1, 4]);
        assert_eq!(encode(&[(1, 3)], 1), [0b11, 0b111]);
        assert_eq!(encode(&[], 1), [0_u8; 0]);
        assert_eq!([0, 1, 2, 255, 256].map(width), [0, 1, 2, 8, 9]);
    }

    proptest! {
        #[test]
        fn any_runs_come_back(
            width in 1_u32..=20,
            runs in prop::collection::vec((any::<u32>(), 1_usize..20), 0..200),
        ) {
            let runs: Vec<_> = runs.into_iter().map(|(v, c)| (v & ((1 << width) - 1), c)).collect();
            let values: Vec<_> = runs.iter().flat_map(|(v, c)| std::iter::repeat_n(*v, *c)).collect();
            prop_assert_eq!(decode(&encode(&runs, width), width, values.len()), values);
        }
    }
}
