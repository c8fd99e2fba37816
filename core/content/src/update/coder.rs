//! Coding groups: contents are read, matched with what nodes hold, and written as segments.

use bellwether_delta::{Codec, Effort, Matcher, Pair, lies_opposite, pairs_at_home};

use super::{Contents, Update};
use crate::assignment::{BaseRange, GroupSpec, SegmentSpec, SegmentWriter};
use crate::command::WriteFile;
use crate::manifest::Entry;

/// Codes groups one after the other, in any order. Its buffers are kept from one to the next, which
/// saves fresh pages.
#[derive(Debug)]
pub struct GroupCoder<'u> {
    update: &'u Update<'u>,
    matcher: Matcher,
    base: Buffer,
    new: Buffer,
}

impl<'u> GroupCoder<'u> {
    pub(super) fn new(update: &'u Update<'u>) -> Self {
        Self {
            update,
            matcher: Matcher::new(update.coding.effort),
            base: Buffer::default(),
            new: Buffer::default(),
        }
    }

    /// Codes one group for the data file.
    ///
    /// # Errors
    /// If a content cannot be read.
    pub fn group<C: Contents>(
        &mut self,
        group: usize,
        contents: &C,
        progress: &dyn Fn(u64),
    ) -> Result<Vec<u8>, C::Error> {
        let update = self.update;
        let GroupSpec { class, segments } = &update.groups[group];
        let codec = if *class {
            Codec::of(update.coding.effort, update.new_len)
        } else {
            Codec::Stored
        };
        let mut writer = SegmentWriter::new(codec, &update.writes, update.base);
        for spec in segments {
            let new = self.new.read_new(spec, &update.writes, contents)?;
            let mut spec = spec.clone();
            let is_home = match update.home(&spec) {
                None => false,
                Some(home) => {
                    spec.base = vec![home];
                    lies_opposite(self.base.read_base(&spec.base, contents)?, new)
                }
            };
            if spec.search && !is_home {
                spec.base = update.search(&spec, new, contents)?;
            }
            let pairs = if !spec.search {
                pairs(&spec, &update.writes)
            } else if is_home || update.coding.effort != Effort::Fast {
                searched_pairs(&spec, &update.writes, new.len())
            } else {
                Vec::new()
            };
            let base = match is_home {
                true => self.base.content(),
                false => self.base.read_base(&spec.base, contents)?,
            };
            let matches = self.matcher.segment(base, new, &pairs);
            writer.segment(&spec, base, new, &matches);
            progress(new.len() as u64);
        }
        Ok(writer.finish())
    }
}

impl Update<'_> {
    /// Where the content of a segment that searches would lie if it had not moved, when that is to
    /// be tried first.
    fn home(&self, spec: &SegmentSpec) -> Option<BaseRange> {
        let piece = spec.pieces.first()?;
        let path = self.writes[piece.write].base.as_ref()?;
        let Some(Entry::File(file)) = self.base.get(path) else {
            return None;
        };
        let is_tried = self.coding.effort == Effort::Fast && spec.search;
        (is_tried && piece.offset < file.size).then(|| BaseRange {
            path: path.clone(),
            offset: piece.offset,
            len: piece.len.min(file.size - piece.offset),
        })
    }

    fn search<C: Contents>(
        &self,
        spec: &SegmentSpec,
        new: &[u8],
        contents: &C,
    ) -> Result<Vec<BaseRange>, C::Error> {
        let len_max = self.coding.limits().segment_base_max;
        // A segment that searches has one piece.
        spec.pieces.first().map_or(Ok(Vec::new()), |piece| {
            contents.search_base(&self.writes[piece.write], piece.offset, new, len_max)
        })
    }
}

/// Contents end to end. It never shrinks, and is not cleared before something is read into it.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Where the contents start: at a page, because some processors copy to other addresses at
    /// half the speed.
    start: usize,
    len: usize,
}

impl Buffer {
    const PAGE_LEN: usize = 4096;

    fn read_new<C: Contents>(
        &mut self,
        spec: &SegmentSpec,
        writes: &[WriteFile],
        contents: &C,
    ) -> Result<&[u8], C::Error> {
        let mut rest = self.room(spec.new_len());
        for piece in &spec.pieces {
            let (buf, after) = rest.split_at_mut(piece.len as usize);
            contents.read_target(&writes[piece.write].path, piece.offset, buf)?;
            rest = after;
        }
        Ok(self.content())
    }

    fn read_base<C: Contents>(
        &mut self,
        ranges: &[BaseRange],
        contents: &C,
    ) -> Result<&[u8], C::Error> {
        let mut rest = self.room(ranges.iter().map(|range| range.len).sum());
        for range in ranges {
            let (buf, after) = rest.split_at_mut(range.len as usize);
            contents.read_base(&range.path, range.offset, buf)?;
            rest = after;
        }
        Ok(self.content())
    }

    /// What was read last.
    fn content(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }

    fn room(&mut self, len: u64) -> &mut [u8] {
        self.len = len as usize;
        if self.bytes.len() < self.len + Self::PAGE_LEN {
            self.bytes = vec![0; self.len + Self::PAGE_LEN];
            let to_page = self.bytes.as_ptr().align_offset(Self::PAGE_LEN);
            self.start = to_page.min(Self::PAGE_LEN);
        }
        &mut self.bytes[self.start..][..self.len]
    }
}

/// Which runs of the new bytes have a base of their own among the base bytes, which are whole
/// files.
fn pairs(spec: &SegmentSpec, writes: &[WriteFile]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let (mut new_start, mut base_end) = (0, 0);
    let mut ranges = spec.base.iter();
    let mut last: Option<(u32, &BaseRange)> = None;
    for piece in &spec.pieces {
        let new_len = piece.len as u32;
        if let Some(own) = &writes[piece.write].base {
            if last.is_none_or(|(_, range)| range.path != *own) {
                last = ranges.next().map(|range| (base_end, range));
                base_end += last.map_or(0, |(_, range)| range.len as u32);
            }
            if let Some((start, range)) = last {
                // From the same place of the old file on.
                let skipped = piece.offset.min(range.len) as u32;
                pairs.push(Pair {
                    new_start,
                    new_len,
                    base_start: start + skipped,
                    base_len: range.len as u32 - skipped,
                });
            }
        }
        new_start += new_len;
    }
    pairs
}

/// The same for a slice of one large file, of whose base there are ranges among the base bytes.
fn searched_pairs(spec: &SegmentSpec, writes: &[WriteFile], new_len: usize) -> Vec<Pair> {
    let Some(piece) = spec.pieces.first() else {
        return Vec::new();
    };
    let Some(own) = &writes[piece.write].base else {
        return Vec::new();
    };
    // Only one file matters: its number is 0, that of any other 1.
    let ranges = spec.base.iter().map(|range| bellwether_delta::BaseRange {
        file: u32::from(range.path != *own),
        offset: range.offset,
        len: range.len,
    });
    let ranges: Vec<_> = ranges.collect();
    pairs_at_home(&ranges, (0, piece.offset), new_len as u32)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use bellwether_types::{Hash, TreePath};

    use super::*;
    use crate::manifest::{File, Manifest, Mode, Timestamp};
    use crate::planner::Hints;
    use crate::update::Coding;

    /// One file, before and after, and how often it was looked for elsewhere.
    struct Both {
        old: Vec<u8>,
        new: Vec<u8>,
        searches: Cell<usize>,
    }

    impl Contents for Both {
        type Error = Infallible;

        fn read_base(&self, _: &TreePath, offset: u64, buf: &mut [u8]) -> Result<(), Infallible> {
            buf.copy_from_slice(&self.old[offset as usize..][..buf.len()]);
            Ok(())
        }

        fn read_target(&self, _: &TreePath, offset: u64, buf: &mut [u8]) -> Result<(), Infallible> {
            buf.copy_from_slice(&self.new[offset as usize..][..buf.len()]);
            Ok(())
        }

        fn search_base(
            &self,
            _: &WriteFile,
            _: u64,
            _: &[u8],
            _: u64,
        ) -> Result<Vec<BaseRange>, Infallible> {
            self.searches.set(self.searches.get() + 1);
            Ok(Vec::new())
        }
    }

    /// Bytes sent and searches made for a file that becomes another at the fast effort.
    fn cost(old: Vec<u8>, new: Vec<u8>) -> (usize, usize) {
        let tree = |content: &[u8]| {
            let file = File {
                mode: Mode::new(0o644).unwrap(),
                owner: None,
                size: content.len() as u64,
                hash: Hash::of(content),
                modified: Timestamp::default(),
            };
            let path = TreePath::new(*b"disk.img").unwrap();
            Manifest::from_entries([(path, Entry::File(file))]).unwrap()
        };
        let (base, target) = (tree(&old), tree(&new));
        let coding = Coding {
            effort: Effort::Fast,
            size_max: None,
        };
        let update = Update::plan(&base, &target, &Hints::NONE, coding).unwrap();
        let both = Both {
            old,
            new,
            searches: Cell::new(0),
        };
        let mut coder = update.coder();
        let groups = (0..update.group_count()).map(|group| {
            let Ok(bytes) = coder.group(group, &both, &|_| {});
            bytes.len()
        });
        (groups.sum(), both.searches.get())
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut byte = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| byte()).collect()
    }

    /// DELTA-05.
    #[test]
    fn at_the_fast_effort_a_large_file_is_looked_for_only_where_it_left_its_place() {
        let old = noise(6 << 20);
        let mut edited = old.clone();
        edited.iter_mut().step_by(5_000).for_each(|byte| *byte ^= 1);
        edited.extend_from_slice(b"appended");
        let (len, searches) = cost(old.clone(), edited);
        assert_eq!(searches, 1, "for the segment behind the old end");
        assert!(len < 10_000, "{len}");

        let shifted = [b"inserted", &old[..]].concat();
        assert_eq!(cost(old, shifted).1, 7, "for every segment");
    }
}
