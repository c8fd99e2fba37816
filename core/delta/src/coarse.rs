//! Where in many base files, of any size, content like this slice may lie.
//!
//! The index holds one *anchor* ([`Gear`], or [`grid`] for the fast effort) for every few hundred
//! bytes of the base, in eight bytes each; the larger the base, the fewer. A slice of new content looks its own anchors up and
//! follows them: as long as they agree on a diagonal they are believed, and where they leave it
//! the place that most anchors of the slice point to wins. What comes out are ranges of files, a
//! little wider than the anchors; matching byte by byte is left to
//! [`Matcher`](crate::Matcher).

use crate::content::{Content, ReadError};
use crate::gear::Gear;
use crate::{Effort, Pair, grid};
use std::ops::Range;

/// A range of a base file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseRange {
    /// The file, by its number in the index.
    pub file: u32,
    /// Where the range starts in it.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

/// Anchors of many base files.
///
/// Files lie end to end in one line of *places*, counted in units of 2^`unit_log` bytes.
#[derive(Debug)]
pub struct CoarseIndex {
    picks: Picks,
    spacing_log: u32,
    unit_log: u32,
    /// Where each file starts on the line, in units, and how long it is in bytes.
    files: Vec<File>,
    /// Fingerprint in the high bits, place in the low ones; sorted once sealed.
    anchors: Vec<u64>,
    /// By the highest bits of a fingerprint: where its anchors begin.
    directory: Vec<u32>,
    /// One bit by more bits of a fingerprint: whether it has anchors. For a grid, of which most
    /// look-ups are in vain.
    filter: Vec<u64>,
}

/// How anchors are picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Picks {
    /// By the content: [`Gear`].
    Gear,
    /// By the place: [`grid`].
    Grid,
}

#[derive(Debug, Clone, Copy)]
struct File {
    start: u64,
    len: u64,
}

/// The most anchors that are wanted, 128 MiB of them.
const ANCHORS_MAX: u64 = 16 << 20;
const DIRECTORY_LOG: u32 = 16;
/// Ranges with fewer bytes between them become one: naming a range costs bytes too.
const JOIN_LEN: u64 = 64 << 10;

impl Picks {
    /// Bits of an anchor that say its place; the others are its fingerprint. On a grid places are
    /// blocks, and many look-ups ask for long fingerprints.
    const fn place_bits(self) -> u32 {
        match self {
            Self::Gear => 34,
            Self::Grid => 28,
        }
    }
}

impl CoarseIndex {
    /// An index for base files that have about `total_len` bytes together. For the fast effort it
    /// is made and asked in a fraction of the time: content of a few kilobytes that moved may be
    /// missed.
    pub fn new(effort: Effort, total_len: u64) -> Self {
        let (picks, spacing_log_min, unit_log_min) = match effort {
            Effort::Fast => (Picks::Grid, 9, 9),
            Effort::Default | Effort::Max => (Picks::Gear, 7, 4),
        };
        let halvings = |value: u64| u64::BITS - value.leading_zeros();
        let spacing_log = halvings(total_len.saturating_sub(1) / ANCHORS_MAX).max(spacing_log_min);
        let place_bits = picks.place_bits();
        let unit_log = halvings(total_len >> (place_bits - 1)).max(unit_log_min);
        let expected = (total_len >> spacing_log) as usize;
        Self {
            picks,
            spacing_log,
            unit_log,
            files: Vec::new(),
            anchors: Vec::with_capacity(expected + expected / 8),
            directory: Vec::new(),
            filter: Vec::new(),
        }
    }

