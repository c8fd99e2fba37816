//! Where in the base a window of bytes occurs.
//!
//! A flat table of buckets, the latest windows first in each; what falls out of a full bucket is
//! forgotten. A bucket lies in one cache line, so a look-up costs one visit to memory. (Tried:
//! chains through all windows with the same hash, which find little more and wait for memory at
//! every link. A suffix array answers better questions, but costs twenty times as much to build,
//! and growing over mismatches makes up for most of what a hash of a few bytes misses.)

use super::compare::word;
use std::ops::Range;

/// How a base is indexed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Grain {
    /// Bytes in a window; at least 4.
    pub(super) window: usize,
    /// One window is entered for every so many base bytes.
    pub(super) stride: usize,
    /// Windows in a bucket: how many candidates a look-up can give.
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
    bucket_bits: u32,
    number_bits: u32,
    /// Buckets of `grain.depth` entries; 0 is none.
    entries: Vec<u32>,
}

impl Index {
    /// Forgets what it holds and enters `range` of `base`.
    pub(super) fn fill(&mut self, base: &[u8], range: Range<usize>, grain: Grain) {
        debug_assert!(grain.window >= 4 && grain.stride >= 1 && grain.depth >= 1);
        let positions = (range.len() + 1).saturating_sub(grain.window.max(8));
        let count = positions.div_ceil(grain.stride);
        self.bucket_bits = bits((count + count / 4) / grain.depth).max(6);
        self.number_bits = bits(count + 1);
        self.grain = grain;
        self.entries.clear();
        self.entries.resize(grain.depth << self.bucket_bits, 0);
        let bytes = &base[range.clone()];
        match grain.depth {
            1 => self.enter::<1>(bytes, count),
            2 => self.enter::<2>(bytes, count),
            4 => self.enter::<4>(bytes, count),
            8 => self.enter::<8>(bytes, count),
            depth => unreachable!("no effort asks for buckets of {depth}"),
        }
        self.range = range;
    }

    /// With the depth known, making room in a bucket is a few moves between registers.
    fn enter<const DEPTH: usize>(&mut self, bytes: &[u8], count: usize) {
        let Grain { window, stride, .. } = self.grain;
        for number in 0..count {
            let hash = hash(bytes, number * stride, window);
            let entry = self.tag(hash) | (number as u32 + 1);
            let start = (hash >> (64 - self.bucket_bits)) as usize * DEPTH;
            let bucket = self.entries[start..]
                .first_chunk_mut::<DEPTH>()
                .expect("whole buckets");
            // In a run of one byte only the last window is worth an entry.
            if bucket[0] + 1 != entry {
                bucket.copy_within(..DEPTH - 1, 1);
            }
            bucket[0] = entry;
        }
    }

    /// Calls `visit` with base positions whose window is likely the one at `at` of `new`, latest
    /// first.
    #[inline]
    pub(super) fn candidates(&self, new: &[u8], at: usize, mut visit: impl FnMut(usize)) {
        let grain = self.grain;
        if at + grain.window.max(8) > new.len() {
            return;
        }
        let (tag, bucket) = self.bucket(new, at);
        let number_mask = (1 << self.number_bits) - 1;
        for &entry in bucket {
            if entry & !number_mask == tag && entry != 0 {
                let number = ((entry & number_mask) - 1) as usize;
                visit(self.range.start + number * grain.stride);
            }
        }
    }

    /// Whether there is such a position; only the latest is asked.
    #[inline]
    pub(super) fn has(&self, new: &[u8], at: usize) -> bool {
        if at + self.grain.window.max(8) > new.len() {
            return false;
        }
        let (tag, bucket) = self.bucket(new, at);
        let entry = bucket[0];
        entry >> self.number_bits << self.number_bits == tag && entry != 0
    }

    /// The tag of the window at `at`, and where windows with that hash are.
    #[inline]
    fn bucket(&self, new: &[u8], at: usize) -> (u32, &[u32]) {
        let hash = hash(new, at, self.grain.window);
        let start = (hash >> (64 - self.bucket_bits)) as usize * self.grain.depth;
        (
            self.tag(hash),
            &self.entries[start..start + self.grain.depth],
        )
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
