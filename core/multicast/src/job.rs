use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_types::{Epoch, Incarnation, Name, NodeId};
use bellwether_wire::Salt;
use bellwether_wire::control::SegmentKeyId;
use bellwether_wire::transfer::{Announcement, Ask, AssignmentId, NackTime};

use crate::geometry::Geometry;

/// One session: what is to go to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The assignment.
    pub assignment: AssignmentId,
    /// Its name for people, cut off at [`Announcement::NAME_LEN_MAX`] bytes.
    pub name: String,
    /// The content group it is for.
    pub group: Option<Name>,
    /// The reign in which it is sent.
    pub epoch: Epoch,
    /// How it is cut: as the first session in this segment cut it.
    pub geometry: Geometry,
    /// Who is to have it.
    pub participants: BTreeSet<NodeId>,
    /// Who answers the announcement: all, when an earlier session may have left something with them.
    pub ask: Ask,
    /// Is it known that nobody has the assignment? Then data follow the announcement at once.
    pub is_new: bool,
    /// Are all blocks at hand? If not, [`Input::Available`](crate::sender::Input::Available) says which are.
    pub is_available: bool,
    /// Which way it goes.
    pub way: Way,
}

/// Which way content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// By multicast on the group's data channel; by unicast to those whom that does not reach.
    Group,
    /// By unicast to the one participant there is.
    Single,
    /// From participant to participant, where there is no multicast: the sender feeds the first, and each that gets
    /// something feeds the next.
    Chain,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// This node.
    pub node: NodeId,
    /// Its start.
    pub incarnation: Incarnation,
    /// The segment key that frames are sealed under.
    pub key: SegmentKeyId,
    /// Random bytes for this session; never used for another one.
    pub salt: Salt,
}

/// How sessions are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How fast.
    pub rate: Rate,
    /// When participants say what they lack (MCTP-14).
    pub nack: NackTime,
    /// When it is enough (MCTP-17).
    pub finish: Finish,
    /// What becomes of a participant that loses far more than the others.
    pub slow: Slow,
    /// Rounds without progress until a participant is given up (MCTP-18): 10 unless said.
    pub tries_max: u32,
    /// From one announcement to the next, for those who missed it.
    pub announce_every: Duration,
    /// Do announcements ride in LeaderAlive (MCTP-06)? Then they go by themselves only at first, when a heartbeat may be
    /// far.
    pub carry: bool,
    /// Are frames encrypted (MCTP-20)? Content has an encryption of its own.
    pub encrypted: bool,
    /// Bytes that a frame has on the wire beside its symbol: with IPv4 on an Ethernet 82.
    pub overhead: u16,
    /// Answers are spread over so much for each participant (MCTP-12, REPORT-08).
    pub spread: Duration,
    /// They are never spread over more.
    pub spread_max: Duration,
    /// How long an answer may take beside the spread.
    pub patience: Duration,
}

/// How fast a session sends, in bits a second, all headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Always so fast: for links of one's own.
    Fixed(u64),
    /// As fast as the receivers and their links take it (MCTP-15).
    Adaptive {
        /// Never slower.
        floor: u64,
        /// Never faster.
        ceiling: u64,
    },
}

/// When a session may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// When all have it, or are given up; so many must have it for success.
    All {
        /// How many.
        quorum: usize,
    },
    /// As soon as so many have it.
    Quorum(usize),
}

/// What becomes of a participant that loses far more than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// All wait for it.
    Wait,
    /// It leaves the session, and fetches by unicast.
    Unicast,
    /// It is left behind.
    Leave,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Enough participants have the assignment. If not, this is a problem to report (MCTP-18).
    pub quorum: bool,
    /// What became of each participant.
    pub fates: BTreeMap<NodeId, Fate>,
    /// Frames that were sent.
    pub frames: u64,
    /// Bytes of them on the wire.
    pub bytes: u64,
    /// How many of the frames carried a repair symbol.
    pub repairs: u64,
    /// How many of the frames were sent again as they were.
    pub resent: u64,
}

/// What became of one participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It has the assignment, proved and durable.
    Complete,
    /// It said why it cannot.
    Failed(String),
    /// It answered nothing.
    Silent,
    /// It answered, and got no further.
    Stuck {
        /// Symbols that it lacked at last.
        lacking: u64,
    },
    /// It was too slow, or the quorum did not wait for it.
    LeftBehind,
    /// It left the segment.
    Departed,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Silent => f.write_str("silent: it answered nothing"),
            Self::Stuck { lacking } => {
                write!(f, "stuck: it lacks {lacking} pieces and got no further")
            }
            Self::LeftBehind => f.write_str("left behind: it was too slow"),
            Self::Departed => f.write_str("departed"),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rate: Rate::Adaptive {
                floor: 1_000_000,
                ceiling: 1_000_000_000,
            },
            nack: NackTime::Block,
            finish: Finish::All { quorum: 0 },
            slow: Slow::Unicast,
            tries_max: 10,
            announce_every: Duration::from_millis(500),
            carry: false,
            encrypted: false,
            overhead: 82,
            spread: Duration::from_millis(1),
            spread_max: Duration::from_secs(1),
            patience: Duration::from_millis(20),
        }
    }
}

impl Settings {
    /// Over how long the answers of so many are spread.
    pub(crate) fn spread_of(&self, participants: usize) -> Duration {
        let participants = u32::try_from(participants).unwrap_or(u32::MAX);
        self.spread
            .saturating_mul(participants)
            .min(self.spread_max)
    }
}

impl Job {
    /// What is announced.
    pub(crate) fn announcement(&self, identity: &Identity, settings: &Settings) -> Announcement {
        let geometry = &self.geometry;
        let mut name = self.name.clone();
        while name.len() > Announcement::NAME_LEN_MAX {
            name.pop();
        }
        Announcement {
            assignment: self.assignment,
            name,
            group: self.group.clone(),
            epoch: self.epoch,
            sender: identity.node,
            incarnation: identity.incarnation,
            salt: identity.salt,
            key: identity.key,
            head_len: geometry.head_len(),
            data_len: geometry.data_len(),
            block_len: geometry.block_len(),
            symbol_len: geometry.symbol_len(),
            blocks_per_repair: geometry.blocks_per_repair(),
            repairs: geometry.repairs(),
            repair_start: repair_start(self.epoch, geometry.repairs()),
            rate: settings.rate.ceiling(),
            ask: self.ask,
            nack: settings.nack,
            spread_ms: settings.spread_of(self.participants.len()).as_millis() as u32,
            encrypted: settings.encrypted,
            participants: u32::try_from(self.participants.len()).unwrap_or(u32::MAX),
        }
    }
}

impl Rate {
    pub(crate) const fn ceiling(self) -> u64 {
        match self {
            Self::Fixed(rate) | Self::Adaptive { ceiling: rate, .. } => rate,
        }
    }
}

/// Leaders that follow each other begin far apart, so that the next one's repair symbols are news to all.
fn repair_start(epoch: Epoch, repairs: u16) -> u16 {
    // The golden ratio of a turn after each reign.
    let turn = epoch.counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((u128::from(turn) * u128::from(repairs)) >> 64) as u16
}
