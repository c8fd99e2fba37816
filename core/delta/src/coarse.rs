//! Where in many base files, of any size, content like this slice may lie.
//!
//! The index holds one *anchor* ([`Gear`]) for every few hundred bytes of the base, in eight bytes
//! each; the larger the base, the fewer. A slice of new content looks its own anchors up and
//! follows them: as long as they agree on a diagonal they are believed, and where they leave it
//! the place that most anchors of the slice point to wins. What comes out are ranges of files, a
//! little wider than the anchors; matching byte by byte is left to
//! [`match_segment`](crate::match_segment).

use crate::Pair;
use crate::content::{Content, ReadError};
use crate::gear::Gear;
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
    spacing_log: u32,
    unit_log: u32,
    /// Where each file starts on the line, in units, and how long it is in bytes.
    files: Vec<File>,
    /// Fingerprint in the high bits, place in the low ones; sorted once sealed.
    anchors: Vec<u64>,
    /// By the highest bits of a fingerprint: where its anchors begin.
    directory: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct File {
    start: u64,
    len: u64,
}

/// Bits of an anchor that say its place; the others are its fingerprint.
const PLACE_BITS: u32 = 34;
/// The most anchors that are wanted, 128 MiB of them.
const ANCHORS_MAX: u64 = 16 << 20;
/// Anchors closer than this are not worth their memory.
const SPACING_LOG_MIN: u32 = 7;
/// Positions are rounded to this many bytes, or more for a base that would not fit the line.
const UNIT_LOG_MIN: u32 = 4;
const DIRECTORY_LOG: u32 = 16;
/// Ranges with fewer bytes between them become one: naming a range costs bytes too.
const JOIN_LEN: u64 = 64 << 10;

