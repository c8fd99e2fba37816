//! Finding exact seeds.

use super::compare::{differ_by_more, equal_in_32, prefix_len, repeat_len, suffix_len};
use super::extend::{Thrift, exact, settle};
use super::index::{Grain, Index};
use super::{Run, Tactics};
use std::ops::Range;

/// Bytes that must agree for a seed on the diagonal of the seed before it: such a seed costs
/// almost nothing to say.
const SAME_DIAGONAL_MIN: usize = 8;

/// How many more bytes another diagonal must get right than the present one, to be preferred.
const BETTER_BY: usize = 8;

/// So many equal bytes in a row are cheaper as literals than lined up with an equal row elsewhere.
const REPEAT_MIN: usize = 16;

/// So many are as cheap either way, but a coder's time is spent on literals, byte by byte.
const LONG_REPEAT: usize = 256;

/// A seed this long is taken without asking the whole base for a longer one.
const LONG_ENOUGH: usize = 256;

/// How many positions are looked up at a time when speed is all: while memory answers for one, the
/// others are asked.
const HASTE: usize = 32;

/// How far back a seed may take the place of others, and how far ahead a byte's repeats are
/// counted: more would cost quadratic time on periodic content.
const TAKE_BACK_MAX: usize = 64 << 10;

/// Looks for runs in one segment.
#[derive(Debug)]
pub(super) struct Seeker<'a> {
    base: &'a [u8],
    new: &'a [u8],
    /// After 2^patience fruitless look-ups the steps between them grow.
    patience: u32,
    /// Where so many of 32 bytes are right on the present diagonal, no other is looked for.
    tolerance: u32,
    thrift: Thrift,
    hasty: bool,
    tables: &'a mut Tables,
}

/// What a seeker works with, kept from one to the next to save allocations.
#[derive(Debug, Default)]
pub(super) struct Tables {
    near: Ground,
    whole: Ground,
    seeds: Vec<Run>,
}

/// A range of the base, indexed when it is first asked.
#[derive(Debug, Default)]
struct Ground {
    range: Range<usize>,
    grain: Grain,
    index: Index,
    is_indexed: bool,
}

impl<'a> Seeker<'a> {
    pub(super) fn new(
        base: &'a [u8],
        new: &'a [u8],
        tactics: &Tactics,
        tables: &'a mut Tables,
    ) -> Self {
        Self {
            base,
            new,
            patience: tactics.patience,
            tolerance: tactics.tolerance,
            thrift: tactics.thrift,
            hasty: tactics.hasty,
            tables,
        }
    }

    /// Look-ups search this range of the base from now on,
    pub(super) fn near(&mut self, range: Range<usize>, grain: Grain) {
        self.tables.near.set(range, grain);
    }

    /// and this one too, for seeds that are longer.
    pub(super) fn whole(&mut self, range: Range<usize>, grain: Grain) {
        self.tables.whole.set(range, grain);
    }

    /// Matches a range of `new`, beginning on a diagonal if one is likely.
    pub(super) fn seek(
        &mut self,
        range: Range<usize>,
        mut diagonal: Option<isize>,
        runs: &mut Vec<Run>,
    ) {
        self.tables.seeds.clear();
        let new = &self.new[..range.end];
        let mut at = range.start;
        let mut misses = 0usize;
        while at < range.end {
            let opposite = diagonal.and_then(|diagonal| at.checked_add_signed(diagonal));
            let opposite = opposite.filter(|&opposite| opposite < self.base.len());
            if let Some(opposite) = opposite {
                let len = prefix_len(&self.base[opposite..], &new[at..]);
                if len >= SAME_DIAGONAL_MIN.min(range.end - at) {
                    self.tables.seeds.push(Run {
                        new: at,
                        base: opposite,
                        len,
                    });
                    at += len;
                    misses = 0;
                    continue;
                }
                if equal_in_32(&self.base[opposite..], &new[at..]) >= self.tolerance {
                    at += len + 1;
                    continue;
                }
            }
            if self.hasty {
                let step = 1 + (misses >> self.patience);
                let next = self.sighting(new, at, step);
                if next > at {
                    misses += (next - at) / step;
                    at = next;
                    continue;
                }
            }
            let repeat = repeat_len(&new[at..new.len().min(at + TAKE_BACK_MAX)]);
            let found = match repeat >= LONG_REPEAT && !self.hasty {
                true => self.repeated(new, at, repeat),
                false => self
                    .look_up(new, at, opposite)
                    .filter(|seed| seed.len > repeat || repeat < REPEAT_MIN),
            };
            match found {
                Some(seed) => {
                    diagonal = Some(seed.diagonal());
                    at = seed.new_end();
                    self.push(seed, range.start);
                    misses = 0;
                }
                _ if repeat >= REPEAT_MIN => at += repeat - REPEAT_MIN / 2,
                _ => {
                    misses += 1;
                    at += 1 + (misses >> self.patience);
                }
            }
        }
        settle(
            self.base,
            self.new,
            range,
            &self.tables.seeds,
            self.thrift,
            runs,
        );
    }

