use std::collections::BTreeSet;
use std::fmt;

use bellwether_fleet::Policy;
use bellwether_types::{Name, NodeId, VersionId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::node::Presence;

/// A change of one site on the nodes of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobWanted {
    /// What it does.
    pub kind: JobKind,
    /// Whose content.
    #[schema(value_type = String)]
    pub site: Name,
    /// Which part of it; `all` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub part: Option<Name>,
    /// On whose nodes.
    #[schema(value_type = String)]
    pub group: Name,
    /// The version that becomes live. Unless given, the latest that is kept; of a rollback, the one before what is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub target: Option<VersionId>,
    /// Only these nodes of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub nodes: Option<BTreeSet<NodeId>>,
    /// When it is due; at once unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// How it goes about it; as the site's policy says unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Changes of the staging source.
    Publish,
    /// The whole content, for nodes that have none.
    Replicate,
    /// What nodes missed.
    Synchronize,
    /// Back to a checkpoint.
    Restore,
    /// Back to what was live before.
    Rollback,
    /// To another version that nodes hold, without a transfer.
    Switch,
    /// The content goes.
    Remove,
    /// Content in demand, to more nodes.
    PublishHot,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobStatus {
    /// It waits for its time.
    Idle,
    /// It waits for another job on the same site and nodes.
    ConflictQueued,
    /// It runs.
    Running,
    /// It waits for its quorum.
    Deferred,
    /// All nodes have it.
    Completed,
    /// Some nodes have it, and the others are behind.
    #[serde(rename = "completed with missing nodes")]
    CompletedMissing,
    /// Nothing changed, because something failed.
    Failed,
    /// It was not begun, or its quorum was missing.
    Cancelled,
    /// It was called off while it ran.
    Aborted,
    /// It was undone.
    #[serde(rename = "rolled back")]
    RolledBack,
}

/// What a job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobPhase {
    /// It waits: for its time, its quorum, or another job.
    Waiting,
    /// What its nodes need is found out and made.
    Planning,
    /// Nodes get it and stage it.
    Distributing,
    /// It becomes live.
    Committing,
    /// It is taken back.
    RollingBack,
    /// What nodes staged is dropped.
    Dropping,
    /// It is over.
    Over,
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::ConflictQueued => "conflict-queued",
            Self::Running => "running",
            Self::Deferred => "deferred",
            Self::Completed => "completed",
            Self::CompletedMissing => "completed with missing nodes",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
            Self::RolledBack => "rolled back",
        })
    }
}

impl fmt::Display for JobPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Planning => "planning",
            Self::Distributing => "distributing",
            Self::Committing => "committing",
            Self::RollingBack => "rolling-back",
            Self::Dropping => "dropping",
            Self::Over => "over",
        })
    }
}

/// A job in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobLine {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// What it does.
    pub kind: JobKind,
    /// Whose content: a site, or `SITE@PART`.
    pub site: String,
    /// On whose nodes.
    #[schema(value_type = String)]
    pub group: Name,
    /// Where it stands.
    pub status: JobStatus,
    /// What becomes live; nothing if the content goes.
    #[schema(value_type = Option<String>)]
    pub target: Option<VersionId>,
    /// When it was asked for.
    pub created_ms: i64,
    /// When it changed last.
    pub changed_ms: i64,
    /// How many nodes it is for, once it began.
    pub nodes: u64,
    /// How many of them are where it wanted them, once it is over.
    pub done: u64,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobInfo {
    /// What a list shows of it.
    #[serde(flatten)]
    pub line: JobLine,
    /// Is it over?
    pub over: bool,
    /// What it is at.
    pub phase: JobPhase,
    /// Is it decided: is there no way back but a rollback?
    pub decided: bool,
    /// What was live before.
    #[schema(value_type = Option<String>)]
    pub previous: Option<VersionId>,
    /// How often it was tried again.
    pub attempt: u32,
    /// Why it waits or failed.
    pub why: Option<String>,
    /// How many nodes have staged it, and are not live yet.
    pub staged: u64,
    /// How many nodes said that it is live.
    pub live: u64,
    /// How far each segment is, as its leader said last.
    pub segments: Vec<JobProgress>,
    /// Nodes that are not where the job wants them, and why; at most 1000.
    pub faults: Vec<JobFault>,
    /// Changes whenever anything else here does.
    pub revision: u64,
}

