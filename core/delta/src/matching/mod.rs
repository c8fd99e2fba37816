//! Which base bytes line up with which new bytes.
//!
//! Matching goes from the likely to the unlikely. First each pair of files that belong together:
//! along the diagonal on which they lie opposite each other, then, where that fails, by windows of
//! the paired base file. Then, for what is still unmatched, by windows of the whole base. Last,
//! between neighbouring matches, by very short windows of the base bytes that lie near.
//!
//! Each pass finds exact *seeds* ([`seek`]) and grows them over mismatches ([`extend`]).

mod compare;
mod extend;
mod index;
mod seek;

pub(crate) use compare::prefix_len;

use crate::{Effort, Match};
use extend::Thrift;
use index::Grain;
use seek::{Seeker, Tables};
use std::ops::Range;

/// Files of `new` and `base` that are expected to resemble each other (same path, or found to be
/// similar), as ranges of a segment's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Where the new file starts in the segment's new content.
    pub new_start: u32,
    /// The new file's length.
    pub new_len: u32,
    /// Where the base file starts in the segment's base content.
    pub base_start: u32,
    /// The base file's length.
    pub base_len: u32,
}

/// Whether two fifths of `new` were left where they were in `base`: then there is no need to look for it
/// elsewhere.
pub fn lies_opposite(base: &[u8], new: &[u8]) -> bool {
    const BLOCK_LEN: usize = 64;
    /// One block in so many is looked at.
    const EVERY: usize = 4;
    let (base, _) = base.as_chunks::<BLOCK_LEN>();
    let (new, _) = new.as_chunks::<BLOCK_LEN>();
    let opposite = base.iter().zip(new).step_by(EVERY);
    let equal = opposite.filter(|(a, b)| a == b).count();
    equal * EVERY * 5 > new.len() * 2
}

/// Lines segments up with their bases, one segment after the other. What it keeps from one to the
/// next is room for its tables, nothing that the result depends on.
#[derive(Debug)]
pub struct Matcher {
    tactics: Tactics,
    tables: Tables,
}

impl Matcher {
    /// With the work that `effort` allows.
    pub fn new(effort: Effort) -> Self {
        Self {
            tactics: Tactics::of(effort),
            tables: Tables::default(),
        }
    }

    /// Lines `new` up with `base`. The result covers `new` exactly.
    ///
    /// `pairs` are hints: pairs that lie outside the buffers or overlap earlier ones in `new` are
    /// ignored.
    ///
    /// # Panics
    /// When one of the buffers has 4 GiB or more.
    pub fn segment(&mut self, base: &[u8], new: &[u8], pairs: &[Pair]) -> Vec<Match> {
        assert!(u32::try_from(base.len()).is_ok() && u32::try_from(new.len()).is_ok());
        let tactics = self.tactics;
        let mut seeker = Seeker::new(base, new, &self.tactics, &mut self.tables);
        let pairs = usable(pairs, base.len(), new.len());
        let whole = tactics.whole.for_base(base.len());
        let mut runs = Vec::new();
        // Where one pair is nearly all there is, one index serves for both.
        let is_all_paired = matches!(&pairs[..], [(paired, range)]
            if *paired == (0..new.len()) && range.len() / 7 >= base.len() / 8);
        seeker.whole(if is_all_paired { 0..0 } else { 0..base.len() }, whole);
        let mut at = 0;
        for (new_range, base_range) in pairs {
            seeker.near(0..0, tactics.pair);
            seeker.seek(at..new_range.start, None, &mut runs);
            at = new_range.end;
            let diagonal = base_range.start as isize - new_range.start as isize;
            let searched = match is_all_paired {
                true => 0..base.len(),
                false => base_range,
            };
            let grain = tactics.pair.for_base(searched.len());
            seeker.near(searched, grain);
            seeker.seek(new_range, Some(diagonal), &mut runs);
        }
        seeker.near(0..0, tactics.pair);
        seeker.seek(at..new.len(), None, &mut runs);
        seeker.whole(0..0, whole);
        if let Some(near) = tactics.near {
            runs = fill_gaps(runs, new.len(), near.window * 2, |gap, around, found| {
                if let Some(range) = neighbourhood(around, gap.len(), base.len()) {
                    seeker.near(range, near);
                    seeker.seek(gap, None, found);
                }
            });
        }
        steps(&runs, base.len(), new.len())
    }
}