impl CoarseIndex {
    /// An index for base files that have about `total_len` bytes together.
    pub fn new(total_len: u64) -> Self {
        let halvings = |value: u64| u64::BITS - value.leading_zeros();
        let spacing_log = halvings(total_len.saturating_sub(1) / ANCHORS_MAX).max(SPACING_LOG_MIN);
        let unit_log = halvings(total_len >> (PLACE_BITS - 1)).max(UNIT_LOG_MIN);
        let expected = (total_len >> spacing_log) as usize;
        Self {
            spacing_log,
            unit_log,
            files: Vec::new(),
            anchors: Vec::with_capacity(expected + expected / 8),
            directory: Vec::new(),
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
            gear.scan(&piece, |end, hash| {
                let place = start + (end >> self.unit_log);
                // Places beyond the line come up only if `total_len` was far too low.
                if place >> PLACE_BITS == 0 {
                    self.anchors.push(hash >> PLACE_BITS << PLACE_BITS | place);
                }
            });
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
    }

    /// Ranges of base files that a slice of new content should be matched with, in order of file
    /// and offset, at most `len_max` bytes in all.
    ///
    /// `home` is where the slice would lie if it had not changed: a file and an offset in it.
    pub fn ranges(&self, new: &[u8], home: Option<(u32, u64)>, len_max: u64) -> Vec<BaseRange> {
        let home = home.map(|(file, offset)| {
            let file = &self.files[file as usize];
            (file.start << self.unit_log) + offset.min(file.len)
        });
        let trail = self.trail(new, home);
        let spans = self.spans(&trail, new.len() as u64, home);
        self.within_budget(spans, len_max)
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
        Gear::new(self.spacing_log).scan(new, |end, hash| {
            let places = self.places(hash);
            if !places.is_empty() {
                sightings.push((end, places));
                let few = if places.len() <= PLACES_MAX {
                    places
                } else {
                    &[]
                };
                blocks.extend(few.iter().map(|&anchor| self.byte(anchor) >> BLOCK_LOG));
            }
        });
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
                    let from = onward.or(home.map(|home| home + new)).unwrap_or(0);
                    few.iter()
                        .map(|&anchor| self.byte(anchor))
                        .max_by_key(|&byte| (weight(byte), std::cmp::Reverse(byte.abs_diff(from))))
                });
            trail.extend(base.map(|base| Step { new, base }));
        }
        trail
    }

    /// Stretches of the line that the trail touches, with some margin, and what lies opposite to
    /// where the slice left no trail; each with the number of anchors that speak for it.
    fn spans(&self, trail: &[Step], new_len: u64, home: Option<u64>) -> Vec<Span> {
        let margin = (4u64 << self.spacing_log).max(1024);
        // Without an anchor for so long, the content is new, edited all over, or too plain.
        let silence = 4 * margin;
        let mut spans: Vec<Span> = trail
            .iter()
            .map(|step| Span {
                bytes: step.base.saturating_sub(margin)..step.base + margin,
                votes: 1,
            })
            .collect();
        let mut before = Step {
            new: 0,
            base: home.unwrap_or(0),
        };
        let end = Step {
            new: new_len,
            base: 0,
        };
        for (number, after) in trail.iter().chain([&end]).enumerate() {
            let quiet = before.new..after.new;
            if quiet.end - quiet.start > silence {
                if number > 0 || home.is_some() {
                    let len = quiet.end - quiet.start;
                    spans.push(Span {
                        bytes: before.base..before.base + len + margin,
                        votes: 0,
                    });
                }
                if let Some(home) = home {
                    spans.push(Span {
                        bytes: home + quiet.start..home + quiet.end,
                        votes: 0,
                    });
                }
            }
            before = *after;
        }
        let mut spans = merge(spans, margin.max(JOIN_LEN));
        // One anchor alone may agree by chance, and is short in any case.
        spans.retain(|span| span.votes != 1);
        spans
    }

    /// The spans as ranges of files; when they are too much, those with the fewest votes for
    /// their length are left out.
    fn within_budget(&self, spans: Vec<Span>, len_max: u64) -> Vec<BaseRange> {
        let mut ranges: Vec<(u64, BaseRange)> = Vec::new();
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
                    let range = BaseRange {
                        file: number as u32,
                        offset,
                        len: end - start,
                    };
                    ranges.push((span.votes, range));
                }
            }
        }
        ranges.sort_by_key(|&(votes, range)| std::cmp::Reverse((votes << 24) / range.len));
        let mut left = len_max;
        let mut kept: Vec<BaseRange> = ranges
            .into_iter()
            .filter_map(|(_, range)| {
                let len = range.len.min(left);
                left -= len;
                (len > 0).then_some(BaseRange { len, ..range })
            })
            .collect();
        kept.sort_unstable();
        kept
    }

    /// All anchors with the fingerprint of `hash`, in order of place.
    fn places(&self, hash: u64) -> &[u64] {
        let bucket = (hash >> (64 - DIRECTORY_LOG)) as usize;
        let Some(&end) = self.directory.get(bucket + 1) else {
            return &[];
        };
        let bucket = &self.anchors[self.directory[bucket] as usize..end as usize];
        let fingerprint = hash >> PLACE_BITS;
        let start = bucket.partition_point(|anchor| anchor >> PLACE_BITS < fingerprint);
        let same = bucket[start..].partition_point(|anchor| anchor >> PLACE_BITS == fingerprint);
        &bucket[start..start + same]
    }

    /// The byte on the line where an anchor's window ends, rounded down to a unit.
    fn byte(&self, anchor: u64) -> u64 {
        (anchor & ((1 << PLACE_BITS) - 1)) << self.unit_log
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
/// `new_len` bytes and would lie at `home` if it had not changed.
pub fn pairs_at_home(ranges: &[BaseRange], home: (u32, u64), new_len: u32) -> Vec<Pair> {
    let (file, new_start) = home;
    let new_end = new_start + u64::from(new_len);
    let mut pairs = Vec::new();
    let mut base_at = 0;
    for range in ranges {
        let start = range.offset.max(new_start);
        let end = (range.offset + range.len).min(new_end);
        if range.file == file && start < end {
            pairs.push(Pair {
                new_start: (start - new_start) as u32,
                new_len: (end - start) as u32,
                base_start: base_at + (start - range.offset) as u32,
                base_len: (range.offset + range.len - start) as u32,
            });
        }
        base_at += range.len as u32;
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
    votes: u64,
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
