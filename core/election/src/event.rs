use bellwether_types::{Epoch, Name, NodeId};
use bellwether_wire::control::ElectionMessage;

use crate::{Ranking, Settings};

/// What an election takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The process starts (E20). Comes once, before everything else.
    Start,
    /// Time has passed.
    Wake,
    /// An election message of another node of this segment, authentic and fresh.
    Message {
        /// Its sender.
        from: NodeId,
        /// What it says.
        message: ElectionMessage,
    },
    /// Any other datagram of another node of this segment: proof that this node is not deaf.
    Heard,
    /// Where this node stands among the live candidates has changed.
    Ranked(Ranking),
    /// What this node's priority is from now on.
    Measured(u32),
    /// What heartbeats are to carry from now on (ELECT-33).
    Carry(Vec<u8>),
    /// An operator's order: hand the office over to the best other node.
    StepDown,
    /// The same, to this one: a candidate that lives and is one of the strongest.
    Appoint(NodeId),
    /// Settings have changed; identity and timing stay.
    Reconfigured(Box<Settings>),
}

/// What an election wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: ElectionMessage,
    },
    /// Keep this in place of what was kept before, and be sure of it before anything after it is done.
    Persist(Memory),
    /// Something that operators and other protocols may want to know.
    Told(Event),
}

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum To {
    /// The whole segment, by multicast.
    All,
    /// One node.
    Node(NodeId),
}

/// What an election must remember over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Memory {
    /// Nothing below this reign is obeyed again.
    pub obeyed: Option<Epoch>,
    /// The next claim takes a higher counter than this.
    pub counter: u64,
}

/// What happened, in the words of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is a leader, and it is another node.
    LeaderKnown {
        /// Its reign.
        epoch: Epoch,
        /// Its name.
        name: Name,
    },
    /// Neither heartbeats nor answers came from the leader for the time of the threshold, or it said that it leads no
    /// longer.
    LeaderSilent {
        /// Its reign.
        epoch: Epoch,
        /// Its name.
        name: Name,
    },
    /// This node bids for office.
    Claimed {
        /// The reign it asks for.
        epoch: Epoch,
        /// How many live candidates it knows to be stronger.
        rank: Option<u32>,
    },
    /// Another node has the better claim.
    Conceded {
        /// The reign which that node asks for.
        to: Epoch,
    },
    /// The node conceded to did not take office in time.
    NobodyCame {
        /// The reign which that node had asked for.
        epoch: Epoch,
    },
    /// This node leads.
    Leading {
        /// Its reign.
        epoch: Epoch,
    },
    /// Another node claims the office of this one, or leads as well: the vote is open again.
    Contested {
        /// That node.
        by: NodeId,
    },
    /// This process stood still for longer than the threshold and leads no longer, unless it wins again.
    Lapsed {
        /// The reign that ended.
        epoch: Epoch,
    },
    /// This node led, and another one does now.
    Deposed {
        /// The other one's reign.
        by: Epoch,
    },
    /// This node has handed its office over.
    SteppedDown {
        /// The successor's reign.
        to: Epoch,
    },
    /// There is nobody to step down for.
    NoSuccessor,
    /// This node keeps silent though it would have to speak.
    Abstains {
        /// Why.
        why: Abstention,
    },
    /// The reason to abstain is gone.
    AbstainsNoMore,
    /// A node of this segment has another timing. It is not listened to.
    Mismatch {
        /// The node.
        node: NodeId,
        /// Its heartbeat in milliseconds.
        heartbeat_ms: u32,
    },
    /// A reign's counter is too far from all that was ever heard to be true.
    Implausible {
        /// Who spoke of it.
        node: NodeId,
        /// The reign.
        epoch: Epoch,
    },
}

/// Why a node keeps silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abstention {
    /// Neither the leader nor any neighbour answered: more likely this node is cut off or deaf than all others are
    /// dead.
    HearsNobody,
    /// The segment has another timing than this node.
    OtherTiming,
}
