//! The RLE / bit-packing hybrid in which Parquet writes dictionary keys and levels.
//!
//! Source: Apache Parquet, Encodings, "Run Length Encoding / Bit-Packing Hybrid (RLE = 3)": a run is a varint header,
//! `count << 1` and the value in whole bytes, or `groups << 1 | 1` and groups of eight values packed from the least
//! significant bit. Takes runs rather than values, because that is what sorted rows are.

/// Values in one packed run at most: 63 groups, so that its header stays one byte and can be written afterwards.
const PACKED_MAX: usize = 63 * 8;

/// Writes one sequence of values of `width` bits.
#[derive(Debug)]
pub(super) struct Hybrid<'a> {
    out: &'a mut Vec<u8>,
    width: u32,
    /// Equal values not written yet.
    run: (u32, usize),
    /// Where the header of the open packed run stands, and how many values it holds so far.
    packed: Option<(usize, usize)>,
    /// Bits of the packed run that are not written yet, and how many they are.
    bits: (u64, u32),
}

/// Bits that the largest value needs.
pub(super) fn width(largest: u32) -> u32 {
    u32::BITS - largest.leading_zeros()
}

impl<'a> Hybrid<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, width: u32) -> Self {
        Self { out, width, run: (0, 0), packed: None, bits: (0, 0) }
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

    /// Adds `count` times a sequence of values.
    pub(super) fn repeat(&mut self, values: &[u32], count: usize) {
        if let [value] = values {
            return self.push(*value, count);
        }
        let (width, length) = (self.width, values.len());
        let all_bits = u32::try_from(length).map_or(u32::MAX, |length| length.saturating_mul(width));
        if all_bits > u64::BITS || length > PACKED_MAX {
            (0..count).flat_map(|_| values).for_each(|value| self.push(*value, 1));
            return;
        }
        self.write_run();
        let pattern = values.iter().rev().fold(0, |bits, value| bits << width | u64::from(*value));
        for _ in 0..count {
            match &mut self.packed {
                Some((_, held)) if *held + length <= PACKED_MAX => {
                    *held += length;
                    self.write_bits(pattern, all_bits);
                }
                _ => values.iter().for_each(|value| self.literal(*value)),
            }
        }
    }

    /// Writes what is left. The last group is filled up with zeros, which the page's number of values tells apart.
    pub(super) fn finish(mut self) {
        self.write_run();
        while self.in_group() > 0 {
            self.literal(0);
        }
        self.end_packed();
    }

    /// Values in the last group of the packed run, if it is not full.
    fn in_group(&self) -> usize {
        self.packed.map_or(0, |(_, held)| held % 8)
    }

    fn write_run(&mut self) {
        let (value, mut count) = std::mem::take(&mut self.run);
        while count > 0 && (count < 8 || self.in_group() > 0) {
            self.literal(value);
            count -= 1;
        }
        if count > 0 {
            self.end_packed();
            self.varint((count as u64) << 1);
            let bytes = value.to_le_bytes();
            self.out.extend_from_slice(bytes.get(..self.width.div_ceil(8) as usize).unwrap_or(&bytes));
        }
    }

    /// Adds one value to the packed run.
    fn literal(&mut self, value: u32) {
        if self.packed.is_none_or(|(_, held)| held == PACKED_MAX) {
            self.end_packed();
            self.packed = Some((self.out.len(), 0));
            self.out.push(0);
        }
        if let Some((_, held)) = &mut self.packed {
            *held += 1;
        }
        self.write_bits(u64::from(value), self.width);
    }

    /// Adds up to 64 bits.
    #[inline]
    fn write_bits(&mut self, more: u64, count: u32) {
        let (bits, held) = self.bits;
        let (bits, all) = (bits | more << held, held + count);
        self.bits = (bits, all);
        if all >= u64::BITS {
            self.out.extend_from_slice(&bits.to_le_bytes());
            self.bits = (more.checked_shr(u64::BITS - held).unwrap_or_default(), all - u64::BITS);
        }
    }

    /// Ends the packed run. Its groups are full, and so its bits are whole bytes.
    fn end_packed(&mut self) {
        let Some((header, held)) = self.packed.take() else { return };
        let (bits, left) = std::mem::take(&mut self.bits);
        self.out.extend_from_slice(bits.to_le_bytes().get(..left.div_ceil(8) as usize).unwrap_or_default());
        if let Some(byte) = self.out.get_mut(header) {
            *byte = u8::try_from(held.div_ceil(8) << 1 | 1).unwrap_or(u8::MAX);
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
        fn repeated_sequences_come_back(
            width in 0_u32..=20,
            sequences in prop::collection::vec((prop::collection::vec(any::<u32>(), 0..9), 1_usize..300), 0..20),
        ) {
            let (mut out, mut values) = (Vec::new(), Vec::new());
            let mut hybrid = Hybrid::new(&mut out, width);
            for (sequence, count) in sequences {
                let sequence: Vec<_> = sequence.into_iter().map(|v| v & ((1 << width) - 1)).collect();
                hybrid.repeat(&sequence, count);
                values.extend(sequence.repeat(count));
            }
            hybrid.finish();
            prop_assert_eq!(decode(&out, width, values.len()), values);
        }

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
