//! Growing exact seeds over mismatches, and deciding who gets the bytes that two of them want.
//!
//! A byte that agrees counts 1, one that differs counts -1, as in Percival's bsdiff. A side stops
//! growing when its score lies [`DROP`] under its best, so that a gap of a megabyte costs nothing.

use super::{Run, compare::prefix_len};
use std::ops::Range;

/// How far the score may fall before the search ends.
const DROP: i32 = 96;

/// What remains between two runs on one diagonal is bridged up to this length: mismatches cost
/// less than ending a run and beginning the next.
const BRIDGE: usize = 8;

/// How long a run must have grown to be worth saying.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thrift {
    /// When it lies near the run before.
    pub(super) near_min: usize,
    /// When it lies anywhere else.
    pub(super) far_min: usize,
}

impl Thrift {
    /// Base bytes within which a run is near.
    const NEAR: usize = 8 << 10;

    fn keeps(self, run: &Run, before: Option<&Run>) -> bool {
        let is_near = before.is_some_and(|b| b.base_end().abs_diff(run.base) <= Self::NEAR);
        run.len >= if is_near { self.near_min } else { self.far_min }
    }
}

/// Grows each of `seeds`, which lie inside `new[..]` in order and do not overlap, into the gaps
/// between them and up to `start..end`; appends the result to `runs`.
pub(super) fn settle(
    base: &[u8],
    new: &[u8],
    range: Range<usize>,
    seeds: &[Run],
    thrift: Thrift,
    runs: &mut Vec<Run>,
) {
    let Range { start, end } = range;
    let mut last: Option<Run> = None;
    for &seed in seeds {
        let floor = last.map_or(start, |run| run.new_end());
        let gap = seed.new - floor;
        let after = last.map_or(0, |run| {
            forward(&base[run.base_end()..], &new[floor..seed.new])
        });
        let before = backward(&base[..seed.base], &new[floor..seed.new]);
        let mut seed = seed;
        match &mut last {
            Some(run) if run.diagonal() == seed.diagonal() && after + before + BRIDGE >= gap => {
                run.len = seed.new_end() - run.new;
                continue;
            }
            Some(run) if after + before > gap => {
                let cut = split(base, new, *run, seed, after, before);
                run.len += cut;
                seed.grow_front(gap - cut);
            }
            Some(run) => {
                run.len += after;
                seed.grow_front(before);
            }
            None => seed.grow_front(before),
        }
        if let Some(run) = last.replace(seed)
            && thrift.keeps(&run, runs.last())
        {
            runs.push(run);
        }
    }
    if let Some(mut run) = last {
        run.len += forward(&base[run.base_end()..], &new[run.new_end()..end]);
        if thrift.keeps(&run, runs.last()) {
            runs.push(run);
        }
    }
}

/// How many bytes from the front of `new` are best lined up with the front of `base`.
fn forward(base: &[u8], new: &[u8]) -> usize {
    let len = base.len().min(new.len());
    grow(len, |at| base[at] == new[at])
}

/// How many bytes from the back of `new` are best lined up with the back of `base`.
fn backward(base: &[u8], new: &[u8]) -> usize {
    let len = base.len().min(new.len());
    grow(len, |at| {
        base[base.len() - 1 - at] == new[new.len() - 1 - at]
    })
}

#[inline]
fn grow(len: usize, agrees: impl Fn(usize) -> bool) -> usize {
    let (mut score, mut best_score, mut best) = (0, 0, 0);
    for at in 0..len {
        if agrees(at) {
            score += 1;
            if score > best_score {
                (best_score, best) = (score, at + 1);
            }
        } else {
            score -= 1;
            if score < best_score - DROP {
                break;
            }
        }
    }
    best
}

/// `run` wants `after` bytes after it and `seed` wants `before` bytes before it, more than there
/// are between them: how many should `run` get, so that the fewest bytes differ?
fn split(base: &[u8], new: &[u8], run: Run, seed: Run, after: usize, before: usize) -> usize {
    let gap = seed.new - run.new_end();
    let first = gap - before;
    let (mut score, mut best_score, mut best) = (0, 0, first);
    for at in first..after {
        let byte = new[run.new_end() + at];
        score += i32::from(base[run.base_end() + at] == byte);
        score -= i32::from(base[seed.base + at - gap] == byte);
        if score > best_score {
            (best_score, best) = (score, at + 1);
        }
    }
    best
}

/// The exact seed at these positions, as long as it can be, at most to the end of `new`.
pub(super) fn exact(base: &[u8], new: &[u8], base_at: usize, new_at: usize) -> Run {
    let len = prefix_len(&base[base_at..], &new[new_at..]);
    Run {
        new: new_at,
        base: base_at,
        len,
    }
}
