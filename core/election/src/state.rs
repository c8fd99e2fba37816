use bellwether_types::{Epoch, Name, NodeId};

use crate::{Abstention, Candidate, Memory, Ranking};

/// Everything that an election knows, except when its deadlines are: two with equal states differ only in time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// Which of the five states.
    pub phase: Phase,
    /// The highest reign that a heartbeat has confirmed, of this node or another.
    pub obeyed: Option<Epoch>,
    /// The highest counter that anybody has named.
    pub counter_seen: u64,
    /// The counter of this node's last claim.
    pub counter_claimed: u64,
    /// What is on disk.
    pub kept: Memory,
    /// This node's priority, as it was measured.
    pub measured: u32,
    /// Where it stands, once it is known.
    pub ranking: Option<Ranking>,
    /// Who has failed since there was a leader; they are not counted as candidates.
    pub gone: Vec<NodeId>,
    /// This node's reign, until it obeys another.
    pub reigned: Option<Epoch>,
    /// Has anybody been heard since this was last asked?
    pub heard: bool,
    /// How many questions to a silent leader or favourite have gone unanswered; while this node leads, for how many
    /// thresholds it has heard nobody.
    pub asked: u8,
    /// How many questions went to neighbours meanwhile.
    pub neighbours_asked: u8,
    /// How many questions this leader had since its last heartbeat.
    pub answers: u16,
    /// Why this node keeps silent, if it does.
    pub abstains: Option<Abstention>,
    /// It has handed over the office and does not want it back from this election.
    pub yields: bool,
    /// Who was last told to have another timing, and which.
    pub mismatch: Option<(NodeId, u32)>,
    /// What heartbeats carry.
    pub carried: Vec<u8>,
}

/// The five states (ELECT-20).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// There is a leader, and it is another node.
    Known(Leader),
    /// There is none. Temporary.
    Unknown {
        /// Who fell silent, and is still asked until this node claims.
        lost: Option<NodeId>,
    },
    /// This node has claimed, and waits for a better claim.
    Voting(Epoch),
    /// This node leads.
    Leading(Epoch),
    /// Another node has the better claim, and is waited for.
    Conceding(Favourite),
}

/// A leader that is obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leader {
    /// Its reign, and in it its id.
    pub epoch: Epoch,
    /// Its name.
    pub name: Name,
    /// Its priority.
    pub priority: u32,
}

/// Whoever is expected to lead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Favourite {
    /// The reign that is expected.
    pub epoch: Epoch,
    /// How strong its claim is; a successor has none.
    pub claim: Option<Candidate>,
}

/// What an election waits for. Of those that are due together, the first here comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// The next question to a silent leader or favourite.
    Probe,
    /// The next heartbeat of this node (E13).
    Alive,
    /// The leader's silence (E2).
    Silence,
    /// The end of the claim wait (E8).
    Claim,
    /// The end of the vote (E10).
    Vote,
    /// The end of patience with a favourite (E18).
    Concession,
    /// The next look whether this leader is heard, or the end of its silence.
    Hearing,
    /// A stronger node than its leader has been so for long enough.
    Preemption,
}

impl State {
    pub(crate) const fn new(memory: Memory) -> Self {
        Self {
            phase: Phase::Unknown { lost: None },
            obeyed: memory.obeyed,
            counter_seen: memory.counter,
            counter_claimed: 0,
            kept: memory,
            measured: 0,
            ranking: None,
            gone: Vec::new(),
            reigned: None,
            heard: false,
            asked: 0,
            neighbours_asked: 0,
            answers: 0,
            abstains: None,
            yields: false,
            mismatch: None,
            carried: Vec::new(),
        }
    }
}
