use core::net::SocketAddr;
use std::collections::BTreeSet;

use bellwether_election as election;
use bellwether_membership as membership;
use bellwether_types::{Epoch, Name, NodeId};
use bellwether_wire::control::{
    ControlMessage, ElectionMessage, KeyRing, MembershipMessage, Rejected, Sender,
};
use bellwether_wire::transfer::{Announcement, TransferMessage};

/// What a node of a segment is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who this is, in which of its starts.
    pub sender: Sender,
    /// How it takes part in elections, and what it is called.
    pub election: election::Settings,
    /// How it takes part in the segment.
    pub membership: membership::Settings,
    /// Whom a message to all reaches.
    pub reach: Reach,
}

/// Whom a message to all reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Whoever listens on the control channel, a multicast group (CHAN-01); and by unicast those that no multicast
    /// seems to reach.
    Group,
    /// Each node by unicast, where the network has no multicast: these, those they know, and all members.
    Peers(BTreeSet<SocketAddr>),
}

/// What a node of a segment takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The process starts; comes once, before everything else. With what was last kept for membership.
    Start {
        /// The bytes of [`Kept::Membership`], empty if there are none.
        membership: Vec<u8>,
    },
    /// Time has passed.
    Wake,
    /// Something came from the network; nothing about it is to be believed yet.
    Datagram {
        /// The way it came.
        via: Via,
        /// The address it names as its own.
        source: SocketAddr,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// What the node measured of itself. Its candidacy and priority count as the election's settings have them.
    Measured(membership::Measured),
    /// Hand the office over to the best other node.
    StepDown,
    /// The same, to this one.
    Appoint(NodeId),
    /// Leave the segment for good; whoever leads hands the office over first.
    Leave,
    /// An order to the leader.
    Order(membership::Order),
    /// The election's settings have changed.
    Reconfigured(Box<election::Settings>),
    /// Say this of a transfer, to one node or to all.
    Transfer {
        /// To whom; to all if nobody is named.
        to: Option<NodeId>,
        /// What.
        message: Box<TransferMessage>,
    },
    /// Sessions that this node has open: as long as it leads, they are announced in its heartbeats (MCTP-06).
    Announce(Vec<Announcement>),
    /// What this node knows of, for those who missed it: said in its heartbeats as long as it leads.
    Numbers(Numbers),
    /// Who is to be believed from now on (CRYPT-06).
    Admit {
        /// Holders of these keys.
        keys: Box<KeyRing>,
        /// But not these: an operator put them out, and they may hold one still.
        put_out: BTreeSet<NodeId>,
    },
}

/// What the leader says of what it knows in every heartbeat: who lacks some of that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Numbers {
    /// The number of the newest settings.
    pub settings: u64,
    /// The number of the newest order to commit or to roll back.
    pub committed: u64,
}

/// The way a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// To this node alone.
    Unicast,
    /// To a group that this node listens to.
    Multicast,
}

/// What a node of a segment wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram to a node or a multicast group.
    Send {
        /// The address.
        to: SocketAddr,
        /// What it is about, for counters: nobody sees it from outside.
        kind: Kind,
        /// What.
        datagram: Vec<u8>,
    },
    /// Keep this in place of what was kept under the same head, before anything that comes after it is done.
    Persist(Kept),
    /// The control channel is this group from now on: listen there, and still to the one of the settings.
    Control(SocketAddr),
    /// Listen to a content group's data channel.
    Join {
        /// The content group.
        group: Name,
        /// Its data channel.
        channel: SocketAddr,
    },
    /// Listen to it no longer.
    Quit {
        /// The content group.
        group: Name,
    },
    /// The control server is to be told.
    Report(membership::Report),
    /// The reign that this node obeys or holds from now on, if there is one.
    Reign(Option<Epoch>),
    /// Something was said of a transfer.
    Transfer {
        /// By whom.
        from: NodeId,
        /// To this node alone?
        alone: bool,
        /// What.
        message: Box<TransferMessage>,
    },
    /// What the leader that this node obeys said in a heartbeat.
    Heartbeat {
        /// What it knows of.
        numbers: Numbers,
        /// Its steady clock when it said so, in microseconds.
        sent_us: u64,
    },
    /// What happened.
    Told(Event),
}

/// What a datagram is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The leader's heartbeat.
    Heartbeat,
    /// A bid for office.
    Claim,
    /// Who leads? And the answer, unless the leader gives it.
    Question,
    /// A node's registration with the leader.
    Registration,
    /// A member's sign of life, or the leader's question for one.
    Presence,
    /// What all members know, or a question for it.
    Report,
    /// What parts of the segment tell each other when they meet again.
    Merge,
    /// Where the control channel is.
    Channel,
    /// Where other nodes are, on networks without multicast.
    Introduction,
    /// What goes from one to all, and how far it is.
    Transfer,
}

/// What must survive the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// What the election remembers.
    Election(election::Memory),
    /// What membership remembers.
    Membership(Vec<u8>),
}

/// What happened, for logs and counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// About who leads.
    Election(election::Event),
    /// About who belongs.
    Membership(membership::Event),
    /// A datagram had no effect.
    Rejected {
        /// The address that it named as its own.
        source: SocketAddr,
        /// Why.
        reason: Rejected,
    },
    /// The leader is heard by unicast alone: this network's multicast does not reach this node. Until it does again,
    /// this node sends by unicast as well.
    MulticastLost,
    /// Multicasts reach this node again.
    MulticastBack,
    /// A message of this node was too long to be sent, which no message should be.
    TooLong(usize),
}

impl Kind {
    pub(crate) const fn of(message: &ControlMessage) -> Self {
        match message {
            ControlMessage::Election(message) => match message {
                ElectionMessage::Alive(_) => Self::Heartbeat,
                ElectionMessage::Claim(_) => Self::Claim,
                ElectionMessage::Probe | ElectionMessage::ProbeReply(_) => Self::Question,
            },
            ControlMessage::Membership(message) => match message {
                MembershipMessage::Register(_) => Self::Registration,
                MembershipMessage::Refresh(_)
                | MembershipMessage::Inquiry(_)
                | MembershipMessage::Leave(_) => Self::Presence,
                MembershipMessage::Report(_) | MembershipMessage::Ask(_) => Self::Report,
                MembershipMessage::Move(_) => Self::Channel,
                MembershipMessage::Request(_)
                | MembershipMessage::Data(_)
                | MembershipMessage::Ack(_)
                | MembershipMessage::Round(_)
                | MembershipMessage::Nack(_) => Self::Merge,
            },
            ControlMessage::Introduction(_) => Self::Introduction,
            ControlMessage::Transfer(_) => Self::Transfer,
        }
    }
}