/// How far a job is in one segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobProgress {
    /// The segment.
    #[schema(value_type = String)]
    pub segment: Name,
    /// Bytes of its assignments in all.
    pub bytes: u64,
    /// Proved bytes that the leader holds.
    pub fetched: u64,
    /// Bytes that all members together hold, of `needed`.
    pub received: u64,
    /// Bytes that are for the members, all together.
    pub needed: u64,
    /// Bytes that the members took in a second of late, all together.
    pub rate: u64,
    /// Bits in a second that the leader sends.
    pub wire_rate: u64,
    /// Milliseconds until all members have it at the present pace; nothing if it stands.
    pub left_ms: Option<u64>,
    /// Members that it is for.
    pub nodes: u32,
    /// Members that hold all of it.
    pub complete: u32,
    /// Members that staged it.
    pub staged: u32,
    /// Members that failed, or were given up.
    pub failed: u32,
    /// Members that are waited for while others are further, the very slowest first; at most 16.
    pub slowest: Vec<JobNode>,
}

/// How far a job is on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobNode {
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// What it calls itself.
    #[schema(value_type = String)]
    pub name: Name,
    /// Bytes that it holds, of `needed`.
    pub received: u64,
    /// Bytes that are for it.
    pub needed: u64,
}

/// A node that is not where a job wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobFault {
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Why.
    pub reason: String,
}

/// Which jobs, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct JobsPage {
    /// Those before this one; the latest unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many at most, 1 to 1000; 100 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only those of this site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub site: Option<Name>,
    /// Only those that are not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
}

/// When to answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// Once the revision is another than this; at once unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// And at the latest after this span, such as `30s` or `500ms`, at most a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<String>,
}

/// Who serves what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// What it calls itself.
    #[schema(value_type = String)]
    pub name: Name,
    /// Where it belongs.
    #[schema(value_type = String)]
    pub segment: Name,
    /// Whether it is there.
    pub presence: Presence,
    /// Does it lead its segment?
    pub leads: bool,
    /// What it serves, by its own receipts.
    pub serves: Vec<Served>,
}

/// What a node serves of a site, by the receipt that it signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Served {
    /// The site, or `SITE@PART`.
    pub site: String,
    /// The version.
    #[schema(value_type = String)]
    pub version: VersionId,
    /// When it became live, by the node's clock.
    pub live_ms: i64,
    /// What should be live there by the last job that was decided is another version.
    pub behind: bool,
}

/// Whose status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct StatusPage {
    /// Those of nodes after this id; of the first ones unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many nodes at most, 1 to 1000; 100 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only what they serve of this site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub site: Option<Name>,
}

crate::endpoint::queries!(JobsPage, Since, StatusPage);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_the_words_that_programs_do() {
        use JobPhase as P;
        use JobStatus as S;
        let statuses = [
            S::Idle,
            S::ConflictQueued,
            S::Running,
            S::Deferred,
            S::Completed,
            S::CompletedMissing,
            S::Failed,
            S::Cancelled,
            S::Aborted,
            S::RolledBack,
        ];
        for status in statuses {
            let word = serde_json::to_value(status).unwrap();
            assert_eq!(word, status.to_string());
        }
        let phases = [
            P::Waiting,
            P::Planning,
            P::Distributing,
            P::Committing,
            P::RollingBack,
            P::Dropping,
            P::Over,
        ];
        for phase in phases {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.to_string());
        }
    }
}
