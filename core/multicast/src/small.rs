//! Assignments so small that they need no session (MCTP-02): the leader sends the pieces, and again to those who do not
//! say that they have them.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether_machine::{Deadlines, Machine, Outbox};
use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::{AssignmentId, Small, Stage, Status, TransferMessage};

use crate::geometry::{Geometry, GeometryError, Place};
use crate::job::{Fate, Finish, Outcome, Settings};
use crate::sender::To;

/// What is to go to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallJob {
    /// The assignment.
    pub assignment: AssignmentId,
    /// Its head; not empty.
    pub head: Vec<u8>,
    /// Its data file.
    pub data: Vec<u8>,
    /// Who is to have it.
    pub participants: BTreeSet<NodeId>,
}

/// A small assignment on its way.
#[derive(Debug)]
pub struct SmallSender {
    job: SmallJob,
    settings: Settings,
    outcome: Outcome,
    pending: BTreeSet<NodeId>,
    heard: BTreeSet<NodeId>,
    round: u32,
    is_over: bool,
    deadlines: Deadlines<Timer>,
}

/// What it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Begin; comes once, before everything else.
    Start,
    /// Time has passed.
    Wake,
    /// A participant's word.
    Status {
        /// Who says it.
        from: NodeId,
        /// What.
        status: Status,
    },
    /// This node left the segment.
    Departed(NodeId),
}

/// What it wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: TransferMessage,
    },
    /// It is over; nothing comes after this.
    Ended(Outcome),
}

/// An assignment that needs a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{len} bytes need a session: without one at most {} are sent, and a head is among them",
    Small::LEN_MAX
)]
pub struct NotSmall {
    /// Bytes of head and data file.
    pub len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Round,
}

/// As many are sent to one by one.
const SENT_SINGLY: usize = 2;

impl SmallSender {
    /// A transfer before its start.
    pub fn new(job: SmallJob, settings: Settings) -> Result<Self, NotSmall> {
        let len = job.head.len() + job.data.len();
        if len > Small::LEN_MAX || job.head.is_empty() {
            return Err(NotSmall { len });
        }
        let left_behind = |node: &NodeId| (*node, Fate::Silent);
        Ok(Self {
            outcome: Outcome {
                fates: job.participants.iter().map(left_behind).collect(),
                ..Outcome::default()
            },
            pending: job.participants.clone(),
            heard: BTreeSet::new(),
            round: 0,
            is_over: false,
            deadlines: Deadlines::new(),
            job,
            settings,
        })
    }

    /// Is it over?
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    fn send(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.round += 1;
        let spread = self.settings.spread_of(self.job.participants.len());
        let (head_len, len) = (
            self.job.head.len(),
            self.job.head.len() + self.job.data.len(),
        );
        let parts = [(0, &self.job.head), (head_len, &self.job.data)];
        for (begin, part) in parts {
            let pieces = part.chunks(Small::PIECE_LEN.into());
            for (piece, offset) in pieces.zip((begin..).step_by(Small::PIECE_LEN.into())) {
                let message = TransferMessage::Small(Small {
                    assignment: self.job.assignment,
                    head_len: head_len as u16,
                    len: len as u16,
                    offset: offset as u16,
                    bytes: piece.to_vec(),
                    round: self.round,
                    spread_ms: spread.as_millis() as u32,
                });
                self.outcome.frames += 1;
                if self.pending.len() > SENT_SINGLY {
                    let to = To::Group;
                    out.push(Output::Send { to, message });
                    continue;
                }
                for node in &self.pending {
                    let (to, message) = (To::Node(*node), message.clone());
                    out.push(Output::Send { to, message });
                }
            }
        }
        let patience = self.settings.patience * self.round.min(PATIENCE_GROWS);
        self.deadlines.set(Timer::Round, now + spread + patience);
    }

    fn take(&mut self, from: NodeId, status: &Status) {
        let meant =
            status.assignment == self.job.assignment && self.outcome.fates.contains_key(&from);
        if !meant {
            return;
        }
        self.heard.insert(from);
        let fate = match &status.stage {
            Stage::Complete => Fate::Complete,
            Stage::Failed(reason) => Fate::Failed(reason.clone()),
            Stage::Receiving | Stage::Held | Stage::Fetching => return,
        };
        self.pending.remove(&from);
        self.outcome.fates.insert(from, fate);
    }

    fn complete(&self) -> usize {
        let fates = self.outcome.fates.values();
        fates.filter(|fate| **fate == Fate::Complete).count()
    }

    fn is_enough(&self) -> bool {
        let quorum =
            matches!(self.settings.finish, Finish::Quorum(quorum) if self.complete() >= quorum);
        self.pending.is_empty() || quorum
    }

    fn end(&mut self, out: &mut Outbox<Output>) {
        self.is_over = true;
        self.deadlines = Deadlines::new();
        let quorum = match self.settings.finish {
            Finish::All { quorum } | Finish::Quorum(quorum) => quorum,
        };
        self.outcome.quorum = self.complete() >= quorum;
        out.push(Output::Ended(self.outcome.clone()));
    }
}

/// Rounds are longer and longer up to so many times the patience.
const PATIENCE_GROWS: u32 = 20;

impl Machine for SmallSender {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        if self.is_over {
            return;
        }
        match input {
            Input::Start => self.send(now, out),
            Input::Wake => {}
            Input::Status { from, status } => self.take(from, &status),
            Input::Departed(node) => {
                if self.pending.remove(&node) {
                    self.outcome.fates.insert(node, Fate::Departed);
                }
            }
        }
        if self.is_enough() {
            return self.end(out);
        }
        if self.deadlines.pop_due(now).is_some() {
            // Small ones have no progress to speak of: there are twice the tries, to bear with loss.
            if self.round >= self.settings.tries_max.saturating_mul(2) {
                return self.end(out);
            }
            self.send(now, out);
        }
    }

    fn wake_at(&self) -> Option<Time> {
        self.deadlines.next()
    }
}

/// How a small assignment is cut.
pub(crate) fn geometry(head_len: u16, len: u16) -> Result<Geometry, GeometryError> {
    let data_len = len.saturating_sub(head_len);
    let block_len = Small::LEN_MAX as u32;
    Geometry::new(
        head_len.into(),
        data_len.into(),
        block_len,
        Small::PIECE_LEN,
        1,
        0,
    )
}

/// The symbol that a piece is, if it is one: its repair block, its number and where it belongs.
pub(crate) fn symbol(geometry: &Geometry, piece: &Small) -> Option<(u32, u16, Place)> {
    let is_head = piece.offset < piece.head_len;
    let offset = if is_head {
        piece.offset
    } else {
        piece.offset - piece.head_len
    };
    let block = u32::from(!is_head);
    let symbol = offset / Small::PIECE_LEN;
    let fits = usize::from(piece.len) <= Small::LEN_MAX
        && piece.head_len <= piece.len
        && offset % Small::PIECE_LEN == 0
        && block < geometry.repair_blocks()
        && symbol < geometry.symbols(block);
    let place = fits.then(|| geometry.place(block, symbol))?;
    (piece.bytes.len() == place.len as usize).then_some((block, symbol, place))
}

/// The answer to a piece is spread over no more.
pub(crate) const SPREAD_MAX: Duration = Duration::from_secs(1);
