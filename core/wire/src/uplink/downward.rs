use bellwether_types::{Epoch, Name, NodeId, Serial, SitePart, Term, VersionId};
use minicbor::{Decode, Encode};

use super::{JOBS_MAX, NODES_MAX, within};
use crate::control::Value;
use crate::transfer::AssignmentId;

/// A message of the control server to a leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Downward {
    /// The answer to a [`Hello`](super::Hello): the leader is heard.
    #[n(0)]
    Welcome(#[n(0)] Welcome),
    /// There are newer settings for nodes of the segment: each fetches its own.
    #[n(1)]
    Settings(#[n(0)] u64),
    /// A job has content for members: fetch it, bring it to them, report what they staged.
    #[n(2)]
    Notify(#[n(0)] Notify),
    /// A signed order for members: to commit, roll back, remove.
    #[n(3)]
    Order(#[n(0)] Order),
    /// A job is called off: stop what is under way, and hand on the order to drop what is staged.
    #[n(4)]
    Abort(#[n(0)] Abort),
    /// Something is to be said again.
    #[n(5)]
    Ask(#[n(0)] Ask),
    /// A question that is answered by a [`Pong`](super::Pong) at once.
    #[n(6)]
    Ping(#[n(0)] Ping),
    /// The last message: why the connection ends.
    #[n(7)]
    Dismiss(#[n(0)] Dismiss),
    /// Another node is to lead: this one, or the best other one.
    #[n(8)]
    StepDown(#[n(0)] Option<NodeId>),
    /// A signed order for members to get a version from their neighbours and to stage it. Its instant is not looked at, and
    /// it takes as long as it takes.
    #[n(9)]
    Gather(#[n(0)] Order),
}

/// The leader is heard from now on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Welcome {
    /// The reign of the control group's master.
    #[n(0)]
    pub term: Term,
    /// The segment's name for people, if the operator gave it one (CLUSTER-07).
    #[n(1)]
    pub title: Option<String>,
    /// The number of the newest settings for nodes of the segment.
    #[n(2)]
    pub settings: u64,
    /// Milliseconds of silence after which either side takes the connection for dead. Pings come more often.
    #[n(3)]
    pub silence_ms: u32,
}

/// What a job brings to members of the segment. It may be repeated, with more variants or other nodes; what was under way
/// goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Notify {
    /// The job.
    #[n(0)]
    pub job: Name,
    /// Whose content.
    #[n(1)]
    pub site: SitePart,
    /// The content group whose data channel it takes; `None` is that of all members.
    #[n(2)]
    pub group: Option<Name>,
    /// The reign it was made under.
    #[n(3)]
    pub term: Term,
    /// Its place in the order of the site and part: that of the first file.
    #[n(4)]
    pub serial: Serial,
    /// The version that all variants lead to.
    #[n(5)]
    pub target: VersionId,
    /// One for each base that members are on; at least one, at most [`Self::VARIANTS_MAX`].
    #[n(6)]
    pub variants: Vec<Variant>,
    /// Where the files are, the best place first: URLs before `/v1/assignments/ID`, at most [`Self::SOURCES_MAX`].
    /// None: at the control server that says this.
    #[n(7)]
    pub sources: Vec<String>,
    /// How many members must have staged it before the leader may give up on the slowest.
    #[n(8)]
    pub quorum: u32,
    /// Milliseconds that it waits for them after that.
    #[n(9)]
    pub patience_ms: u32,
}

/// The assignment for members that are on one base.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Variant {
    /// The base; `None` for members that hold nothing.
    #[n(0)]
    pub base: Option<VersionId>,
    /// Its files, in order: more than one if the update is split; at most [`Notify::FILES_MAX`].
    #[n(1)]
    pub files: Vec<File>,
    /// Who gets it, in the order of ids; nobody is in two variants.
    #[n(2)]
    pub nodes: Vec<NodeId>,
}

/// A file of an assignment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct File {
    /// Which.
    #[n(0)]
    pub id: AssignmentId,
    /// Bytes, head and data file together.
    #[n(1)]
    pub len: u64,
}

/// An order: an assignment of a header alone, signed by the control group, which the leader hands to members as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Order {
    /// The job.
    #[n(0)]
    pub job: Name,
    /// The assignment, at most [`Self::LEN_MAX`] bytes.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub assignment: Vec<u8>,
    /// Who is to carry it out and to report, in the order of ids.
    #[n(2)]
    pub nodes: Vec<NodeId>,
    /// When, in microseconds of the receiver's steady clock; `None` is at once.
    #[n(3)]
    pub at_us: Option<u64>,
}

/// A job is called off.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Abort {
    /// The job.
    #[n(0)]
    pub job: Name,
    /// The order to drop what is staged for it, for members that have something; at most [`Order::LEN_MAX`] bytes.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub assignment: Vec<u8>,
    /// Who is to report, in the order of ids.
    #[n(2)]
    pub nodes: Vec<NodeId>,
}

/// What the leader is to say again, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Ask {
    /// Who belongs to the segment.
    #[n(0)]
    pub segment: bool,
    /// What became of these jobs, at most [`Self::JOBS_MAX`].
    #[n(1)]
    pub jobs: Vec<Name>,
}

/// When the control server asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Ping {
    /// Rises by one with each ping of the connection.
    #[n(0)]
    pub number: u64,
    /// When it was sent, in microseconds of the sender's steady clock.
    #[n(1)]
    pub sent_us: u64,
}

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Dismiss {
    /// For programs.
    #[n(0)]
    pub reason: Reason,
    /// For people, at most [`Self::TEXT_LEN_MAX`] bytes.
    #[n(1)]
    pub text: String,
}

/// Why a connection ends, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Reason {
    /// The leader of a higher epoch speaks for the segment: this one asks its segment who leads.
    #[n(0)]
    Superseded(#[n(0)] Epoch),
    /// The server goes down, or is not the master: try again, here or at another.
    #[n(1)]
    Later,
    /// What was said is not to be understood.
    #[n(2)]
    Fault,
    /// The node does not belong to the segment, or was removed.
    #[n(3)]
    NotAllowed,
}

impl Notify {
    /// The most variants.
    pub const VARIANTS_MAX: usize = 256;
    /// The most files of a variant.
    pub const FILES_MAX: usize = 65_536;
    /// The most places to fetch from.
    pub const SOURCES_MAX: usize = 16;
    /// The longest place, in bytes.
    pub const SOURCE_LEN_MAX: usize = 512;

    fn fault(&self) -> Option<&'static str> {
        if self.variants.is_empty() || self.variants.len() > Self::VARIANTS_MAX {
            return Some("a job has no variant, or more than 256");
        }
        if self.sources.len() > Self::SOURCES_MAX
            || self
                .sources
                .iter()
                .any(|s| !within(s, Self::SOURCE_LEN_MAX))
        {
            return Some("a job has more than 16 sources, or one longer than 512 bytes");
        }
        let files = |variant: &Variant| (1..=Self::FILES_MAX).contains(&variant.files.len());
        if !self.variants.iter().all(files) {
            return Some("a variant has no file, or more than 65,536");
        }
        if !self
            .variants
            .iter()
            .all(|variant| nodes_are_fine(&variant.nodes))
        {
            return Some("a variant's nodes are not in order, or too many");
        }
        let mut nodes: Vec<NodeId> = self.variants.iter().flat_map(|v| v.nodes.clone()).collect();
        nodes.sort_unstable();
        if nodes.is_sorted_by(|a, b| a < b) {
            None
        } else {
            Some("a node is to get two variants")
        }
    }
}

