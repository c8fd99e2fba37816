//! The arithmetic coder: decisions and their probabilities become bytes, and back.
//!
//! One trait, two directions. The models ask a [`Coin`] to toss a bit of known probability: the
//! encoder is told how the coin falls, the decoder tells. So every model is written once, and the
//! two sides cannot drift apart.
//!
//! The interval is 64 bits wide and kept without carries: its leading bytes leave as soon as both
//! ends agree on them. With so wide an interval a flag at one chance in 65,536 costs what it
//! should, about 2e-5 bits; 32 bits would round that up twenty times. A segment ends with the
//! fewest bytes that still name a number inside the interval; zeros are implied after them.

use super::logistic::PROBABILITY_BITS;

/// How the next decision falls, given its probability.
pub(super) trait Coin {
    /// Whether this coin is told the truth, rather than telling it.
    const KNOWS: bool;

    /// Codes one decision that is true with `probability` / 65,536, which must be neither 0 nor 1.
    fn toss(&mut self, probability: u32, truth: bool) -> bool;

    /// Codes a byte about which nothing is known, in exactly eight bits.
    fn byte(&mut self, truth: u8) -> u8;

    /// Whether more was asked for than the payload holds.
    fn is_spent(&self) -> bool;
}

/// The bytes between the ends of the interval that a decoder reads ahead.
const LOOKAHEAD: usize = 8;

/// Writes decisions to `out`.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    low: u64,
    high: u64,
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            low: 0,
            high: u64::MAX,
            out,
        }
    }

    #[inline]
    fn settle(&mut self) {
        while (self.low ^ self.high) >> 56 == 0 {
            self.out.push((self.high >> 56) as u8);
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
    }

    /// Ends the segment.
    pub(super) fn finish(self) {
        // The shortest number inside the interval: round up to ever finer steps until one fits.
        for bytes in 0..=LOOKAHEAD as u32 {
            let step = 64 - 8 * bytes;
            let number = match step {
                64 => (self.low == 0).then_some(0),
                0 => Some(self.low),
                _ => self.low.checked_next_multiple_of(1 << step),
            };
            if let Some(number) = number.filter(|&number| number <= self.high) {
                self.out
                    .extend_from_slice(&number.to_be_bytes()[..bytes as usize]);
                break;
            }
        }
    }
}

impl Coin for Writer<'_> {
    const KNOWS: bool = true;

    #[inline]
    fn toss(&mut self, probability: u32, truth: bool) -> bool {
        let split = split(self.low, self.high, probability);
        if truth {
            self.high = split;
        } else {
            self.low = split + 1;
        }
        self.settle();
        truth
    }

    #[inline]
    fn byte(&mut self, truth: u8) -> u8 {
        for bit in (0..8).rev() {
            self.toss(1 << (PROBABILITY_BITS - 1), truth >> bit & 1 == 1);
        }
        truth
    }

    fn is_spent(&self) -> bool {
        false
    }
}

/// Reads decisions from a payload.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    low: u64,
    high: u64,
    number: u64,
    payload: &'a [u8],
    /// Bytes taken so far, including the zeros implied after the end.
    taken: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        let mut reader = Self {
            low: 0,
            high: u64::MAX,
            number: 0,
            payload,
            taken: 0,
        };
        for _ in 0..LOOKAHEAD {
            reader.take();
        }
        reader
    }

    #[inline]
    fn take(&mut self) {
        let byte = self.payload.get(self.taken).copied().unwrap_or(0);
        self.number = self.number << 8 | u64::from(byte);
        self.taken += 1;
    }

    /// Whether bytes of the payload were never looked at.
    pub(super) fn has_rest(&self) -> bool {
        self.taken < self.payload.len()
    }
}

impl Coin for Reader<'_> {
    const KNOWS: bool = false;

    #[inline]
    fn toss(&mut self, probability: u32, _truth: bool) -> bool {
        let split = split(self.low, self.high, probability);
        let truth = self.number <= split;
        if truth {
            self.high = split;
        } else {
            self.low = split + 1;
        }
        while (self.low ^ self.high) >> 56 == 0 {
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
            self.take();
        }
        truth
    }

    #[inline]
    fn byte(&mut self, _truth: u8) -> u8 {
        (0..8).fold(0, |byte, _| {
            byte << 1 | u8::from(self.toss(1 << (PROBABILITY_BITS - 1), false))
        })
    }

    fn is_spent(&self) -> bool {
        self.taken > self.payload.len() + LOOKAHEAD
    }
}

/// Cuts `low..=high` in proportion to the probability; both parts hold at least one number.
#[inline]
fn split(low: u64, high: u64, probability: u32) -> u64 {
    let width = high - low;
    let part = (u128::from(width) * u128::from(probability)) >> PROBABILITY_BITS;
    low + part as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decisions_come_back(tosses in prop::collection::vec((1u32..65_536, any::<bool>()), 0..2000)) {
            let mut out = vec![7];
            let mut writer = Writer::new(&mut out);
            for &(p, truth) in &tosses {
                writer.toss(p, truth);
            }
            writer.finish();
            let mut reader = Reader::new(&out[1..]);
            for &(p, truth) in &tosses {
                prop_assert_eq!(reader.toss(p, false), truth);
            }
            prop_assert!(!reader.has_rest());
            prop_assert!(!reader.is_spent());
        }
    }

    #[test]
    fn near_certain_flags_are_nearly_free() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for _ in 0..1_000_000 {
            writer.toss(65_535, true);
        }
        writer.toss(1, true);
        writer.finish();
        // A million times 2.2e-5 bits, and one surprise of 16 bits.
        assert!(out.len() <= 5, "{}", out.len());
    }
}