    /// The longest seed at `at` that is worth leaving the present diagonal for.
    fn look_up(&mut self, new: &[u8], at: usize, opposite: Option<usize>) -> Option<Run> {
        let mut best = self.tables.near.longest(self.base, new, at, opposite, None);
        let is_enough = match self.hasty {
            true => !self.tables.near.range.is_empty(),
            false => best.is_some_and(|seed| seed.len >= LONG_ENOUGH),
        };
        if !is_enough {
            best = self
                .tables
                .whole
                .longest(self.base, new, at, opposite, best);
        }
        best.filter(|seed| {
            opposite.is_none_or(|opposite| {
                differ_by_more(&new[at..seed.new_end()], &self.base[opposite..], BETTER_BY)
            })
        })
    }

    /// The longest seed for the `len` equal bytes at `at`, if it is long. Of a row of equal bytes
    /// an index knows the end.
    fn repeated(&mut self, new: &[u8], at: usize, len: usize) -> Option<Run> {
        let row = &new[at..at + len];
        let mut best = 0..0;
        for ground in [&mut self.tables.near, &mut self.tables.whole] {
            if ground.range.is_empty() {
                continue;
            }
            ground.filled(self.base).candidates(row, 0, |window| {
                let end = window + prefix_len(&self.base[window..], row);
                let start = end - suffix_len(&self.base[..end], row);
                if end - start > best.len() {
                    best = start..end;
                }
            });
        }
        (best.len() >= LONG_REPEAT).then(|| Run {
            new: at,
            base: best.start,
            len: best.len(),
        })
    }

    /// The first position from `at` on whose window the base is likely to have, or that
    /// [`HASTE`] steps on.
    fn sighting(&mut self, new: &[u8], at: usize, step: usize) -> usize {
        let ground = match self.tables.near.range.is_empty() {
            true => &mut self.tables.whole,
            false => &mut self.tables.near,
        };
        let end = at + HASTE * step;
        if ground.range.is_empty() {
            return end;
        }
        let index = ground.filled(self.base);
        let mut positions = (at..end).step_by(step);
        positions.find(|&at| index.has(new, at)).unwrap_or(end)
    }

    /// Adds a seed, after taking back those before it that it can replace.
    fn push(&mut self, mut seed: Run, floor: usize) {
        let reach = floor.max(seed.new.saturating_sub(TAKE_BACK_MAX));
        let back = suffix_len(&self.base[..seed.base], &self.new[reach..seed.new]);
        while let Some(last) = self.tables.seeds.last()
            && last.new + back >= seed.new
        {
            self.tables.seeds.pop();
        }
        let free = seed.new - self.tables.seeds.last().map_or(floor, Run::new_end);
        seed.grow_front(back.min(free));
        self.tables.seeds.push(seed);
    }
}

impl Ground {
    fn filled(&mut self, base: &[u8]) -> &Index {
        if !self.is_indexed {
            self.index.fill(base, self.range.clone(), self.grain);
            self.is_indexed = true;
        }
        &self.index
    }

    fn set(&mut self, range: Range<usize>, grain: Grain) {
        (self.range, self.grain, self.is_indexed) = (range, grain, false);
    }

    /// `best`, or a longer seed, or one as long that is nearer to `opposite`.
    #[inline]
    fn longest(
        &mut self,
        base: &[u8],
        new: &[u8],
        at: usize,
        opposite: Option<usize>,
        mut best: Option<Run>,
    ) -> Option<Run> {
        if self.range.is_empty() {
            return best;
        }
        self.filled(base);
        self.index.candidates(new, at, |base_at| {
            let seed = exact(base, new, base_at, at);
            let nearer = |other: &Run| {
                opposite.is_some_and(|o| seed.base.abs_diff(o) < other.base.abs_diff(o))
            };
            let better = best
                .as_ref()
                .is_none_or(|other| seed.len > other.len || seed.len == other.len && nearer(other));
            if seed.len >= self.grain.window && better {
                best = Some(seed);
            }
        });
        best
    }
}
