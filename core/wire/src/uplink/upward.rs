use bellwether_types::{Epoch, Incarnation, Name, NodeId};
use minicbor::{Decode, Encode};

use super::outcome::Outcomes;
use super::report::Report;
use super::{JOBS_MAX, NODES_MAX};
use crate::control::Formats;

/// A message of a leader to the control server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Upward {
    /// The first message: who speaks.
    #[n(0)]
    Hello(#[n(0)] Hello),
    /// Who belongs to the segment, or what changed in it (CLUSTER-01, CLUSTER-05, CLUSTER-06).
    #[n(1)]
    Segment(#[n(0)] Report),
    /// How far a job is. A later one replaces an earlier one, and one that is lost does no harm.
    #[n(2)]
    Progress(#[n(0)] Progress),
    /// What became of a job on nodes (REPORT-09).
    #[n(3)]
    Outcomes(#[n(0)] Outcomes),
    /// The answer to a [`Ping`](super::Ping).
    #[n(4)]
    Pong(#[n(0)] Pong),
}

/// For which segment a leader speaks. Of several, the control server hears the one with the highest epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Hello {
    /// The segment.
    #[n(0)]
    pub segment: Name,
    /// The reign.
    #[n(1)]
    pub epoch: Epoch,
    /// The leader's start.
    #[n(2)]
    pub incarnation: Incarnation,
    /// What all of the segment can read.
    #[n(3)]
    pub formats: Formats,
    /// The number of the newest settings that the leader holds; 0 if none.
    #[n(4)]
    pub settings: u64,
    /// Jobs of which the leader knows that they are not over, at most [`Self::JOBS_MAX`].
    #[n(5)]
    pub jobs: Vec<Name>,
}

/// How far a job is in a segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Progress {
    /// The job.
    #[n(0)]
    pub job: Name,
    /// Bytes of its assignments in all, for this segment.
    #[n(1)]
    pub bytes: u64,
    /// Proved bytes that the leader holds.
    #[n(2)]
    pub fetched: u64,
    /// Bytes that the members together hold, of those that are for them.
    #[n(3)]
    pub received: u64,
    /// Bits in a second that the leader sends.
    #[n(4)]
    pub rate: u64,
    /// Members it is for.
    #[n(5)]
    pub nodes: u32,
    /// Members that hold it all.
    #[n(6)]
    pub complete: u32,
    /// Members that have staged it.
    #[n(7)]
    pub staged: u32,
    /// Members that failed or were given up.
    #[n(8)]
    pub failed: u32,
    /// Members that are waited for while others are further, the very slowest first; at most [`Self::SLOWEST_MAX`].
    #[n(9)]
    pub slowest: Vec<NodeProgress>,
    /// Bytes that are for the members, all together: not every one needs all files.
    #[n(10)]
    #[cbor(default)]
    pub needed: u64,
}

/// How far one member is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct NodeProgress {
    /// The member.
    #[n(0)]
    pub node: NodeId,
    /// Bytes that it holds of those that are for it.
    #[n(1)]
    pub received: u64,
    /// Bytes that are for it.
    #[n(2)]
    #[cbor(default)]
    pub needed: u64,
}

/// When a ping came and was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Pong {
    /// The ping's.
    #[n(0)]
    pub number: u64,
    /// When the ping came, in microseconds of the answerer's steady clock.
    #[n(1)]
    pub received_us: u64,
    /// When this answer was sent, likewise.
    #[n(2)]
    pub sent_us: u64,
}

impl Hello {
    /// The most jobs that are named.
    pub const JOBS_MAX: usize = JOBS_MAX;
}

impl Progress {
    /// The most members that are named.
    pub const SLOWEST_MAX: usize = 16;
}

impl Upward {
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Hello(hello) if hello.jobs.len() > Hello::JOBS_MAX => {
                Some("a greeting names more than 1,024 jobs")
            }
            Self::Progress(progress) if progress.slowest.len() > Progress::SLOWEST_MAX => {
                Some("progress names more than 16 of the slowest")
            }
            Self::Pong(pong) if pong.sent_us < pong.received_us => {
                Some("an answer was sent before its question came")
            }
            Self::Outcomes(outcomes) if outcomes.nodes.len() > NODES_MAX => {
                Some("outcomes are of more nodes than a segment may have")
            }
            Self::Outcomes(outcomes) => outcomes.fault(),
            Self::Segment(report) => report.fault(),
            Self::Hello(_) | Self::Progress(_) | Self::Pong(_) => None,
        }
    }
}
