//! An update being made: commands, and the groups of segments that bring what the base lacks.
//!
//! [`Update::plan`] decides everything that manifests can tell. Each group is then an independent
//! task, which reads contents through [`Contents`]; groups may be coded on any threads, and the
//! result does not depend on it.

mod coder;

use bellwether_delta::Effort;
use bellwether_types::TreePath;

use crate::assignment::{BaseRange, GroupSpec, Limits, SegmentSpec, cut};
use crate::command::{Command, WriteFile};
use crate::manifest::Manifest;
use crate::planner::{self, Hints};
use crate::tree::{ApplyError, Tree};

pub use coder::GroupCoder;

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
    /// Bytes of the files among them that have no base.
    new_len: u64,
    groups: Vec<GroupSpec<bool>>,
}

impl Coding {
    /// The least limit of an assignment's size.
    pub const SIZE_MIN: u64 = 256 << 10;

    /// How many groups may be coded at a time, lest memory outgrow what planning may take: a coder
    /// holds its tables and, if nothing compresses, a group.
    pub fn coders_max(self) -> usize {
        match self.effort {
            Effort::Fast => 8,
            Effort::Default => 3,
            Effort::Max => 2,
        }
    }

    fn limits(self) -> Limits {
        let mut limits = match self.effort {
            Effort::Fast => Limits {
                // So small that content and index stay in a core's caches.
                segment_new_max: 1 << 20,
                segment_base_max: 4 << 20,
                group_new_max: 32 << 20,
            },
            Effort::Default => Limits {
                segment_new_max: 4 << 20,
                segment_base_max: 16 << 20,
                group_new_max: 64 << 20,
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
        let new = writes.iter().filter(|write| write.base.is_none());
        let new_len = new.map(|write| write.size).sum();
        let class = |write: &WriteFile| (hints.compressible)(&write.path);
        let groups = cut(&writes, base, coding.limits(), class);
        Ok(Self {
            base,
            coding,
            commands,
            body,
            writes,
            new_len,
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

    /// What codes groups on one thread.
    pub fn coder(&self) -> GroupCoder<'_> {
        GroupCoder::new(self)
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
