//! An update being made: commands, and the groups of segments that bring what the base lacks.
//!
//! [`Update::plan`] decides everything that manifests can tell. Each group is then an independent
//! task, which reads contents through [`Contents`]; groups may be coded on any threads, and the
//! result does not depend on it.

use bellwether_delta::{Codec, Effort, Pair, match_segment, pairs_at_home};
use bellwether_types::TreePath;

use crate::assignment::{BaseRange, GroupSpec, Limits, SegmentSpec, SegmentWriter, cut};
use crate::command::{Command, WriteFile};
use crate::manifest::Manifest;
use crate::planner::{self, Hints};
use crate::tree::{ApplyError, Tree};

/// Where contents are read from.
pub trait Contents {
    /// Why a content cannot be read.
    type Error;

    /// Fills `buf` from `offset` on of a file of the base.
    fn read_base(&self, path: &TreePath, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error>;

    /// Fills `buf` from `offset` on of a file of the target.
    fn read_target(&self, path: &TreePath, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error>;

    /// Ranges of the base that are worth naming for new content that is not, or not wholly,
    /// covered by a base of its own; at most `len_max` bytes in all.
    fn search_base(
        &self,
        write: &WriteFile,
        offset: u64,
        new: &[u8],
        len_max: u64,
    ) -> Result<Vec<BaseRange>, Self::Error>;
}

/// How contents are to be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// Work for few bytes.
    pub effort: Effort,
    /// The most bytes of an assignment, if its size is limited (ASSIGN-12).
    pub size_max: Option<u64>,
}

/// What must be done to bring a base to a target.
#[derive(Debug)]
pub struct Update<'m> {
    base: &'m Manifest,
    coding: Coding,
    commands: Vec<Command>,
    body: Vec<u8>,
    writes: Vec<WriteFile>,
    groups: Vec<GroupSpec<bool>>,
}

impl Coding {
    /// The least limit of an assignment's size.
    pub const SIZE_MIN: u64 = 256 << 10;

    fn limits(self) -> Limits {
        let mut limits = match self.effort {
            Effort::Fast | Effort::Default => Limits {
                segment_new_max: 4 << 20,
                segment_base_max: 16 << 20,
                group_new_max: 32 << 20,
            },
            Effort::Max => Limits {
                segment_new_max: 8 << 20,
                segment_base_max: 16 << 20,
                group_new_max: 512 << 20,
            },
        };
        if let Some(size_max) = self.size_max {
            // Whatever a group holds, coded it must fit into an assignment beside its header.
            let group_max = (size_max.max(Self::SIZE_MIN) * 9 / 10).saturating_sub(16 << 10);
            limits.group_new_max = limits.group_new_max.min(group_max);
            limits.segment_new_max = limits.segment_new_max.min(group_max);
        }
        limits
    }
}

impl<'m> Update<'m> {
    /// Plans the commands, proves them against both manifests, and cuts the contents.
    ///
    /// # Errors
    /// Only if the planner is at fault: its commands do not lead to the target.
    pub fn plan(
        base: &'m Manifest,
        target: &Manifest,
        hints: &Hints<'_>,
        coding: Coding,
    ) -> Result<Self, PlanError> {
        let commands = planner::plan(base, target, hints)?;
        if !planner::check(base, &commands, target)? {
            return Err(PlanError::OtherTarget);
        }
        let mut tree = Tree::new(base);
        let body = crate::body::encode(&commands, &mut tree)?;
        let writes = tree.written().to_vec();
        let class = |write: &WriteFile| (hints.compressible)(&write.path);
        let groups = cut(&writes, base, coding.limits(), class);
        Ok(Self {
            base,
            coding,
            commands,
            body,
            writes,
            groups,
        })
    }

    /// The commands.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// The commands as the body of an assignment, not compressed.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The files whose content is sent.
    pub fn writes(&self) -> &[WriteFile] {
        &self.writes
    }

    /// How many groups there are to code.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// All content that the update writes.
    pub fn content_len(&self) -> u64 {
        self.writes.iter().map(|write| write.size).sum()
    }

    /// The content of one group.
    pub fn group_len(&self, group: usize) -> u64 {
        self.groups[group]
            .segments
            .iter()
            .map(SegmentSpec::new_len)
            .sum()
    }

    /// Codes one group for the data file.
    ///
    /// # Errors
    /// If a content cannot be read.
    pub fn code_group<C: Contents>(
        &self,
        group: usize,
        contents: &C,
        progress: &dyn Fn(u64),
    ) -> Result<Vec<u8>, C::Error> {
        let GroupSpec { class, segments } = &self.groups[group];
        let codec = if *class {
            Codec::of(self.coding.effort)
        } else {
            Codec::Stored
        };
        let mut writer = SegmentWriter::new(codec, &self.writes, self.base);
        let (mut base, mut new) = (Vec::new(), Vec::new());
        for spec in segments {
            read_new(spec, &self.writes, contents, &mut new)?;
            let mut spec = spec.clone();
            if spec.search {
                spec.base = self.search(&spec, &new, contents)?;
            }
            read_base(&spec.base, contents, &mut base)?;
            let pairs = match spec.search {
                true => searched_pairs(&spec, &self.writes, new.len()),
                false => pairs(&spec, &self.writes),
            };
            let matches = match_segment(self.coding.effort, &base, &new, &pairs);
            writer.segment(&spec, &base, &new, &matches);
            progress(new.len() as u64);
        }
        Ok(writer.finish())
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

/// A planner's fault.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A command does not apply.
    #[error("the planned commands cannot be applied; please report this as a bug")]
    Apply(#[from] ApplyError),
    /// The commands lead elsewhere.
    #[error("the planned commands do not lead to the target; please report this as a bug")]
    OtherTarget,
}

fn read_new<C: Contents>(
    spec: &SegmentSpec,
    writes: &[WriteFile],
    contents: &C,
    new: &mut Vec<u8>,
) -> Result<(), C::Error> {
    new.clear();
    for piece in &spec.pieces {
        let start = new.len();
        new.resize(start + piece.len as usize, 0);
        contents.read_target(&writes[piece.write].path, piece.offset, &mut new[start..])?;
    }
    Ok(())
}

fn read_base<C: Contents>(
    ranges: &[BaseRange],
    contents: &C,
    base: &mut Vec<u8>,
) -> Result<(), C::Error> {
    base.clear();
    for range in ranges {
        let start = base.len();
        base.resize(start + range.len as usize, 0);
        contents.read_base(&range.path, range.offset, &mut base[start..])?;
    }
    Ok(())
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
