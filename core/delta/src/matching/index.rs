//! Where in the base a window of bytes occurs.
//!
//! A flat table of the latest occurrence of each hash, and, where more than one candidate is
//! wanted, a chain from each occurrence to the one before it. A suffix array answers better
//! questions, but costs twenty times as much to build, and the mismatch-tolerant extension that
//! follows makes up for most of what a hash of a few bytes misses.

use super::compare::word;
use std::ops::Range;

/// How a base is indexed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Grain {
    /// Bytes in a window; at least 4.
    pub(super) window: usize,
    /// One window is entered for every so many base bytes.
    pub(super) stride: usize,
    /// How many candidates a look-up may look at.
    pub(super) depth: usize,
}

/// An index of a range of the base. Its tables are kept from one range to the next.
///
/// An entry holds the number of a window, plus 1, in its low bits, and a tag in the rest: bits of
/// the hash that the table's address has not used. Most look-ups are in vain, and the tag spares
/// them a visit to the base, which does not fit in any cache.
#[derive(Debug, Default)]
pub(super) struct Index {
    grain: Grain,
    range: Range<usize>,
    table_bits: u32,
    number_bits: u32,
    /// By hash: the entry made last; 0 is none.
    heads: Vec<u32>,
    /// By window: the entry made before it with the same hash.
    chain: Vec<u32>,
}

impl Index {
    /// Forgets what it holds and enters `range` of `base`.
    pub(super) fn fill(&mut self, base: &[u8], range: Range<usize>, grain: Grain) {
        debug_assert!(grain.window >= 4 && grain.stride >= 1);
        let positions = (range.len() + 1).saturating_sub(grain.window.max(8));
        let count = positions.div_ceil(grain.stride);
        self.table_bits = bits(count).max(8);
        self.number_bits = bits(count + 1);
        self.heads.clear();
        self.heads.resize(1 << self.table_bits, 0);
        self.chain.clear();
        if grain.depth > 1 {
            self.chain.resize(count, 0);
        }
        let bytes = &base[range.clone()];
        for number in 0..count {
            let hash = hash(bytes, number * grain.stride, grain.window);
            let entry = self.tag(hash) | (number as u32 + 1);
            let head = &mut self.heads[(hash >> (64 - self.table_bits)) as usize];
            if grain.depth > 1 {
                self.chain[number] = *head;
            }
            *head = entry;
        }
        self.range = range;
        self.grain = grain;
    }

    /// Calls `visit` with base positions whose window is likely the one at `at` of `new`, latest
    /// first.
    #[inline]
    pub(super) fn candidates(&self, new: &[u8], at: usize, mut visit: impl FnMut(usize)) {
        let grain = self.grain;
        if at + grain.window.max(8) > new.len() {
            return;
        }
        let hash = hash(new, at, grain.window);
        let tag = self.tag(hash);
        let number_mask = (1 << self.number_bits) - 1;
        let mut entry = self.heads[(hash >> (64 - self.table_bits)) as usize];
        for _ in 0..grain.depth {
            if entry == 0 {
                return;
            }
            let number = ((entry & number_mask) - 1) as usize;
            if entry & !number_mask == tag {
                visit(self.range.start + number * grain.stride);
            }
            if grain.depth == 1 {
                return;
            }
            entry = self.chain[number];
        }
    }

    #[inline]
    fn tag(&self, hash: u64) -> u32 {
        (hash as u32) >> self.number_bits << self.number_bits
    }
}

/// How many bits numbers below `count` have.
fn bits(count: usize) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

/// Of a long window only the first and last eight bytes are hashed: whether the middle agrees is
/// found by comparing, and seldom needed.
#[inline]
fn hash(bytes: &[u8], at: usize, window: usize) -> u64 {
    const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
    const LAST: u64 = 0xd6e8_feb8_6659_fd93;
    let first = word(bytes, at);
    let mixed = if window <= 8 {
        (first << (8 * (8 - window))).wrapping_mul(FIRST)
    } else {
        let last = word(bytes, at + window - 8);
        first.wrapping_mul(FIRST) ^ last.wrapping_mul(LAST).rotate_left(29)
    };
    // The low bits become tags, so they too must depend on every byte.
    (mixed ^ (mixed >> 32)).wrapping_mul(LAST) ^ (mixed >> 29)
}
