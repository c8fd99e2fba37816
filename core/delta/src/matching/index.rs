//! Where in the base a window of bytes occurs.
//!
//! A flat table of the latest occurrence of each hash, and, where more than one candidate is
//! wanted, a chain from each occurrence to the one before it. A suffix array answers better
//! questions, but costs twenty times as much to build, and the mismatch-tolerant extension that
//! follows makes up for most of what a hash of a few bytes misses.

use super::compare::word;
use std::ops::Range;

/// How a base is indexed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grain {
    /// Bytes in a window; at least 4.
    pub(super) window: usize,
    /// One window is entered for every so many base bytes.
    pub(super) stride: usize,
    /// How many candidates a look-up may look at.
    pub(super) depth: usize,
}

/// An index of a range of the base. Its tables are kept from one range to the next.
#[derive(Debug, Default)]
pub(super) struct Index {
    grain: Option<Grain>,
    range: Range<usize>,
    bits: u32,
    /// By hash: 1 + the number of the window entered last; 0 is none.
    heads: Vec<u32>,
    /// By window: the window entered before with the same hash.
    chain: Vec<u32>,
}

impl Index {
    /// Forgets what it holds and enters `range` of `base`.
    pub(super) fn fill(&mut self, base: &[u8], range: Range<usize>, grain: Grain) {
        debug_assert!(grain.window >= 4 && grain.stride >= 1);
        let positions = (range.len() + 1).saturating_sub(grain.window.max(8));
        let count = positions.div_ceil(grain.stride);
        self.bits = (count * 2).next_power_of_two().trailing_zeros().max(8);
        self.heads.clear();
        self.heads.resize(1 << self.bits, 0);
        self.chain.clear();
        if grain.depth > 1 {
            self.chain.resize(count, 0);
        }
        let bytes = &base[range.clone()];
        for number in 0..count {
            let hash = hash(bytes, number * grain.stride, grain.window, self.bits);
            let head = &mut self.heads[hash];
            if grain.depth > 1 {
                self.chain[number] = *head;
            }
            *head = number as u32 + 1;
        }
        self.range = range;
        self.grain = Some(grain);
    }

    /// Calls `visit` with base positions whose window is likely the one at `at` of `new`, latest
    /// first.
    #[inline]
    pub(super) fn candidates(&self, new: &[u8], at: usize, mut visit: impl FnMut(usize)) {
        let Some(grain) = self.grain else { return };
        if at + grain.window.max(8) > new.len() {
            return;
        }
        let mut link = self.heads[hash(new, at, grain.window, self.bits)];
        for _ in 0..grain.depth {
            let Some(number) = link.checked_sub(1) else {
                return;
            };
            visit(self.range.start + number as usize * grain.stride);
            if grain.depth == 1 {
                return;
            }
            link = self.chain[number as usize];
        }
    }
}

/// Of a long window only the first and last eight bytes are hashed: whether the middle agrees is
/// found by comparing, and seldom needed.
#[inline]
fn hash(bytes: &[u8], at: usize, window: usize, bits: u32) -> usize {
    const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
    const LAST: u64 = 0xd6e8_feb8_6659_fd93;
    let first = word(bytes, at);
    let mixed = if window <= 8 {
        (first << (8 * (8 - window))).wrapping_mul(FIRST)
    } else {
        let last = word(bytes, at + window - 8);
        first.wrapping_mul(FIRST) ^ last.wrapping_mul(LAST).rotate_left(29)
    };
    let mixed = if window <= 8 {
        mixed
    } else {
        mixed.wrapping_mul(LAST)
    };
    (mixed >> (64 - bits)) as usize
}