/// Bytes that line up: `new[new..][..len]` with `base[base..][..len]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    new: usize,
    base: usize,
    len: usize,
}

impl Run {
    fn new_end(&self) -> usize {
        self.new + self.len
    }

    fn base_end(&self) -> usize {
        self.base + self.len
    }

    /// The same for all positions that would continue this run.
    fn diagonal(&self) -> isize {
        self.base as isize - self.new as isize
    }

    fn grow_front(&mut self, len: usize) {
        self.new -= len;
        self.base -= len;
        self.len += len;
    }
}

/// What an effort buys.
#[derive(Debug, Clone, Copy)]
struct Tactics {
    /// Windows of a paired file.
    pair: Grain,
    /// Windows of the whole base.
    whole: Grain,
    /// Windows of the base near a gap.
    near: Option<Grain>,
    thrift: Thrift,
    /// Where so many of 32 bytes are right on the present diagonal, no other is looked for.
    tolerance: u32,
    /// After 2^patience fruitless look-ups the steps between them grow.
    patience: u32,
    /// Speed is all: a paired file is looked for in its own base only, and what cannot be found
    /// is passed over without a closer look.
    hasty: bool,
}

impl Tactics {
    fn of(effort: Effort) -> Self {
        let grain = |window, stride, depth| Grain {
            window,
            stride,
            depth,
        };
        let thrift = |near_min, far_min| Thrift { near_min, far_min };
        match effort {
            Effort::Fast => Self {
                pair: grain(24, 16, 1),
                whole: grain(32, 16, 1),
                near: None,
                thrift: thrift(20, 32),
                tolerance: 18,
                patience: 4,
                hasty: true,
            },
            Effort::Default => Self {
                pair: grain(12, 2, 4),
                whole: grain(16, 4, 4),
                near: Some(grain(8, 1, 4)),
                thrift: thrift(16, 32),
                tolerance: 28,
                patience: 10,
                hasty: false,
            },
            Effort::Max => Self {
                pair: grain(8, 1, 8),
                whole: grain(12, 2, 8),
                near: Some(grain(6, 1, 8)),
                thrift: thrift(12, 24),
                tolerance: 33,
                patience: 16,
                hasty: false,
            },
        }
    }
}

impl Grain {
    /// Coarser for a large base, whose index would fall out of every cache.
    fn for_base(self, len: usize) -> Self {
        let factor = if len > crate::SEGMENT_NEW_MAX * 3 / 2 {
            2
        } else {
            1
        };
        Self {
            stride: self.stride * factor,
            ..self
        }
    }
}

/// The pairs that lie inside the buffers, in order of `new`, without overlaps there.
fn usable(pairs: &[Pair], base_len: usize, new_len: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let range = |start: u32, len: u32| start as usize..start as usize + len as usize;
    let mut ranges: Vec<_> = pairs
        .iter()
        .map(|pair| {
            (
                range(pair.new_start, pair.new_len),
                range(pair.base_start, pair.base_len),
            )
        })
        .filter(|(new, base)| new.end <= new_len && base.end <= base_len)
        .collect();
    ranges.sort_by_key(|(new, _)| new.start);
    let mut end = 0;
    ranges.retain(|(new, _)| {
        let keep = new.start >= end;
        if keep {
            end = new.end;
        }
        keep
    });
    ranges
}

/// Calls `find` for each stretch of `new` that no run covers and that is at least `len_min` long,
/// with its neighbours, and returns old and new runs together.
fn fill_gaps(
    runs: Vec<Run>,
    new_len: usize,
    len_min: usize,
    mut find: impl FnMut(Range<usize>, [Option<Run>; 2], &mut Vec<Run>),
) -> Vec<Run> {
    let mut filled = Vec::with_capacity(runs.len());
    let mut before = None;
    for after in runs.into_iter().map(Some).chain([None]) {
        let gap = before.map_or(0, |run: Run| run.new_end())..after.map_or(new_len, |run| run.new);
        if gap.len() >= len_min {
            find(gap, [before, after], &mut filled);
        }
        filled.extend(after);
        before = after;
    }
    filled
}

