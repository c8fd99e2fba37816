use bellwether_types::{Epoch, Name};
use minicbor::{Decode, Encode};

/// What an election says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ElectionMessage {
    /// LeaderAlive: the heartbeat, and the leader's answer to whoever asks or is behind.
    #[n(0)]
    Alive(#[n(0)] Alive),
    /// LeaderClaim: a bid for office.
    #[n(1)]
    Claim(#[n(0)] Claim),
    /// By unicast, when heartbeats are missed: do you lead, or know who does?
    #[n(2)]
    Probe,
    /// What somebody who does not lead answers.
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
    /// The sender's priority.
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
    /// Milliseconds from one heartbeat to the next, as the sender has it.
    #[n(3)]
    pub heartbeat_ms: u32,
    /// Milliseconds until the sender will be in office unless somebody contests: how long to wait for it. None when it
    /// has heard a better claim and withdraws.
    #[n(4)]
    pub office_ms: Option<u32>,
}

/// The answer of a node that does not lead to a probe; one that leads answers with [`Alive`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ProbeReply {
    /// The highest reign that the asked one has ever obeyed.
    #[n(0)]
    pub obeyed: Option<Epoch>,
    /// How it stands to that reign now.
    #[n(1)]
    pub standing: Standing,
}

/// How a node that does not lead stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Standing {
    /// It follows the reign that it obeyed last.
    #[n(0)]
    Follows {
        /// Milliseconds since it heard that leader.
        #[n(0)]
        silent_ms: u32,
    },
    /// It takes part in an open vote.
    #[n(1)]
    Votes,
    /// It knows of no leader and of no vote.
    #[n(2)]
    Waits,
}
