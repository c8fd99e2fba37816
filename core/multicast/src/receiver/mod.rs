//! Who lacks an assignment, and gets it.

mod answers;
mod fetching;
mod frames;
mod input;
mod proving;
mod session;
mod small;
mod store;

use std::ops::Range;

use bellwether_machine::{Deadlines, Machine, Outbox, Random};
use bellwether_types::{NodeId, Time};
use bellwether_wire::frame::SessionId;
use bellwether_wire::transfer::{Announcement, AssignmentId};

use crate::geometry::Geometry;
use fetching::Fetch;
use session::Session;
use small::SmallSource;
use store::Store;

pub use input::{Event, Input, Output, Prove, Settings};

/// One assignment on a node that is to have it.
///
/// It holds no content: it says where the symbols of frames belong in a spool, what is to be decoded and what is to be
/// proved; only proved blocks are ever told to anybody. The state belongs to the assignment and not to a session: a
/// leader may follow another, and a neighbour may help.
#[derive(Debug)]
pub struct Receiver {
    assignment: AssignmentId,
    settings: Settings,
    store: Option<Store>,
    head: Proof,
    /// Blocks that are being proved.
    proving: Vec<u32>,
    proofs_failed: u32,
    proofs_to_fail: u32,
    progress: Progress,
    sessions: Vec<Session>,
    fetch: Option<Fetch>,
    /// Who sends it without a session, and the last time it did.
    small: Option<SmallSource>,
    /// New symbols since the state was last kept.
    unkept: u32,
    deadlines: Deadlines<Timer>,
    random: Random,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    None,
    Asked,
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Receiving,
    /// Everything is proved, and is made durable.
    Syncing,
    Complete,
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The turn to say what is lacking, or how far this node is.
    Nack(SessionId),
    /// What was told and not mended is told again.
    Recheck(SessionId),
    /// The turn to answer whoever sends without a session.
    Small,
    /// A source was silent too long.
    Source,
    /// All senders were.
    Patience,
}

impl Receiver {
    /// Nothing of the assignment is here, as far as is known.
    pub const fn new(assignment: AssignmentId, settings: Settings, random: Random) -> Self {
        Self {
            assignment,
            settings,
            store: None,
            head: Proof::None,
            proving: Vec::new(),
            proofs_failed: 0,
            proofs_to_fail: 0,
            progress: Progress::Receiving,
            sessions: Vec::new(),
            fetch: None,
            small: None,
            unkept: 0,
            deadlines: Deadlines::new(),
            random,
        }
    }

    /// The assignment.
    pub const fn assignment(&self) -> AssignmentId {
        self.assignment
    }

    /// How it is cut, once that is known.
    pub fn geometry(&self) -> Option<&Geometry> {
        self.store.as_ref().map(Store::geometry)
    }

    /// How an assignment is cut of which a receiver kept these bytes.
    pub fn geometry_of(kept: &[u8]) -> Option<Geometry> {
        Store::from_bytes(kept).map(|store| *store.geometry())
    }

    /// Why it gave up, if it did.
    pub fn failure(&self) -> Option<&str> {
        match &self.progress {
            Progress::Failed(why) => Some(why),
            _ => None,
        }
    }

    /// Is it there, proved and durable?
    pub fn is_complete(&self) -> bool {
        self.progress == Progress::Complete
    }

    /// Did it give up?
    pub const fn has_failed(&self) -> bool {
        matches!(self.progress, Progress::Failed(_))
    }

    /// Blocks that are proved.
    pub fn proved(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.store.iter().flat_map(Store::proved)
    }

    /// Bytes from the beginning that are proved without a gap: of the head, or of nothing, at first.
    pub fn proved_len(&self) -> u64 {
        self.store.as_ref().map_or(0, Store::proved_len)
    }

    /// The announcements of its sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Announcement> {
        self.sessions.iter().map(|session| &session.announcement)
    }

    /// Whom it asked to serve it, and would take a session from.
    pub fn source(&self) -> Option<NodeId> {
        self.fetch.as_ref().map(Fetch::source)
    }
}

impl Machine for Receiver {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        match input {
            Input::Start { kept } => self.start(now, &kept),
            Input::Have(geometry) => self.have(now, geometry, out),
            Input::Came { geometry, blocks } => self.came(now, geometry, blocks, out),
            Input::Announced(announcement) => self.join(now, *announcement, out),
            Input::Frames(frames) => self.take(now, &frames, out),
            Input::Small { from, piece } => self.take_small(now, from, &piece, out),
            Input::Flush { flush, alone } => self.asked(now, &flush, alone),
            Input::Mend(mend) => self.promised(&mend),
            Input::Closed(session) => self.close(session),
            Input::Divert(sources) => self.divert(now, sources, out),
            Input::Refused(node) => {
                self.refused(now, node, out);
            }
            Input::Decoded { block, ok } => self.decoded(now, block, ok),
            Input::Proved { what, ok } => self.proof_ended(now, what, ok, out),
            Input::Synced => self.synced(now, out),
            Input::Broken(reason) => self.fail(now, reason, out),
            Input::Wake => {}
        }
        self.prove(out);
        while let Some(timer) = self.deadlines.pop_due(now) {
            self.run(now, timer, out);
        }
    }

    fn wake_at(&self) -> Option<Time> {
        self.deadlines.next()
    }
}

impl Receiver {
    fn start(&mut self, now: Time, kept: &[u8]) {
        if self.store.is_none() {
            self.store = Store::from_bytes(kept);
            // What a power failure took from the spool is nobody's fault.
            let kept = self.store.as_ref().map_or(0, Store::begun);
            self.proofs_to_fail = kept.saturating_add(self.settings.proofs_failed_max);
        }
        let patience = self.settings.patience;
        self.deadlines.set(Timer::Patience, now + patience);
    }

    fn have(&mut self, now: Time, geometry: Geometry, out: &mut Outbox<Output>) {
        out.push(Output::Available(0..geometry.blocks()));
        self.store = Some(Store::complete(geometry));
        self.head = Proof::Done;
        self.progress = Progress::Complete;
        self.fetch = None;
        self.proving.clear();
        self.deadlines = Deadlines::new();
        self.tell_all(now);
    }

    fn run(&mut self, now: Time, timer: Timer, out: &mut Outbox<Output>) {
        match timer {
            Timer::Nack(id) => self.answer(now, id, out),
            Timer::Recheck(id) => {
                if let (Some(at), Some(store)) = (self.position(id), &self.store) {
                    let session = &mut self.sessions[at];
                    let told = std::mem::take(&mut session.told);
                    let lacking = told.into_iter().filter(|block| store.lacking(*block) > 0);
                    session.due.extend(lacking);
                    if !session.due.is_empty() {
                        self.arm_for_lacks(now, id);
                    }
                }
            }
            Timer::Small => self.answer_small(out),
            Timer::Source => self.next_source(now, out),
            Timer::Patience => {
                if self.progress == Progress::Receiving {
                    let patience = self.settings.patience;
                    let reason = format!("no sender was heard for {patience:?}");
                    self.fail(now, reason, out);
                }
            }
        }
    }
}