/// The base bytes between the neighbours of a gap, and some more on both sides.
fn neighbourhood(
    [before, after]: [Option<Run>; 2],
    gap_len: usize,
    base_len: usize,
) -> Option<Range<usize>> {
    /// Beyond this, a window of a few bytes is found everywhere by chance.
    const GAP_MAX: usize = 64 << 10;
    if gap_len > GAP_MAX {
        return None;
    }
    let margin = gap_len + 256;
    let start = before.map_or_else(|| after.map(|run| run.base), |run| Some(run.base_end()))?;
    let end = after.map_or(start, |run| run.base);
    let is_between = start <= end && end - start <= 4 * gap_len + 1024;
    let end = if is_between { end } else { start };
    let range = start.saturating_sub(margin)..(end + margin).min(base_len);
    (!range.is_empty()).then_some(range)
}

/// Runs as steps, which also cover what lies between runs.
fn steps(runs: &[Run], base_len: usize, new_len: usize) -> Vec<Match> {
    let mut steps = Vec::with_capacity(runs.len() + 1);
    let mut at = 0;
    for run in runs.iter().filter(|run| run.len > 0) {
        debug_assert!(run.new >= at && run.base_end() <= base_len);
        match steps.last_mut() {
            Some(Match {
                base_start, len, ..
            }) if run.new == at && *base_start as usize + *len as usize == run.base => {
                *len += run.len as u32;
            }
            _ => steps.push(Match {
                literal_len: (run.new - at) as u32,
                base_start: run.base as u32,
                len: run.len as u32,
            }),
        }
        at = run.new_end();
    }
    if at < new_len {
        steps.push(Match {
            literal_len: (new_len - at) as u32,
            base_start: 0,
            len: 0,
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::noise;
    use proptest::prelude::*;

    const EFFORTS: [Effort; 3] = [Effort::Fast, Effort::Default, Effort::Max];

    fn pair(new: Range<usize>, base: Range<usize>) -> Pair {
        Pair {
            new_start: new.start as u32,
            new_len: new.len() as u32,
            base_start: base.start as u32,
            base_len: base.len() as u32,
        }
    }

    /// New bytes that are literals or differ from what they line up with, after checking that the
    /// steps cover `new` and stay in `base`.
    fn unexplained(base: &[u8], new: &[u8], steps: &[Match]) -> usize {
        let mut at = 0;
        let mut count = 0;
        for step in steps {
            at += step.literal_len as usize;
            count += step.literal_len as usize;
            let opposite = &base[step.base_start as usize..][..step.len as usize];
            let lined_up = &new[at..at + opposite.len()];
            count += lined_up
                .iter()
                .zip(opposite)
                .filter(|(new, base)| new != base)
                .count();
            at += opposite.len();
        }
        assert_eq!(at, new.len());
        count
    }

    proptest! {
        #[test]
        fn steps_cover_the_new_content_whatever_the_hints(
            base in prop::collection::vec(0u8..3, 0..400),
            new in prop::collection::vec(0u8..3, 0..400),
            copies in prop::collection::vec((0usize..400, 0usize..200), 0..4),
            pairs in prop::collection::vec((0u32..500, 0u32..500, 0u32..500, 0u32..500), 0..4),
        ) {
            let mut new = new;
            for (start, len) in copies {
                let end = (start + len).min(base.len());
                new.extend_from_slice(&base[start.min(end)..end]);
            }
            let pairs: Vec<_> = pairs
                .into_iter()
                .map(|(new_start, new_len, base_start, base_len)| {
                    Pair { new_start, new_len, base_start, base_len }
                })
                .collect();
            for effort in EFFORTS {
                unexplained(&base, &new, &Matcher::new(effort).segment(&base, &new, &pairs));
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_matched_before_changes_nothing(
            first in prop::collection::vec(0u8..3, 0..400),
            second in prop::collection::vec(0u8..3, 0..400),
            at in any::<prop::sample::Index>(),
        ) {
            let moved = [&second[at.index(second.len() + 1)..], &first].concat();
            for effort in EFFORTS {
                let mut matcher = Matcher::new(effort);
                matcher.segment(&second, &first, &[pair(0..first.len(), 0..second.len())]);
                let again = matcher.segment(&second, &moved, &[]);
                prop_assert_eq!(again, Matcher::new(effort).segment(&second, &moved, &[]));
            }
        }
    }

    #[test]
    fn content_lies_opposite_when_two_fifths_of_its_blocks_do() {
        let base = noise(1, 64_000);
        let edited = |blocks: usize| [&noise(2, 64 * blocks), &base[64 * blocks..]].concat();
        assert!(lies_opposite(&base, &edited(0)));
        assert!(lies_opposite(&base, &edited(596)));
        assert!(!lies_opposite(&base, &edited(600)));
        assert!(!lies_opposite(&base[..20_000], &base));
        assert!(!lies_opposite(&base[1..], &base));
        assert!(!lies_opposite(&[], &[]));
    }

    #[test]
    fn equal_content_is_one_step() {
        let base = noise(1, 100_000);
        for effort in EFFORTS {
            let all = pair(0..base.len(), 0..base.len());
            let whole = Match {
                literal_len: 0,
                base_start: 0,
                len: 100_000,
            };
            assert_eq!(Matcher::new(effort).segment(&base, &base, &[all]), [whole]);
            assert_eq!(Matcher::new(effort).segment(&base, &base, &[]), [whole]);
            assert_eq!(Matcher::new(effort).segment(&base, &[], &[]), []);
        }
    }

    #[test]
    fn blocks_that_changed_places_are_found_without_hints() {
        let base = noise(1, 90_000);
        let new = [&base[60_000..], &base[..30_000], &base[30_000..60_000]].concat();
        for effort in EFFORTS {
            let steps = Matcher::new(effort).segment(&base, &new, &[]);
            assert_eq!(unexplained(&base, &new, &steps), 0, "{effort:?}");
            assert_eq!(steps.len(), 2, "{effort:?}");
        }
    }

    #[test]
    fn scattered_changes_do_not_break_a_run() {
        let base = noise(1, 50_000);
        let mut new = base.clone();
        new.iter_mut().step_by(23).for_each(|byte| *byte ^= 0x80);
        for effort in EFFORTS {
            let all = pair(0..base.len(), 0..base.len());
            assert_eq!(
                Matcher::new(effort).segment(&base, &new, &[all]).len(),
                1,
                "{effort:?}"
            );
        }
    }

    #[test]
    fn the_end_of_an_insertion_is_found_to_the_byte() {
        let base = noise(1, 20_000);
        let new = [&base[..7_001], b"an insertion", &base[7_001..]].concat();
        for effort in EFFORTS {
            let all = pair(0..new.len(), 0..base.len());
            let steps = Matcher::new(effort).segment(&base, &new, &[all]);
            assert_eq!(unexplained(&base, &new, &steps), 12, "{effort:?}");
        }
    }

    #[test]
    fn long_rows_of_one_byte_are_lined_up_with_shorter_ones() {
        let base = [&noise(1, 9_000)[..], &[0; 1000], &noise(2, 9_000)].concat();
        let new = [&base[..4_000], &[0; 50_000], &base[4_000..]].concat();
        let all = pair(0..new.len(), 0..base.len());
        let steps = |effort| Matcher::new(effort).segment(&base, &new, &[all]);
        for effort in [Effort::Default, Effort::Max] {
            let literals: u32 = steps(effort).iter().map(|step| step.literal_len).sum();
            assert!(literals < 300, "{effort:?}: {literals}");
        }
        assert_eq!(steps(Effort::Fast).len(), 2, "to zstd they cost no time");
    }

    #[test]
    fn rows_of_one_byte_take_no_quadratic_time() {
        // A quadratic step would need minutes for this.
        let base = [&[0; 300][..], &noise(1, 1000)].concat();
        let new = vec![0; 8 << 20];
        for effort in EFFORTS {
            unexplained(&base, &new, &Matcher::new(effort).segment(&base, &new, &[]));
        }
    }

    #[test]
    fn periodic_content_takes_no_quadratic_time() {
        // A quadratic step would need minutes for this.
        let period = noise(1, 37);
        let mut base: Vec<u8> = period.iter().copied().cycle().take(1 << 20).collect();
        base.iter_mut().step_by(4001).for_each(|byte| *byte ^= 1);
        let mut new: Vec<u8> = period
            .iter()
            .copied()
            .cycle()
            .skip(11)
            .take(1 << 20)
            .collect();
        new.iter_mut().step_by(3001).for_each(|byte| *byte ^= 2);
        for effort in EFFORTS {
            unexplained(&base, &new, &Matcher::new(effort).segment(&base, &new, &[]));
        }
    }
}
