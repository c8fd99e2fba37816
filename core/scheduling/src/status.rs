use std::fmt;

use minicbor::{Decode, Encode};

/// Where a job stands, for people and schedules (SCHED-14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Status {
    /// It waits for its time.
    #[n(0)]
    Idle,
    /// It waits for another job on the same site and nodes.
    #[n(1)]
    ConflictQueued,
    /// It runs.
    #[n(2)]
    Running,
    /// It waits for its quorum.
    #[n(3)]
    Deferred,
    /// All nodes have it.
    #[n(4)]
    Completed,
    /// Some nodes have it, and the others are behind.
    #[n(5)]
    CompletedMissing,
    /// Nothing changed, because something failed.
    #[n(6)]
    Failed,
    /// It was not begun, or its quorum was missing: by policy, or by somebody.
    #[n(7)]
    Cancelled,
    /// It was called off while it ran.
    #[n(8)]
    Aborted,
    /// It was undone.
    #[n(9)]
    RolledBack,
}

impl Status {
    /// All of them, with what they are called.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Idle, "idle"),
        (Self::ConflictQueued, "conflict-queued"),
        (Self::Running, "running"),
        (Self::Deferred, "deferred"),
        (Self::Completed, "completed"),
        (Self::CompletedMissing, "completed with missing nodes"),
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
        (Self::Aborted, "aborted"),
        (Self::RolledBack, "rolled back"),
    ];

    /// Whether `to` may follow.
    pub const fn may_become(self, to: Self) -> bool {
        use Status::{
            Aborted, Cancelled, Completed, CompletedMissing, ConflictQueued, Deferred, Failed,
            Idle, RolledBack, Running,
        };
        match self {
            Idle | ConflictQueued => {
                matches!(to, ConflictQueued | Running | Deferred | Cancelled)
            }
            Running => matches!(
                to,
                Deferred | Completed | CompletedMissing | Failed | Cancelled | Aborted | RolledBack
            ),
            Deferred => matches!(to, ConflictQueued | Running | Cancelled),
            // Nodes that were missing caught up; a later job took it back.
            CompletedMissing => matches!(to, Completed | RolledBack),
            Completed => matches!(to, RolledBack),
            Failed | Cancelled | Aborted | RolledBack => false,
        }
    }

    /// Whether the job is over.
    pub const fn is_over(self) -> bool {
        !matches!(
            self,
            Self::Idle | Self::ConflictQueued | Self::Running | Self::Deferred
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(status, _)| status == self);
        f.write_str(name.map_or("unknown", |(_, name)| name))
    }
}
