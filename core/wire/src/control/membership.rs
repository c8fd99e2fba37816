use core::net::SocketAddr;

use bellwether_types::{Epoch, Incarnation, NodeId};
use minicbor::{Decode, Encode};

use super::bitmap::Bitmap;
use super::entry::{Key, StateVersion};
use super::record::{Formats, Record};
use crate::transfer::Announcement;

/// What registration, reports and merges say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum MembershipMessage {
    /// Member to leader: count me in (REG-02).
    #[n(0)]
    Register(#[n(0)] Register),
    /// Member to leader: I am still here (REG-14).
    #[n(1)]
    Refresh(#[n(0)] Refresh),
    /// Leader to member: are you there?
    #[n(2)]
    Inquiry(#[n(0)] Inquiry),
    /// Member to leader: I go.
    #[n(3)]
    Leave(#[n(0)] Leave),
    /// Leader to all, or to one that asked: a page of what all know (REG-04).
    #[n(4)]
    Report(#[n(0)] Page),
    /// Member to leader: what did I miss?
    #[n(5)]
    Ask(#[n(0)] Ask),
    /// Leader to all: the control channel is elsewhere from now on (CHAN-03).
    #[n(6)]
    Move(#[n(0)] Move),
    /// Leader to all: bring together what each subgroup knows.
    #[n(7)]
    Request(#[n(0)] MergeRequest),
    /// Subgroup leader to all: a page of what the subgroup knows.
    #[n(8)]
    Data(#[n(0)] GroupData),
    /// Participant to leader: I hold the data of all subgroups.
    #[n(9)]
    Ack(#[n(0)] Ack),
    /// Leader to all: who failed, and who has acknowledged.
    #[n(10)]
    Round(#[n(0)] Round),
    /// Participant to whom it may concern: these pages are missing.
    #[n(11)]
    Nack(#[n(0)] Nack),
}

/// A registration. It may be sent any number of times.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Register {
    /// The reign it is for.
    #[n(0)]
    pub epoch: Epoch,
    /// The state of the segment that the member holds; `None` if it just started.
    #[n(1)]
    pub held: Option<StateVersion>,
    /// What the member says of itself.
    #[n(2)]
    pub record: Record,
}

/// A sign of life, which also names the new leader (REG-12).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Refresh {
    /// The reign that the sender obeys.
    #[n(0)]
    pub epoch: Epoch,
    /// The sequence of the state that it holds, if that is of this reign.
    #[n(1)]
    pub sequence: Option<u64>,
}

/// A question that is answered by a [`Refresh`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Inquiry {
    /// The sender's reign.
    #[n(0)]
    pub epoch: Epoch,
}

/// A farewell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Leave {
    /// The reign that the sender obeyed.
    #[n(0)]
    pub epoch: Epoch,
}

/// Part of a state of the segment: all entries whose keys lie behind `after`, up to the last one here, or
/// to the end in the last page, and that changed later than `from`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Page {
    /// The state that all pages together lead to.
    #[n(0)]
    pub to: StateVersion,
    /// The state they start from; `None` starts from nothing.
    #[n(1)]
    pub from: Option<StateVersion>,
    /// The digest of the state they lead to.
    #[n(2)]
    pub digest: u64,
    /// The how-manieth page it is, from 0.
    #[n(3)]
    pub number: u16,
    /// How many pages there are, at least 1.
    #[n(4)]
    pub count: u16,
    /// The last key of the page before; `None` in the first.
    #[n(5)]
    pub after: Option<Key>,
    /// Entries, one after the other, in the order of their keys.
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    pub entries: Vec<u8>,
}

/// A member is behind the state that the leader speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Ask {
    /// The reign it obeys.
    #[n(0)]
    pub epoch: Epoch,
    /// The state it holds; `None` asks for everything.
    #[n(1)]
    pub held: Option<StateVersion>,
}

/// What rides in each LeaderAlive (ELECT-33): the last report in short, and what whoever missed something learns by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct Carried {
    /// The sequence of the state last reported in this reign; `None` before the first report.
    #[n(0)]
    pub sequence: Option<u64>,
    /// Its digest.
    #[n(1)]
    pub digest: u64,
    /// How many members are in it.
    #[n(2)]
    pub members: u32,
    /// What all of them can read, if there is such: senders use the highest of each.
    #[n(3)]
    pub formats: Option<Formats>,
    /// The control channel, unless it is the configured one: members of several channels follow their leader to its.
    #[n(4)]
    pub control: Option<SocketAddr>,
    /// Sessions that the leader has open (MCTP-06); they take turns if there are more than
    /// [`Carried::ANNOUNCEMENTS_LEN_MAX`] bytes of them.
    #[n(5)]
    #[cbor(default)]
    pub announcements: Vec<Announcement>,
    /// The number of the newest settings that the leader knows of.
    #[n(6)]
    #[cbor(default)]
    pub settings: u64,
    /// The number of the newest order to commit or to roll back that the leader knows of.
    #[n(7)]
    #[cbor(default)]
    pub committed: u64,
    /// The leader's steady clock when it sent this, in microseconds.
    #[n(8)]
    #[cbor(default)]
    pub sent_us: u64,
}

impl Carried {
    /// Bytes of encoded announcements in one heartbeat: with them it still travels in one packet.
    pub const ANNOUNCEMENTS_LEN_MAX: usize = 640;
}

/// The leader moves the control channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Move {
    /// The sender's reign.
    #[n(0)]
    pub epoch: Epoch,
    /// The multicast address and port of the channel.
    #[n(1)]
    pub channel: SocketAddr,
}

/// A merge: numbered by the reign of who orders it, and in that reign from 1. A higher one ends a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct MergeId {
    /// The reign.
    #[n(0)]
    pub epoch: Epoch,
    /// The number.
    #[n(1)]
    pub number: u64,
}

/// A page of the request to merge (table 9.1, G1). Participants are in the order of their subgroups, and
/// within one of their names; their places in that order are their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct MergeRequest {
    /// Which merge.
    #[n(0)]
    pub merge: MergeId,
    /// What each subgroup knows; `None` for those who just join. The first one's word prevails (GROUP-15).
    #[n(1)]
    pub subgroups: Vec<Option<StateVersion>>,
    /// The how-manieth page it is, from 0.
    #[n(2)]
    pub number: u16,
    /// How many pages there are, at least 1.
    #[n(3)]
    pub count: u16,
    /// This page's participants.
    #[n(4)]
    pub participants: Vec<Participant>,
}

/// One who takes part in a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Participant {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// The start of the node that takes part; no other start of it does.
    #[n(1)]
    pub incarnation: Incarnation,
    /// The number of its subgroup.
    #[n(2)]
    pub subgroup: u8,
    /// Does it hold the subgroup's data? Only such a one may lead the subgroup.
    #[n(3)]
    pub holds: bool,
}