    /// Enters a file and returns its number: 0 for the first, then 1, and so on.
    ///
    /// When reading fails the file's number is taken, and no range of it will be named.
    pub fn add(&mut self, content: &(impl Content + ?Sized)) -> Result<u32, ReadError> {
        const READ_LEN: u64 = 256 << 10;
        let start = self
            .files
            .last()
            .map_or(0, |file| file.start + (file.len >> self.unit_log) + 1);
        let number = self.files.len() as u32;
        self.files.push(File {
            start,
            len: content.len(),
        });
        self.directory.clear();
        let mut gear = Gear::new(self.spacing_log);
        let kept = self.anchors.len();
        let mut piece = vec![0; content.len().min(READ_LEN) as usize];
        let mut offset = 0;
        while offset < content.len() {
            piece.truncate((content.len() - offset).min(READ_LEN) as usize);
            if let Err(error) = content.read_at(offset, &mut piece) {
                self.anchors.truncate(kept);
                return Err(error);
            }
            let place_bits = self.picks.place_bits();
            let enter = |at: u64, hash: u64| {
                let place = start + (at >> self.unit_log);
                // Places beyond the line come up only if `total_len` was far too low.
                if place >> place_bits == 0 {
                    self.anchors.push(hash >> place_bits << place_bits | place);
                }
            };
            match self.picks {
                Picks::Gear => gear.scan(&piece, enter),
                Picks::Grid => grid::blocks(&piece, offset, self.spacing_log, enter),
            }
            offset += piece.len() as u64;
        }
        Ok(number)
    }

    /// Makes what was added findable.
    pub fn seal(&mut self) {
        self.anchors.sort_unstable();
        self.directory = vec![0; (1 << DIRECTORY_LOG) + 1];
        for anchor in &self.anchors {
            self.directory[(anchor >> (64 - DIRECTORY_LOG)) as usize + 1] += 1;
        }
        for at in 1..self.directory.len() {
            self.directory[at] += self.directory[at - 1];
        }
        if self.picks == Picks::Grid {
            self.filter = vec![0; self.anchors.len().next_power_of_two().max(1 << 10) / 2];
            for anchor in &self.anchors {
                let bit = self.filter_bit(*anchor);
                self.filter[bit >> 6] |= 1 << (bit & 63);
            }
        }
    }

    /// Ranges of base files that a slice of new content should be matched with, in order of file
    /// and offset, at most `len_max` bytes in all.
    ///
    /// `home` is where the slice would lie if it had not changed: a file and an offset in it. A
    /// file that the index does not have is as good as none.
    pub fn ranges(&self, new: &[u8], home: Option<(u32, u64)>, len_max: u64) -> Vec<BaseRange> {
        let home = home.and_then(|(file, offset)| {
            let file = self.files.get(file as usize)?;
            Some((file.start << self.unit_log) + offset.min(file.len))
        });
        let trail = self.trail(new, home);
        let seen = self.seen(&trail);
        let silent = self.silent(&trail, new.len() as u64, home);
        let all = merge([&seen[..], &silent].concat(), JOIN_LEN);
        if total_len(&all) <= len_max {
            return self.in_files(&all);
        }
        self.in_files(&within_budget(seen, silent, len_max))
    }

    /// Which file's content the slice has most anchors in common with, and how many; of equals
    /// the first file. `None` when there are no common anchors.
    pub fn nearest_file(&self, new: &[u8]) -> Option<(u32, u32)> {
        let mut votes: Vec<u32> = Vec::new();
        self.trail(new, None)
            .iter()
            .for_each(|step| votes.push(self.file_at(step.base)));
        votes.sort_unstable();
        votes
            .chunk_by(|a, b| a == b)
            .map(|same| (same[0], same.len() as u32))
            .max_by_key(|&(file, count)| (count, std::cmp::Reverse(file)))
    }

