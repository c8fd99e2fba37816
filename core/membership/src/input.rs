use core::net::SocketAddr;
use std::collections::BTreeSet;

use bellwether_types::{Epoch, Incarnation, Name, NodeId};
use bellwether_wire::control::{Carried, Formats, Holding, MembershipMessage, Record, Resources};

/// Who a node is, for as long as it runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The node, for all its life.
    pub node: NodeId,
    /// This start of it.
    pub incarnation: Incarnation,
    /// Its name.
    pub name: Name,
}

/// What membership is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The process starts; with what [`Output::Persist`](crate::Output::Persist) last gave, empty if nothing.
    Start {
        /// The bytes that were kept.
        kept: Vec<u8>,
    },
    /// Time has passed.
    Wake,
    /// An authentic, fresh message of another node of this segment.
    Message {
        /// Who sent it.
        from: NodeId,
        /// The sender's start.
        incarnation: Incarnation,
        /// What it says.
        message: MembershipMessage,
    },
    /// What rode in a LeaderAlive of the leader that this node obeys.
    Carried(Carried),
    /// This node leads from now on.
    Leading(Epoch),
    /// This node obeys that epoch's leader from now on.
    Following(Epoch),
    /// Nobody leads; a vote may be open.
    Leaderless,
    /// What the node measured of itself. Before the first one it does not register.
    Measured(Measured),
    /// The node is to leave the segment for good.
    Leave,
    /// An order of the operator or of the control server, to the leader.
    Order(Order),
    /// Those who were put out by an operator, all of them: whoever leads has no such member.
    PutOut(BTreeSet<NodeId>),
}

/// What a node says of itself, apart from who it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Measured {
    /// Where it takes control datagrams that are for it alone.
    pub address: SocketAddr,
    /// The UDP port where it takes frames.
    pub data_port: Option<u16>,
    /// The TCP port where it serves its neighbours; `None` if it serves nobody.
    pub serve_port: Option<u16>,
    /// A time zone or another word for where it stands; at most 64 bytes.
    pub location: String,
    /// May it lead?
    pub candidate: bool,
    /// How strong its claim to lead is; higher is stronger.
    pub priority: u32,
    /// Is it busy with other work?
    pub busy: bool,
    /// The formats it can read.
    pub formats: Formats,
    /// What it has to spare.
    pub resources: Resources,
    /// The versions that are live on it, the most important ones first.
    pub holdings: Vec<Holding>,
}

/// What the leader may be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Move the control channel (CHAN-03).
    MoveControl(SocketAddr),
    /// A content group has this data channel and these members (CHAN-04, CHAN-08).
    SetGroup {
        /// The group.
        group: Name,
        /// The multicast address and port of its data channel.
        channel: SocketAddr,
        /// All its members in the segment, whether they are up or not.
        members: Vec<NodeId>,
    },
    /// A content group is no more.
    DropGroup(Name),
    /// The segment's name for people, at most 128 bytes (CLUSTER-07).
    SetTitle(String),
    /// Bring all together now, newcomers as a subgroup of their own (GROUP-12).
    Gather,
}

impl Measured {
    /// The record of this start of the node; holdings that would make it too long are left out.
    pub(crate) fn into_record(self, identity: &Identity, nonce: u64) -> Record {
        let mut record = Record {
            incarnation: identity.incarnation,
            name: identity.name.clone(),
            address: self.address,
            location: shortened(self.location, Record::LOCATION_LEN_MAX),
            candidate: self.candidate,
            priority: self.priority,
            busy: self.busy,
            formats: self.formats,
            resources: self.resources,
            holdings: self.holdings,
            nonce,
            joined: 0,
            data_port: self.data_port,
            serve_port: self.serve_port,
        };
        record.shorten();
        record
    }
}

fn shortened(mut text: String, len_max: usize) -> String {
    while text.len() > len_max {
        text.pop();
    }
    text
}