/// A page of what a subgroup knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct GroupData {
    /// Which merge.
    #[n(0)]
    pub merge: MergeId,
    /// Whose data.
    #[n(1)]
    pub subgroup: u8,
    /// The page. Whoever holds the same state makes the same pages of it.
    #[n(2)]
    pub page: Page,
}

/// The sender holds the data of all subgroups that are not dropped. It counts for its round only (GROUP-20).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Ack {
    /// Which merge.
    #[n(0)]
    pub merge: MergeId,
    /// Which round.
    #[n(1)]
    pub round: u32,
}

/// Where a merge stands. A higher round is a change of membership (GROUP-10); when all who have not failed
/// have acknowledged, the merge is in force.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Round {
    /// Which merge.
    #[n(0)]
    pub merge: MergeId,
    /// The round, from 1.
    #[n(1)]
    pub round: u32,
    /// Who failed or was excluded, by number of participant.
    #[n(2)]
    pub failed: Bitmap,
    /// Whose acknowledgement of this round has come.
    #[n(3)]
    pub acked: Bitmap,
}

/// Pages that the sender lacks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Nack {
    /// Which merge.
    #[n(0)]
    pub merge: MergeId,
    /// Of which subgroup's data; `None` for the request itself.
    #[n(1)]
    pub subgroup: Option<u8>,
    /// Which pages; empty for all, when none has come.
    #[n(2)]
    pub missing: Bitmap,
}