    /// Follows the slice's anchors: for each that is found, the one place it is believed to be.
    fn trail(&self, new: &[u8], home: Option<u64>) -> Vec<Step> {
        /// A fingerprint in more places than these says little about any of them.
        const PLACES_MAX: usize = 12;
        /// How far anchors may lie off a diagonal and still be on it: small edits shift them.
        const ON_DIAGONAL: u64 = 2048;
        /// Places are weighed by blocks of this many bytes.
        const BLOCK_LOG: u32 = 16;

        assert!(
            !self.directory.is_empty() || self.anchors.is_empty(),
            "an index is sealed before it is asked"
        );
        let mut sightings: Vec<(u64, &[u64])> = Vec::new();
        let mut blocks: Vec<u64> = Vec::new();
        let mut sight = |at: u64, hash: u64| {
            let places = self.places(hash);
            if !places.is_empty() {
                sightings.push((at, places));
                let few = if places.len() <= PLACES_MAX {
                    places
                } else {
                    &[]
                };
                blocks.extend(few.iter().map(|&anchor| self.byte(anchor) >> BLOCK_LOG));
            }
            !places.is_empty()
        };
        match self.picks {
            Picks::Gear => Gear::new(self.spacing_log).scan(new, |at, hash| {
                sight(at, hash);
            }),
            Picks::Grid => grid::sightings(new, self.spacing_log, |at, hash| {
                self.may_have(hash) && sight(at, hash)
            }),
        }
        blocks.sort_unstable();
        let weight = |byte: u64| {
            let block = byte >> BLOCK_LOG;
            blocks.partition_point(|&b| b <= block) - blocks.partition_point(|&b| b < block)
        };

        let mut trail: Vec<Step> = Vec::with_capacity(sightings.len());
        for (new, places) in sightings {
            let nearest = |expected: u64| {
                let after = places.partition_point(|&anchor| self.byte(anchor) < expected);
                places[after.saturating_sub(1)..places.len().min(after + 1)]
                    .iter()
                    .map(|&anchor| self.byte(anchor))
                    .min_by_key(|byte| byte.abs_diff(expected))
                    .filter(|byte| byte.abs_diff(expected) <= ON_DIAGONAL)
            };
            let onward = trail.last().map(|last| last.base + (new - last.new));
            let base = onward
                .and_then(nearest)
                .or_else(|| home.and_then(|home| nearest(home + new)))
                .or_else(|| {
                    let few = if places.len() <= PLACES_MAX {
                        places
                    } else {
                        &[]
                    };
                    let from = onward.or_else(|| home.map(|home| home + new)).unwrap_or(0);
                    few.iter()
                        .map(|&anchor| self.byte(anchor))
                        .max_by_key(|&byte| (weight(byte), std::cmp::Reverse(byte.abs_diff(from))))
                });
            trail.extend(base.map(|base| Step { new, base }));
        }
        trail
    }

    /// How far beyond an anchor content is likely to go on.
    fn margin(&self) -> u64 {
        (4u64 << self.spacing_log).max(1024)
    }

    /// Stretches of the line that the trail touches, with some margin.
    fn seen(&self, trail: &[Step]) -> Vec<Span> {
        let margin = self.margin();
        let around = |step: &Step| Span {
            bytes: step.base.saturating_sub(margin)..step.base + margin,
            votes: 1,
        };
        let mut spans = merge(trail.iter().map(around).collect(), margin);
        // One anchor alone may agree by chance, and is short in any case.
        spans.retain(|span| span.votes > 1);
        spans
    }

    /// What lies opposite to where the slice left no trail: it may be edited all over, or too
    /// plain for anchors.
    fn silent(&self, trail: &[Step], new_len: u64, home: Option<u64>) -> Vec<Span> {
        let margin = self.margin();
        let mut spans = Vec::new();
        let mut before = home.map(|base| Step { new: 0, base });
        let end = Step {
            new: new_len,
            base: 0,
        };
        for after in trail.iter().chain([&end]) {
            let quiet = before.map_or(0, |before| before.new)..after.new;
            let len = quiet.end - quiet.start;
            if len > 4 * margin {
                let onward = before.map(|before| before.base..before.base + len + margin);
                let at_home = home.map(|home| home + quiet.start..home + quiet.end);
                let both = onward.into_iter().chain(at_home);
                spans.extend(both.map(|bytes| Span { bytes, votes: 0 }));
            }
            before = Some(*after);
        }
        spans
    }

    /// Stretches of the line as ranges of files.
    fn in_files(&self, spans: &[Span]) -> Vec<BaseRange> {
        let mut ranges = Vec::new();
        for span in spans {
            let first = self.file_at(span.bytes.start) as usize;
            for (number, file) in self.files.iter().enumerate().skip(first) {
                let file_start = file.start << self.unit_log;
                if file_start >= span.bytes.end {
                    break;
                }
                let start = span.bytes.start.max(file_start);
                let end = span.bytes.end.min(file_start + file.len);
                if start < end {
                    let offset = start - file_start;
                    ranges.push(BaseRange {
                        file: number as u32,
                        offset,
                        len: end - start,
                    });
                }
            }
        }
        ranges
    }

