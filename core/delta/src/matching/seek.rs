//! Finding exact seeds.

use super::Run;
use super::compare::{differ_by_more, prefix_len, suffix_len};
use super::extend::{exact, settle};
use super::index::{Grain, Index};
use std::ops::Range;

/// Bytes that must agree for a seed on the diagonal of the seed before it: such a seed costs
/// almost nothing to say.
const SAME_DIAGONAL_MIN: usize = 8;

/// How many more bytes another diagonal must get right than the present one, to be preferred.
const BETTER_BY: usize = 8;

/// Looks for seeds in one segment.
#[derive(Debug)]
pub(super) struct Seeker<'a> {
    base: &'a [u8],
    new: &'a [u8],
    patience: u32,
    index: Index,
    /// Whether `index` holds the range that is being looked at.
    filled: bool,
    seeds: Vec<Run>,
}

impl<'a> Seeker<'a> {
    pub(super) fn new(base: &'a [u8], new: &'a [u8], patience: u32) -> Self {
        Self {
            base,
            new,
            patience,
            index: Index::default(),
            filled: false,
            seeds: Vec::new(),
        }
    }

    /// The index is for another range from now on.
    pub(super) fn forget(&mut self) {
        self.filled = false;
    }

    /// Matches a range of `new` with a range of the base that begins like it.
    pub(super) fn seek(
        &mut self,
        new: Range<usize>,
        base: Range<usize>,
        grain: Grain,
        runs: &mut Vec<Run>,
    ) {
        self.forget();
        let diagonal = base.start as isize - new.start as isize;
        self.run(new, base, Some(diagonal), grain, runs);
    }

    /// Matches a range of `new` with whatever in a range of the base is like it.
    pub(super) fn seek_anywhere(
        &mut self,
        new: Range<usize>,
        base: Range<usize>,
        grain: Grain,
        runs: &mut Vec<Run>,
    ) {
        self.run(new, base, None, grain, runs);
    }

    fn run(
        &mut self,
        range: Range<usize>,
        base_range: Range<usize>,
        mut diagonal: Option<isize>,
        grain: Grain,
        runs: &mut Vec<Run>,
    ) {
        self.seeds.clear();
        let new = &self.new[..range.end];
        let mut at = range.start;
        let mut misses = 0usize;
        while at < range.end {
            let opposite = diagonal.and_then(|diagonal| at.checked_add_signed(diagonal));
            let opposite = opposite.filter(|&opposite| opposite < self.base.len());
            if let Some(opposite) = opposite {
                let len = prefix_len(&self.base[opposite..], &new[at..]);
                if len >= SAME_DIAGONAL_MIN.min(range.end - at) {
                    self.seeds.push(Run {
                        new: at,
                        base: opposite,
                        len,
                    });
                    at += len;
                    misses = 0;
                    continue;
                }
            }
            if !self.filled {
                self.index.fill(self.base, base_range.clone(), grain);
                self.filled = true;
            }
            match self.look_up(new, at, opposite, grain) {
                Some(seed) => {
                    diagonal = Some(seed.diagonal());
                    at = seed.new_end();
                    self.push(seed, range.start);
                    misses = 0;
                }
                None => {
                    misses += 1;
                    at += 1 + (misses >> self.patience);
                }
            }
        }
        settle(
            self.base,
            self.new,
            range.start,
            range.end,
            &self.seeds,
            runs,
        );
    }

    /// The longest seed at `at` that is worth leaving the present diagonal for.
    fn look_up(&self, new: &[u8], at: usize, opposite: Option<usize>, grain: Grain) -> Option<Run> {
        let mut best: Option<Run> = None;
        self.index.candidates(new, at, |base_at| {
            let seed = exact(self.base, new, base_at, at);
            let nearer = |other: &Run| {
                opposite.is_some_and(|o| seed.base.abs_diff(o) < other.base.abs_diff(o))
            };
            let better = best
                .as_ref()
                .is_none_or(|other| seed.len > other.len || seed.len == other.len && nearer(other));
            if seed.len >= grain.window && better {
                best = Some(seed);
            }
        });
        best.filter(|seed| {
            opposite.is_none_or(|opposite| {
                differ_by_more(&new[at..seed.new_end()], &self.base[opposite..], BETTER_BY)
            })
        })
    }

    /// Adds a seed, after taking back those before it that it can replace.
    fn push(&mut self, mut seed: Run, floor: usize) {
        let back = suffix_len(&self.base[..seed.base], &self.new[floor..seed.new]);
        while let Some(last) = self.seeds.last()
            && last.new + back >= seed.new
        {
            self.seeds.pop();
        }
        let free = seed.new - self.seeds.last().map_or(floor, Run::new_end);
        seed.grow_front(back.min(free));
        self.seeds.push(seed);
    }
}
