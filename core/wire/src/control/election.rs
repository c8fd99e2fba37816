use bellwether_types::{Epoch, Name, NodeId};
use minicbor::{Decode, Encode};

/// What an election says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ElectionMessage {
    /// LeaderAlive: the heartbeat.
    #[n(0)]
    Alive(#[n(0)] Alive),
    /// LeaderClaim: a bid for office.
    #[n(1)]
    Claim(#[n(0)] Claim),
    /// Is the leader still there? By unicast, when its heartbeat is missed.
    #[n(2)]
    Probe(#[n(0)] Probe),
    /// The leader's answer, which counts as a heartbeat.
    #[n(3)]
    ProbeReply(#[n(0)] ProbeReply),
}

/// LeaderAlive (ELECT-07): the sender leads, in this epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Alive {
    /// The sender's reign.
    #[n(0)]
    pub epoch: Epoch,
    /// The sender's name.
    #[n(1)]
    pub name: Name,
    /// The sender's priority, as it was when it claimed.
    #[n(2)]
    pub priority: u32,
    /// Milliseconds from one heartbeat to the next; a segment has one.
    #[n(3)]
    pub heartbeat_ms: u32,
    /// In the last heartbeat of a leader that steps down: who leads next, without a vote.
    #[n(4)]
    pub successor: Option<Epoch>,
    /// What rides along for other protocols (ELECT-33), as they encoded it.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub carried: Vec<u8>,
}

/// LeaderClaim (ELECT-11): the sender would lead in this epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Claim {
    /// The reign it asks for.
    #[n(0)]
    pub epoch: Epoch,
    /// The sender's name, which decides between equal priorities.
    #[n(1)]
    pub name: Name,
    /// How strong the claim is; higher is stronger.
    #[n(2)]
    pub priority: u32,
}

/// A member that missed a heartbeat asks the leader itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Probe {
    /// The reign that it obeys.
    #[n(0)]
    pub epoch: Epoch,
    /// Answered with the same number.
    #[n(1)]
    pub nonce: u64,
}

/// The answer to a [`Probe`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ProbeReply {
    /// The number of the question.
    #[n(0)]
    pub nonce: u64,
    /// Who the asked one obeys or is itself, if anybody.
    #[n(1)]
    pub epoch: Option<Epoch>,
    /// Does the asked one lead?
    #[n(2)]
    pub leads: bool,
    /// A node that is asked about somebody else says who that is.
    #[n(3)]
    pub leader: Option<NodeId>,
}