    /// Whether there may be anchors with the fingerprint of `hash`.
    #[inline]
    fn may_have(&self, hash: u64) -> bool {
        let bit = self.filter_bit(hash);
        self.filter
            .get(bit >> 6)
            .is_some_and(|word| word >> (bit & 63) & 1 == 1)
    }

    #[inline]
    fn filter_bit(&self, hash: u64) -> usize {
        // The filter has a power of two of words, at least 2 and few enough for 32 bits.
        (hash >> (58 - self.filter.len().trailing_zeros())) as usize
    }

    /// All anchors with the fingerprint of `hash`, in order of place.
    fn places(&self, hash: u64) -> &[u64] {
        let bucket = (hash >> (64 - DIRECTORY_LOG)) as usize;
        let Some(&end) = self.directory.get(bucket + 1) else {
            return &[];
        };
        let bucket = &self.anchors[self.directory[bucket] as usize..end as usize];
        let place_bits = self.picks.place_bits();
        let fingerprint = hash >> place_bits;
        let start = bucket.partition_point(|anchor| anchor >> place_bits < fingerprint);
        let same = bucket[start..].partition_point(|anchor| anchor >> place_bits == fingerprint);
        &bucket[start..start + same]
    }

    /// The byte on the line that an anchor stands at, rounded down to a unit.
    fn byte(&self, anchor: u64) -> u64 {
        (anchor & ((1 << self.picks.place_bits()) - 1)) << self.unit_log
    }

    /// The file that a byte of the line lies in.
    fn file_at(&self, byte: u64) -> u32 {
        let place = byte >> self.unit_log;
        self.files
            .partition_point(|file| file.start <= place)
            .saturating_sub(1) as u32
    }
}

/// The pairs of a segment whose base is `ranges`, one behind the other, and whose new content has
/// `new_len` bytes and would lie at `home` if it had not changed. Ranges that no segment can have
/// give no pairs.
pub fn pairs_at_home(ranges: &[BaseRange], home: (u32, u64), new_len: u32) -> Vec<Pair> {
    let (file, new_start) = home;
    let new_end = new_start.saturating_add(new_len.into());
    let mut pairs = Vec::new();
    let mut base_at = 0u64;
    for range in ranges {
        let range_end = range.offset.saturating_add(range.len);
        let start = range.offset.max(new_start);
        let end = range_end.min(new_end);
        if range.file == file
            && start < end
            && let Ok(base_start) = u32::try_from(base_at.saturating_add(start - range.offset))
            && let Ok(base_len) = u32::try_from(range_end - start)
        {
            pairs.push(Pair {
                new_start: (start - new_start) as u32,
                new_len: (end - start) as u32,
                base_start,
                base_len,
            });
        }
        base_at = base_at.saturating_add(range.len);
    }
    pairs
}

/// An anchor of the slice, and where it is believed to lie in the base.
#[derive(Debug, Clone, Copy)]
struct Step {
    new: u64,
    base: u64,
}

#[derive(Debug, Clone)]
struct Span {
    bytes: Range<u64>,
    /// Anchors that speak for it.
    votes: u64,
}

impl Span {
    fn len(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }
}

/// As many of the seen spans as fit, most votes for their length first, then silent ones.
fn within_budget(mut seen: Vec<Span>, silent: Vec<Span>, len_max: u64) -> Vec<Span> {
    seen.sort_by_key(|span| std::cmp::Reverse((span.votes << 24) / span.len()));
    let mut left = len_max;
    let mut kept = Vec::new();
    for mut span in seen.into_iter().chain(silent) {
        span.bytes.end = span.bytes.start + span.len().min(left);
        left -= span.len();
        kept.push(span);
    }
    merge(kept, 0)
}

fn total_len(spans: &[Span]) -> u64 {
    spans.iter().map(Span::len).sum()
}

