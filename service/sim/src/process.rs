use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use bellwether_machine::Machine;
use bellwether_types::{Epoch, Incarnation, NodeId, Time};
use bellwether_wire::control::{MergeId, StateVersion};
use serde::Serialize;

use crate::scenario::Protocol;

/// What runs on a simulated node: a machine that takes datagrams and gives datagrams.
///
/// A crash drops it; a restart makes a new one from what it had persisted, or from nothing.
pub trait Process: Machine<Input = Input, Output = Output<Self::Disk>> + Sized {
    /// All that a node keeps on its disk.
    type Disk: Clone;
    /// What all nodes of a run have in common, made once.
    type Common;

    /// Makes what the nodes of a run have in common.
    fn common(protocol: &Protocol, seed: u64) -> Self::Common;

    /// Starts on a node whose clock shows `now`, and says what was made durable before that: who the node is and how
    /// often it started.
    fn start(now: Time, birth: Birth<'_, Self>) -> (Self, Self::Disk);

    /// What can be seen of it from outside; asked for after each input, so it must be cheap.
    fn view(&self) -> View;
}

/// Where and as what a process starts.
pub struct Birth<'a, P: Process> {
    /// What all nodes of the run have in common.
    pub common: &'a P::Common,
    /// The address of the node.
    pub node: Address,
    /// The addresses of its segment, itself among them.
    pub segment: Range<u32>,
    /// Where others may be found, if the network does not tell: some addresses of those that ever start.
    pub first: &'a [Address],
    /// How often the node was started before.
    pub starts: u64,
    /// How fit it is to lead.
    pub priority: u32,
    /// What it finds on its disk.
    pub disk: Option<P::Disk>,
    /// The seed of its randomness, another one at each start.
    pub seed: u64,
    /// Somebody wants to read what it notes.
    pub story: bool,
}

/// A node's address: its number in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u32);

/// A multicast channel of each segment, by number. All listen to number 0, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Channel(pub u8);

/// What a process is given.
#[derive(Debug, Clone)]
pub enum Input {
    /// The process has started; this comes before everything else.
    Start,
    /// A datagram came.
    Datagram(Rc<Datagram>),
    /// Time has passed.
    Wake,
    /// The operator wants something.
    Order(Order),
}

/// What an operator wants of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Give up office.
    StepDown,
    /// Say farewell, and end.
    Leave,
    /// Move the segment to another channel.
    Move(Channel),
    /// The segment has a content group of this number.
    SetGroup(u32),
}

/// What a process wants done.
#[derive(Debug, Clone)]
pub enum Output<D> {
    /// Make this durable, in place of what was, before anything that comes after it.
    Persist(D),
    /// Send a datagram.
    Send {
        /// To whom.
        to: Destination,
        /// What it is, for the statistics alone.
        kind: Kind,
        /// What goes over the wire.
        bytes: Vec<u8>,
    },
    /// Listen to this channel from now on, and to no other but number 0.
    Listen(Channel),
    /// Something that cannot be seen from outside.
    Told(Fact),
    /// The process has come to its end.
    Ended,
}

/// What a process says of itself, for the judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A merge is in force here.
    Merged {
        /// Which merge.
        merge: MergeId,
        /// The state that came of it.
        version: StateVersion,
    },
    /// A leader told the control server who belongs to the segment.
    Reported {
        /// In which reign.
        epoch: Epoch,
        /// The how-manieth report of the reign, from 1.
        sequence: u64,
        /// All members at once, and no changes.
        whole: bool,
        /// Who belongs now.
        came: Vec<NodeId>,
        /// Who does no longer.
        went: Vec<NodeId>,
    },
    /// Something that must never happen.
    Amiss(String),
    /// Something for the story, if one is told.
    Noted(String),
}

/// Who is to get a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Every other node of the segment that listens there, by multicast.
    All(Channel),
    /// One node.
    One(Address),
}

/// What a datagram is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A leader's heartbeat.
    Alive,
    /// A claim.
    Claim,
    /// A question to the leader, or its answer.
    Probe,
    /// A registration with the leader.
    Registration,
    /// A member's sign of life, or a question for one.
    Presence,
    /// What all members know, or a question for it.
    Report,
    /// What parts of a segment tell each other when they meet.
    Merge,
    /// Anything else.
    Other,
}

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The address it claims to come from.
    pub from: Address,
    /// Whether it came by multicast.
    pub multicast: bool,
    /// What it says.
    pub bytes: Vec<u8>,
    /// No node ever sent this: it must have no effect.
    pub forged: bool,
}

/// What can be seen of a process from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The node.
    pub id: NodeId,
    /// The start.
    pub incarnation: Incarnation,
    /// Where it stands in the election.
    pub phase: Phase,
    /// The highest epoch it obeyed since it started.
    pub obeyed: Option<Epoch>,
    /// Whether it is in the report of the leader that it obeys, or leads itself.
    pub registered: bool,
    /// What it knows of the segment, once it knows something.
    pub state: Option<SegmentState>,
}

/// What a node knows of its segment, in brief.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentState {
    /// Who made it, and the how-manieth it is.
    pub version: StateVersion,
    /// Equal for equal states only.
    pub digest: u64,
    /// How many members it counts.
    pub members: u32,
    /// How many content groups it knows.
    pub groups: u32,
}

/// The five states of an election (ELECT-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Somebody leads.
    Known,
    /// Nobody is known to lead.
    Unknown,
    /// It has claimed.
    Voting,
    /// A better one has claimed.
    Conceding,
    /// It leads.
    Leading,
}

impl View {
    /// The reign under which the node lives now, if it knows one.
    pub fn reign(&self) -> Option<Epoch> {
        let settled = matches!(self.phase, Phase::Known | Phase::Leading);
        self.obeyed.filter(|_| settled)
    }

    /// The reign in which the node leads.
    pub fn leads(&self) -> Option<Epoch> {
        self.obeyed.filter(|_| self.phase == Phase::Leading)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alive => "heartbeats",
            Self::Claim => "claims",
            Self::Probe => "probes and answers",
            Self::Registration => "registrations",
            Self::Presence => "signs of life",
            Self::Report => "reports and questions",
            Self::Merge => "merges",
            Self::Other => "others",
        })
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Known => "leader known",
            Phase::Unknown => "leader unknown",
            Phase::Voting => "voting open",
            Phase::Conceding => "concession",
            Phase::Leading => "leader is me",
        };
        f.write_str(phase)?;
        if let Some(epoch) = self.obeyed {
            write!(f, ", epoch {epoch}")?;
        }
        if let Some(state) = self.state {
            let StateVersion { epoch, sequence } = state.version;
            write!(
                f,
                ", {} members in state {} of {epoch} ({:08x})",
                state.members,
                sequence,
                state.digest >> 32
            )?;
            if !self.registered {
                f.write_str(", not registered")?;
            }
        }
        Ok(())
    }
}

impl<P: Process> fmt::Debug for Birth<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Birth")
            .field("node", &self.node)
            .field("starts", &self.starts)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}