impl Order {
    /// The longest order, in bytes: a header of full length and its seal.
    pub const LEN_MAX: usize = 4 + 4 + 4_096 + 64;
}

impl Ask {
    /// The most jobs that are named.
    pub const JOBS_MAX: usize = JOBS_MAX;
}

impl Dismiss {
    /// The longest text, in bytes.
    pub const TEXT_LEN_MAX: usize = 512;
}

impl Downward {
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Welcome(welcome) => {
                let title = welcome.title.as_ref();
                title
                    .is_some_and(|title| !within(title, Value::TITLE_LEN_MAX))
                    .then_some("a title is longer than 128 bytes")
            }
            Self::Notify(notify) => notify.fault(),
            Self::Order(Order {
                assignment, nodes, ..
            })
            | Self::Gather(Order {
                assignment, nodes, ..
            })
            | Self::Abort(Abort {
                assignment, nodes, ..
            }) => {
                if assignment.len() > Order::LEN_MAX {
                    Some("an order is longer than a header and its seal")
                } else if !nodes_are_fine(nodes) {
                    Some("an order's nodes are not in order, or too many")
                } else {
                    None
                }
            }
            Self::Ask(ask) => {
                (ask.jobs.len() > Ask::JOBS_MAX).then_some("more than 1,024 jobs are asked for")
            }
            Self::Dismiss(dismiss) => (!within(&dismiss.text, Dismiss::TEXT_LEN_MAX))
                .then_some("a farewell is longer than 512 bytes"),
            Self::Settings(_) | Self::Ping(_) | Self::StepDown(_) => None,
        }
    }
}

fn nodes_are_fine(nodes: &[NodeId]) -> bool {
    nodes.len() <= NODES_MAX && nodes.is_sorted_by(|a, b| a < b)
}