/// Sorted, and joined where they overlap or nearly do.
fn merge(mut spans: Vec<Span>, near: u64) -> Vec<Span> {
    spans.sort_by_key(|span| span.bytes.start);
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.bytes.start <= last.bytes.end + near => {
                last.bytes.end = last.bytes.end.max(span.bytes.end);
                last.votes += span.votes;
            }
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::noise;

    fn index(files: &[&[u8]]) -> CoarseIndex {
        let mut index = CoarseIndex::new(
            Effort::Max,
            files.iter().map(|file| file.len() as u64).sum(),
        );
        for file in files {
            index.add(*file).unwrap();
        }
        index.seal();
        index
    }

    fn covers(ranges: &[BaseRange], file: u32, bytes: Range<u64>) -> bool {
        ranges.iter().any(|range| {
            range.file == file
                && range.offset <= bytes.start
                && range.offset + range.len >= bytes.end
        })
    }

    fn total(ranges: &[BaseRange]) -> u64 {
        ranges.iter().map(|range| range.len).sum()
    }

    #[test]
    fn unchanged_content_names_its_own_place_and_little_else() {
        let files: Vec<_> = (0..4).map(|seed| noise(seed, 1 << 20)).collect();
        let index = index(&[&files[0], &files[1], &files[2], &files[3]]);
        let slice = &files[2][300_000..500_000];
        let ranges = index.ranges(slice, Some((2, 300_000)), 32 << 20);
        assert!(covers(&ranges, 2, 300_000..500_000), "{ranges:?}");
        assert!(total(&ranges) < 210_000, "{ranges:?}");
    }

    #[test]
    fn blocks_are_found_wherever_they_came_from() {
        let files: Vec<_> = (0..3).map(|seed| noise(seed, 1 << 20)).collect();
        let index = index(&[&files[0], &files[1], &files[2]]);
        let fresh = noise(99, 20_000);
        let slice = [
            &files[2][700_000..760_000],
            &fresh,
            &files[0][5_000..25_000],
        ]
        .concat();
        let ranges = index.ranges(&slice, None, 32 << 20);
        assert!(covers(&ranges, 2, 700_200..759_800), "{ranges:?}");
        assert!(covers(&ranges, 0, 5_200..24_800), "{ranges:?}");
        assert!(total(&ranges) < 200_000, "{ranges:?}");
    }

    #[test]
    fn at_the_fast_effort_long_blocks_are_found_wherever_they_came_from() {
        let files: Vec<_> = (0..3).map(|seed| noise(seed, 1 << 20)).collect();
        let mut index = CoarseIndex::new(Effort::Fast, 3 << 20);
        for file in &files {
            index.add(&file[..]).unwrap();
        }
        index.seal();
        for shift in [0, 1, 511, 2_345] {
            let slice = [
                &noise(98, shift)[..],
                &files[2][700_000..760_000],
                &noise(99, 20_000),
                &files[0][5_000..25_000],
            ]
            .concat();
            let ranges = index.ranges(&slice, None, 4 << 20);
            assert!(covers(&ranges, 2, 704_000..756_000), "{ranges:?}");
            assert!(covers(&ranges, 0, 9_000..21_000), "{ranges:?}");
            assert!(total(&ranges) < 200_000, "{ranges:?}");
        }
        assert_eq!(index.ranges(&noise(97, 1 << 20), None, 4 << 20), []);
    }

    #[test]
    fn of_two_equal_places_the_one_at_home_is_named() {
        let block = noise(1, 100_000);
        let twice = [&block[..], &noise(2, 100_000), &block].concat();
        let index = index(&[&twice]);
        for home in [0, 200_000] {
            let ranges = index.ranges(&block, Some((0, home)), 32 << 20);
            assert!(covers(&ranges, 0, home..home + 100_000), "{ranges:?}");
            assert!(total(&ranges) < 110_000, "{ranges:?}");
        }
    }

    #[test]
    fn content_edited_all_over_falls_back_to_its_home() {
        let old = noise(1, 200_000);
        let new: Vec<u8> = old
            .iter()
            .enumerate()
            .map(|(at, b)| b ^ u8::from(at % 40 == 0))
            .collect();
        let ranges = index(&[&old]).ranges(&new, Some((0, 0)), 32 << 20);
        assert!(covers(&ranges, 0, 0..200_000), "{ranges:?}");
    }

    #[test]
    fn the_budget_is_kept_and_spent_on_what_the_slice_has_most_of() {
        let file = noise(1, 2 << 20);
        let index = index(&[&file]);
        let slice = [
            &file[1_000_000..1_400_000],
            &noise(2, 1 << 20),
            &file[100_000..102_000],
        ]
        .concat();
        let ranges = index.ranges(&slice, Some((0, 0)), 420_000);
        assert!(total(&ranges) <= 420_000);
        assert!(covers(&ranges, 0, 1_001_000..1_399_000), "{ranges:?}");
    }

    #[test]
    fn pairs_at_home_lie_opposite_each_other() {
        let file = noise(1, 1 << 20);
        let ranges = [
            BaseRange {
                file: 0,
                offset: 0,
                len: 1000,
            },
            BaseRange {
                file: 0,
                offset: 299_000,
                len: 50_000,
            },
            BaseRange {
                file: 0,
                offset: 360_000,
                len: 100_000,
            },
            BaseRange {
                file: 1,
                offset: 300_000,
                len: 100_000,
            },
        ];
        let base: Vec<u8> = ranges
            .iter()
            .flat_map(|range| &file[range.offset as usize..][..range.len as usize])
            .copied()
            .collect();
        let new = &file[300_000..400_000];
        let pairs = pairs_at_home(&ranges, (0, 300_000), new.len() as u32);
        assert_eq!(pairs.len(), 2);
        for pair in pairs {
            let len = pair.new_len as usize;
            let opposite = &base[pair.base_start as usize..][..len];
            assert_eq!(&new[pair.new_start as usize..][..len], opposite);
        }
    }

    #[test]
    fn ranges_that_no_segment_can_have_give_no_pairs() {
        let range = |file, offset, len| BaseRange { file, offset, len };
        let far = [
            range(0, 0, u64::MAX),
            range(1, 5, u64::MAX),
            range(0, 10, 20),
        ];
        assert_eq!(pairs_at_home(&far, (0, u64::MAX), u32::MAX), []);
        assert_eq!(pairs_at_home(&far, (0, 10), 100), []);
    }

    #[test]
    fn a_home_that_the_index_does_not_have_is_none() {
        let file = noise(1, 100_000);
        let index = index(&[&file]);
        assert_eq!(
            index.ranges(&file, Some((7, 0)), 32 << 20),
            index.ranges(&file, None, 32 << 20)
        );
    }

    #[test]
    fn the_file_with_most_in_common_is_nearest() {
        let files: Vec<_> = (0..20).map(|seed| noise(seed, 30_000)).collect();
        let slices: Vec<&[u8]> = files.iter().map(|file| &file[..]).collect();
        let index = index(&slices);
        let new = [&files[3][..9_000], &files[17][5_000..20_000]].concat();
        assert_eq!(index.nearest_file(&new).map(|(file, _)| file), Some(17));
        assert_eq!(index.nearest_file(&noise(99, 30_000)), None);
    }

    #[test]
    fn ten_gibibytes_take_less_than_150_mebibytes() {
        let index = CoarseIndex::new(Effort::Max, 10 << 30);
        assert!(index.anchors.capacity() * size_of::<u64>() <= 150 << 20);
        let huge = CoarseIndex::new(Effort::Max, 1 << 50);
        assert!(huge.anchors.capacity() * size_of::<u64>() <= 150 << 20);
        assert!((1u64 << 50) >> huge.unit_log < 1 << Picks::Gear.place_bits());
    }

    #[test]
    fn an_unreadable_file_is_reported_and_never_named() {
        struct Torn;
        impl Content for Torn {
            fn len(&self) -> u64 {
                1 << 20
            }
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
                if offset > 0 {
                    return Err(ReadError {
                        offset,
                        cause: "torn".into(),
                    });
                }
                buf.copy_from_slice(&noise(1, buf.len()));
                Ok(())
            }
        }
        let mut index = CoarseIndex::new(Effort::Max, 1 << 20);
        assert_eq!(index.add(&Torn).unwrap_err().offset, 256 << 10);
        index.seal();
        assert_eq!(index.ranges(&noise(1, 200_000), None, 32 << 20), []);
    }
}
