//! Who lacks an assignment, and gets it.

mod session;
mod store;

use std::ops::Range;
use std::time::Duration;

use bellwether_machine::{Deadlines, Machine, Outbox, Random};
use bellwether_types::{NodeId, Time};
use bellwether_wire::frame::{FrameHeader, SessionId};
use bellwether_wire::transfer::{
    Announcement, Ask, AssignmentId, Flush, Lack, Mend, NackTime, Small, Stage, Status,
    TransferMessage,
};

use crate::geometry::{Geometry, Place};
use crate::small;
use session::Session;
use store::{Store, Taken};

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

/// How an assignment is received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// New symbols after which the state is kept at the latest.
    pub keep_every: u32,
    /// A source that is silent for so long is given up for the next one.
    pub source_patience: Duration,
    /// So many sources in a row are tried in vain before the node gives up.
    pub sources_tried_max: u32,
    /// Without any word of any sender for so long, the node gives up.
    pub patience: Duration,
    /// Blocks that may turn out wrong before the node gives up.
    pub proofs_failed_max: u32,
}

/// What a receiver takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Go on from what was kept, if anything was; comes once, before everything else.
    Start {
        /// The bytes of the last [`Output::Persist`].
        kept: Vec<u8>,
    },
    /// All of it is here, proved and durable, cut like this.
    Have(Geometry),
    /// A session was announced by its sender, who may: it leads, or was asked to serve this node.
    Announced(Box<Announcement>),
    /// Frames of one session came, proved by their seals.
    Frames(Vec<FrameHeader>),
    /// A piece of a small assignment, from the leader. Its bytes count as those of the only frame of a batch.
    Small {
        /// The leader.
        from: NodeId,
        /// The piece.
        piece: Small,
    },
    /// A sender asks what is lacking.
    Flush {
        /// What it says.
        flush: Flush,
        /// To this node alone?
        alone: bool,
    },
    /// A sender promises.
    Mend(Mend),
    /// A session is over.
    Closed(SessionId),
    /// The leader says whom to fetch from.
    Divert(Vec<NodeId>),
    /// That node does not serve this one.
    Refused(NodeId),
    /// A repair block was decoded, and what was missing is in the spool; or it could not be.
    Decoded {
        /// The repair block.
        block: u32,
        /// Could it be decoded?
        ok: bool,
    },
    /// A proof ended.
    Proved {
        /// What was to be proved.
        what: Prove,
        /// Is it what it should be?
        ok: bool,
    },
    /// Everything in the spool is durable.
    Synced,
    /// The spool cannot be written; why, for people.
    Broken(String),
    /// Time has passed.
    Wake,
}

/// Something to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prove {
    /// The head, by its hash: the assignment's id. From then on its block hashes count.
    Head,
    /// A block of the data file by its hash; counted with those of the head in front.
    Block(u32),
}

/// What a receiver wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: TransferMessage,
    },
    /// Write the symbols of frames of the batch to the spool, one after the other.
    Write {
        /// The first frame's place in the batch.
        first: u16,
        /// How many frames.
        count: u16,
        /// Where all of them together belong.
        place: Place,
    },
    /// Put a repair symbol aside.
    WriteRepair {
        /// The frame's place in the batch.
        frame: u16,
        /// The repair block.
        block: u32,
        /// The number of the repair symbol.
        repair: u16,
    },
    /// Decode a repair block on any thread, and write what is missing to the spool.
    Decode {
        /// The repair block.
        block: u32,
        /// Its symbols that are missing.
        missing: Vec<u16>,
        /// The repair symbols there are.
        repairs: Vec<u16>,
    },
    /// Prove something on any thread.
    Prove(Prove),
    /// These blocks are proved: others may be served with them.
    Available(Range<u32>),
    /// Keep these bytes in place of earlier ones.
    Persist(Vec<u8>),
    /// Make everything in the spool durable.
    Sync,
    /// The cut is another one: repair symbols that were put aside are worth nothing.
    Recut(Geometry),
    /// Listen to the data channel no longer; this assignment comes by unicast.
    Quit,
    /// The assignment is there, proved and durable (MCTP-19).
    Complete,
    /// It will not come; why, for people. Another session may still bring it.
    Failed(String),
    /// Something happened that somebody may want to know.
    Told(Event),
}

/// What happened, for logs and counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An announcement contradicts what is known of the assignment, or makes no sense.
    BadAnnouncement(NodeId, String),
    /// So many frames were for no place in the assignment.
    BadFrames(SessionId, u32),
    /// Something was not what its hash says: a holder of the segment key sent it, or the disk changed it.
    NotProved(Prove),
    /// A session was forgotten: there were too many.
    TooManySessions(SessionId),
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

#[derive(Debug, Clone, Copy)]
struct SmallSource {
    from: NodeId,
    round: u32,
    spread: Duration,
}

/// Fetching by unicast.
#[derive(Debug)]
struct Fetch {
    sources: Vec<NodeId>,
    at: usize,
    tried: u32,
    /// Words of the source since it last brought something.
    idle: u32,
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

/// Sessions of one assignment at a time: the leader's, one before it, a source, and one to spare.
const SESSIONS_MAX: usize = 4;
/// Proofs that wait for an answer.
const PROVING_MAX: usize = 8;
/// Messages of one turn; what does not fit them waits for the next one.
const MESSAGES_MAX: usize = 32;
/// Bytes of lacks in one message.
const LACKS_LEN: usize = 900;
/// Ranges in one lack; more are split.
const RANGES_MAX: usize = 100;
/// NACKs are spread over twice what other answers are, and over no less: time for the first to silence the others.
const NACK_SPREAD: Duration = Duration::from_millis(40);
/// So few symbols lacking are no reason to hurry.
const FEW: u16 = 4;
/// Nor over more (MCTP-12).
const NACK_SPREAD_MAX: Duration = Duration::from_secs(1);
/// An announced spread is believed up to this.
const SPREAD_MAX: Duration = Duration::from_secs(10);

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
            Input::Have(geometry) => self.have(geometry, out),
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

    fn have(&mut self, geometry: Geometry, out: &mut Outbox<Output>) {
        out.push(Output::Available(0..geometry.blocks()));
        self.store = Some(Store::complete(geometry));
        self.head = Proof::Done;
        self.progress = Progress::Complete;
        self.deadlines = Deadlines::new();
    }

    fn join(&mut self, now: Time, announcement: Announcement, out: &mut Outbox<Output>) {
        let sender = announcement.sender;
        let refuse = |reason: String| Output::Told(Event::BadAnnouncement(sender, reason));
        if announcement.assignment != self.assignment {
            return out.push(refuse("it is of another assignment".to_owned()));
        }
        let geometry = match Geometry::announced(&announcement) {
            Ok(geometry) => geometry,
            Err(error) => return out.push(refuse(error.to_string())),
        };
        self.hear_of(now, sender, false);
        let id = announcement.session();
        if let Some(at) = self.position(id) {
            let known = &mut self.sessions[at];
            if known.announcement.salt != announcement.salt || known.sender() != sender {
                out.push(refuse("another session has its number".to_owned()));
            } else if announcement.participants <= 1 {
                // Whoever serves one node wants to know whether it is still there.
                known.unanswered = true;
                self.arm(now, id, false);
            }
            return;
        }
        match &mut self.store {
            None => self.store = Some(Store::new(geometry)),
            Some(store) if *store.geometry() == geometry => {}
            Some(store) => {
                let known = store.geometry();
                let same = known.head_len() == geometry.head_len()
                    && known.data_len() == geometry.data_len()
                    && known.block_len() == geometry.block_len();
                if !same {
                    let reason = "its lengths are not those that other sessions had";
                    return out.push(refuse(reason.to_owned()));
                }
                let newest = self
                    .sessions
                    .iter()
                    .map(|session| session.announcement.epoch);
                if newest
                    .max()
                    .is_some_and(|newest| newest > announcement.epoch)
                {
                    let reason = "its cut is not that of a later leader";
                    return out.push(refuse(reason.to_owned()));
                }
                store.recut(geometry);
                self.sessions.clear();
                out.push(Output::Recut(geometry));
            }
        }
        if announcement.sender == announcement.epoch.leader {
            // What earlier leaders had open, this one goes on with.
            let is_earlier = |session: &Session| {
                let known = &session.announcement;
                known.sender == known.epoch.leader && known.epoch < announcement.epoch
            };
            let earlier = self.sessions.iter().filter(|session| is_earlier(session));
            let earlier: Vec<SessionId> = earlier.map(Session::id).collect();
            for id in earlier {
                self.forget_timers(id);
                self.sessions.retain(|session| session.id() != id);
            }
        }
        if self.sessions.len() == SESSIONS_MAX {
            let oldest = self.sessions.remove(0);
            self.forget_timers(oldest.id());
            out.push(Output::Told(Event::TooManySessions(oldest.id())));
        }
        if let Progress::Failed(_) = self.progress {
            // A new session is a new chance.
            self.progress = Progress::Receiving;
            self.proofs_failed = 0;
        }
        let ask = announcement.ask;
        let mut session = Session::new(announcement);
        let answers = self.is_complete() || ask == Ask::All;
        session.unanswered = answers;
        self.sessions.push(session);
        if answers {
            self.all_sent(id);
            self.arm(now, id, false);
        }
    }

    fn take(&mut self, now: Time, frames: &[FrameHeader], out: &mut Outbox<Output>) {
        let Some(id) = frames.first().map(|frame| frame.session) else {
            return;
        };
        let (Some(at), Some(store)) = (self.position(id), &mut self.store) else {
            return;
        };
        let session = &mut self.sessions[at];
        let geometry = *store.geometry();
        let front_before = session.front;
        let mut bad = 0;
        let mut run: Option<(u16, u16, Place)> = None;
        let mut new = 0;
        for (index, frame) in (0_u16..).zip(frames) {
            let block = frame.block;
            if frame.session != id || block >= geometry.repair_blocks() {
                bad += 1;
                continue;
            }
            let repair = frame.symbol.checked_sub(geometry.symbols(block));
            let len = match repair {
                None => geometry.place(block, frame.symbol).len,
                Some(repair) if repair < geometry.repairs() => geometry.symbol_len().into(),
                Some(_) => 0,
            };
            if u32::from(frame.size) != len || len == 0 {
                bad += 1;
                continue;
            }
            session.note(frame, repair);
            let taken = store.take(block, frame.symbol);
            if taken == Taken::Useless {
                continue;
            }
            new += 1;
            match repair {
                Some(repair) => out.push(Output::WriteRepair {
                    frame: index,
                    block,
                    repair,
                }),
                None => {
                    let place = geometry.place(block, frame.symbol);
                    run = Some(match run.take() {
                        Some((first, count, so_far))
                            if first + count == index && so_far.precedes(&place) =>
                        {
                            (first, count + 1, so_far.and(&place))
                        }
                        other => {
                            flush_run(other, out);
                            (index, 1, place)
                        }
                    });
                }
            }
            if taken == Taken::Enough {
                flush_run(run.take(), out);
                if let Some((missing, repairs)) = store.decoding(block) {
                    out.push(Output::Decode {
                        block,
                        missing,
                        repairs,
                    });
                }
            }
            if store.lacking(block) == 0 {
                session.forget(block);
            }
        }
        flush_run(run, out);
        if bad > 0 {
            out.push(Output::Told(Event::BadFrames(id, bad)));
        }
        let sender = session.sender();
        let lacking_behind = self.note_front(at, front_before);
        self.hear_of(now, sender, new > 0);
        self.unkept += new;
        if self.unkept >= self.settings.keep_every {
            self.keep(out);
        }
        if lacking_behind || !self.sessions[at].due.is_empty() {
            self.arm_for_lacks(now, id);
        }
    }

    fn take_small(&mut self, now: Time, from: NodeId, piece: &Small, out: &mut Outbox<Output>) {
        let Ok(geometry) = small::geometry(piece.head_len, piece.len) else {
            return;
        };
        let Some((block, symbol, place)) = small::symbol(&geometry, piece) else {
            return;
        };
        let before = self.small.map_or(0, |source| source.round);
        let spread = Duration::from_millis(piece.spread_ms.into()).min(small::SPREAD_MAX);
        self.small = Some(SmallSource {
            from,
            round: piece.round,
            spread,
        });
        if self.progress != Progress::Receiving {
            if piece.round != before {
                self.arm_small(now);
            }
            return;
        }
        let store = self.store.get_or_insert_with(|| Store::new(geometry));
        if *store.geometry() == geometry && store.take(block, symbol) != Taken::Useless {
            out.push(Output::Write {
                first: 0,
                count: 1,
                place,
            });
        }
        self.hear_of(now, from, true);
    }

    fn arm_small(&mut self, now: Time) {
        if let Some(source) = self.small {
            let at = now + self.random.span(source.spread);
            self.deadlines.set(Timer::Small, at);
        }
    }

    fn answer_small(&self, out: &mut Outbox<Output>) {
        let Some(SmallSource {
            from: to, round, ..
        }) = self.small
        else {
            return;
        };
        let message = TransferMessage::Status(Status {
            assignment: self.assignment,
            session: Small::session(&self.assignment),
            seen: 0,
            received: 0,
            stage: self.stage(),
            lacking: 0,
            lacks: Vec::new(),
            joined: 0,
            round,
        });
        out.push(Output::Send { to, message });
    }

    /// Repair blocks that the sender left behind it, and of which something is lacking here, are to be told; are there
    /// any?
    fn note_front(&mut self, at: usize, before: u32) -> bool {
        let (session, Some(store)) = (&mut self.sessions[at], &self.store) else {
            return false;
        };
        let mut block = before;
        let mut any = false;
        while let Some(lacking) = store
            .next_lacking(block)
            .filter(|lacking| *lacking < session.front)
        {
            if store.lacking(lacking) > 0 && !session.told.contains(&lacking) {
                session.due.insert(lacking);
                any = true;
            }
            block = lacking + 1;
        }
        any
    }

    /// Everything was sent: whatever is lacking is to be told.
    fn all_sent(&mut self, id: SessionId) {
        let (Some(at), Some(store)) = (self.position(id), &self.store) else {
            return;
        };
        let session = &mut self.sessions[at];
        session.front = store.geometry().repair_blocks();
        session.told.clear();
        let mut block = 0;
        while let Some(lacking) = store.next_lacking(block) {
            if store.lacking(lacking) > 0 {
                session.due.insert(lacking);
            }
            block = lacking + 1;
        }
    }

    fn asked(&mut self, now: Time, flush: &Flush, alone: bool) {
        let Some(at) = self.position(flush.session) else {
            return;
        };
        let session = &mut self.sessions[at];
        if flush.round < session.round || flush.round == session.round && !alone {
            return;
        }
        session.round = flush.round;
        session.seen = session.seen.max(flush.sequence);
        session.unanswered = true;
        let sender = session.sender();
        if !flush.more {
            self.all_sent(flush.session);
        }
        self.hear_of(now, sender, false);
        self.arm(now, flush.session, alone);
    }

    fn promised(&mut self, mend: &Mend) {
        let (Some(at), Some(store)) = (self.position(mend.session), &self.store) else {
            return;
        };
        let session = &mut self.sessions[at];
        session.promise(mend, |block| {
            if block < store.geometry().repair_blocks() {
                store.lacking(block)
            } else {
                0
            }
        });
        if session.due.is_empty() && !session.told.is_empty() {
            // The sender asks again when it is done.
            session.unanswered = false;
            self.deadlines.cancel(Timer::Nack(mend.session));
        }
    }

    fn close(&mut self, id: SessionId) {
        self.forget_timers(id);
        let source = self.source();
        if let Some(at) = self.position(id) {
            let session = self.sessions.remove(at);
            if Some(session.sender()) == source && !self.is_complete() {
                // It served us as far as it could.
                self.deadlines.set(Timer::Source, Time::ZERO);
            }
        }
    }

    fn arm_for_lacks(&mut self, now: Time, id: SessionId) {
        let wanted = self.position(id).is_some_and(|at| {
            let session = &self.sessions[at];
            session.announcement.nack == NackTime::Block
        });
        if wanted && self.deadlines.get(Timer::Nack(id)).is_none() {
            self.arm(now, id, false);
        }
    }

    /// The turn to answer: spread at random, and sooner the more is lacking.
    fn arm(&mut self, now: Time, id: SessionId, at_once: bool) {
        let (Some(at), Some(store)) = (self.position(id), &self.store) else {
            return;
        };
        let session = &self.sessions[at];
        let spread = Duration::from_millis(session.announcement.spread_ms.into()).min(SPREAD_MAX);
        let most = session.due.iter().map(|block| store.lacking(*block)).max();
        let delay = match most {
            _ if at_once => Duration::ZERO,
            None => self.random.span(spread),
            // What one turn of repair left over is little everywhere, and has time while more is to come.
            Some(most) if most <= FEW && session.front < store.geometry().repair_blocks() => {
                let spread = (spread * 2).clamp(NACK_SPREAD, NACK_SPREAD_MAX);
                spread + self.random.span(spread)
            }
            Some(most) => {
                let spread = (spread * 2).clamp(NACK_SPREAD, NACK_SPREAD_MAX);
                let part = turn_of(most, session.reference);
                spread.mul_f64(part * 7.0 / 8.0) + self.random.span(spread / 8)
            }
        };
        self.deadlines.set(Timer::Nack(id), now + delay);
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

    /// Says to a sender how far this node is and what it lacks.
    fn answer(&mut self, now: Time, id: SessionId, out: &mut Outbox<Output>) {
        let Some(at) = self.position(id) else {
            return;
        };
        let fetches = self.fetch.is_some() && self.source() != Some(self.sessions[at].sender());
        let lacks = if fetches || self.progress != Progress::Receiving {
            self.sessions[at].due.clear();
            Vec::new()
        } else {
            self.lacks(at)
        };
        let session = &mut self.sessions[at];
        if lacks.is_empty() && !session.unanswered && self.progress == Progress::Receiving {
            return;
        }
        let (mut told, mut messages) = (Vec::new(), Vec::new());
        let mut len = 0;
        for lack in lacks {
            let lack_len = len_of(&lack);
            if len + lack_len > LACKS_LEN {
                messages.push(std::mem::take(&mut told));
                len = 0;
            }
            len += lack_len;
            told.push(lack);
        }
        messages.push(told);
        session.unanswered = false;
        for lacks in messages {
            let message = TransferMessage::Status(self.status(at, lacks));
            let to = self.sessions[at].sender();
            out.push(Output::Send { to, message });
        }
        let session = &self.sessions[at];
        let spread = Duration::from_millis(session.announcement.spread_ms.into()).min(SPREAD_MAX);
        if !session.due.is_empty() {
            self.deadlines
                .set(Timer::Nack(id), now + spread + MESSAGES_PAUSE);
        }
        if !session.told.is_empty() {
            self.deadlines
                .set(Timer::Recheck(id), now + spread * 4 + RECHECK_AFTER);
        }
    }

    /// What is due to be told, as much as one turn takes.
    fn lacks(&mut self, at: usize) -> Vec<Lack> {
        let Some(store) = &self.store else {
            return Vec::new();
        };
        let session = &mut self.sessions[at];
        let alone = session.announcement.participants <= 1;
        let (mut lacks, mut len) = (Vec::new(), 0);
        while let Some(block) = session.due.pop_first() {
            let any_max = if alone {
                0
            } else {
                session
                    .repairs_left(block)
                    .min(store.geometry().symbols(block) / 4)
            };
            match (store.lack(block, any_max), lacks.last_mut()) {
                (None, _) => continue,
                (Some(Lack::Whole(_, _)), Some(Lack::Whole(first, count)))
                    if *first + *count == block =>
                {
                    *count += 1;
                }
                (Some(Lack::These(block, ranges)), _) => {
                    let parts = ranges.chunks(RANGES_MAX);
                    lacks.extend(parts.map(|part| Lack::These(block, part.to_vec())));
                    len += ranges.len() * RANGE_LEN;
                }
                (Some(lack), _) => lacks.push(lack),
            }
            session.told.insert(block);
            len += RANGE_LEN;
            if len > LACKS_LEN * MESSAGES_MAX {
                break;
            }
        }
        lacks
    }

    fn status(&self, at: usize, lacks: Vec<Lack>) -> Status {
        let session = &self.sessions[at];
        let (mut lacking, mut is_whole) = (0, false);
        if let Some(store) = &self.store {
            let mut block = 0;
            while let Some(next) = store
                .next_lacking(block)
                .filter(|next| *next < session.front)
            {
                lacking += u64::from(store.lacking(next));
                block = next + 1;
            }
            is_whole = store.is_all_whole();
        }
        let fetches = self.fetch.is_some() && self.source() != Some(session.sender());
        let stage = match self.stage() {
            Stage::Receiving if is_whole => Stage::Held,
            Stage::Receiving if fetches => Stage::Fetching,
            stage => stage,
        };
        Status {
            assignment: self.assignment,
            session: session.id(),
            seen: session.seen,
            received: session.received,
            stage,
            lacking,
            lacks,
            round: session.round,
            joined: session.joined.unwrap_or(session.seen),
        }
    }

    fn stage(&self) -> Stage {
        match &self.progress {
            Progress::Complete => Stage::Complete,
            Progress::Failed(reason) => Stage::Failed(cut_off(reason)),
            Progress::Syncing => Stage::Held,
            Progress::Receiving => Stage::Receiving,
        }
    }

    /// Tells all senders, each in its turn, that something came to an end here.
    fn tell_all(&mut self, now: Time) {
        self.arm_small(now);
        for at in 0..self.sessions.len() {
            self.sessions[at].unanswered = true;
            self.sessions[at].due.clear();
            let id = self.sessions[at].id();
            self.arm(now, id, false);
        }
    }

    fn decoded(&mut self, now: Time, block: u32, ok: bool) {
        let Some(store) = &mut self.store else {
            return;
        };
        if block >= store.geometry().repair_blocks() || store.decoding(block).is_none() {
            return;
        }
        if ok {
            store.fill(block);
            return;
        }
        store.drop_repairs(block);
        self.lacks_again(now, block);
    }

    /// A repair block that seemed whole is not.
    fn lacks_again(&mut self, now: Time, block: u32) {
        for at in 0..self.sessions.len() {
            if block < self.sessions[at].front {
                self.sessions[at].due.insert(block);
                let id = self.sessions[at].id();
                self.arm(now, id, false);
            }
        }
    }

    /// Hands out what can be proved, head first.
    fn prove(&mut self, out: &mut Outbox<Output>) {
        let Some(store) = &self.store else {
            return;
        };
        if self.progress != Progress::Receiving {
            return;
        }
        if self.head == Proof::None && store.holds_head() {
            self.head = Proof::Asked;
            out.push(Output::Prove(Prove::Head));
        }
        if self.head != Proof::Done {
            return;
        }
        let mut from = store.geometry().head_blocks();
        while self.proving.len() < PROVING_MAX
            && let Some(block) = store.next_unproved(from)
        {
            if !self.proving.contains(&block) {
                self.proving.push(block);
                out.push(Output::Prove(Prove::Block(block)));
            }
            from = block + 1;
        }
        if store.is_proved() {
            self.progress = Progress::Syncing;
            out.push(Output::Sync);
        }
    }

    fn proof_ended(&mut self, now: Time, what: Prove, ok: bool, out: &mut Outbox<Output>) {
        let Some(store) = &mut self.store else {
            return;
        };
        let blocks = match what {
            Prove::Head if self.head == Proof::Asked => {
                self.head = if ok { Proof::Done } else { Proof::None };
                0..store.geometry().head_blocks()
            }
            Prove::Block(block) if self.proving.contains(&block) => {
                self.proving.retain(|other| *other != block);
                block..block + 1
            }
            _ => return,
        };
        if ok {
            blocks.clone().for_each(|block| store.prove(block));
            return out.push(Output::Available(blocks));
        }
        out.push(Output::Told(Event::NotProved(what)));
        let mut repair_blocks: Vec<u32> = Vec::new();
        for block in blocks {
            store.clear(block);
            repair_blocks.push(store.geometry().repair_block_of(block));
        }
        repair_blocks.dedup();
        self.proofs_failed += 1;
        if self.proofs_failed > self.proofs_to_fail {
            let what = match what {
                Prove::Head => "the head".to_owned(),
                Prove::Block(block) => format!("block {block}"),
            };
            let reason = format!("{what} is not what was signed, however often it was sent");
            return self.fail(now, reason, out);
        }
        for block in repair_blocks {
            self.lacks_again(now, block);
        }
    }

    fn synced(&mut self, now: Time, out: &mut Outbox<Output>) {
        if self.progress != Progress::Syncing {
            return;
        }
        self.keep(out);
        self.progress = Progress::Complete;
        self.fetch = None;
        self.deadlines.cancel(Timer::Source);
        self.deadlines.cancel(Timer::Patience);
        out.push(Output::Complete);
        self.tell_all(now);
    }

    fn fail(&mut self, now: Time, reason: String, out: &mut Outbox<Output>) {
        if self.is_complete() || matches!(self.progress, Progress::Failed(_)) {
            return;
        }
        self.keep(out);
        self.progress = Progress::Failed(reason.clone());
        self.fetch = None;
        self.deadlines.cancel(Timer::Source);
        self.deadlines.cancel(Timer::Patience);
        out.push(Output::Failed(reason));
        self.tell_all(now);
    }

    fn keep(&mut self, out: &mut Outbox<Output>) {
        self.unkept = 0;
        if let Some(store) = &self.store {
            out.push(Output::Persist(store.to_bytes()));
        }
    }

    fn divert(&mut self, now: Time, mut sources: Vec<NodeId>, out: &mut Outbox<Output>) {
        if let Progress::Failed(_) = self.progress {
            // Other sources are a new chance.
            self.progress = Progress::Receiving;
            self.proofs_failed = 0;
        }
        if sources.is_empty() || self.progress != Progress::Receiving {
            return;
        }
        sources.truncate(bellwether_wire::transfer::Divert::SOURCES_MAX);
        match &self.fetch {
            Some(fetch) if fetch.sources == sources => return,
            Some(_) => {}
            None => out.push(Output::Quit),
        }
        self.fetch = Some(Fetch {
            sources,
            at: 0,
            tried: 0,
            idle: 0,
        });
        self.ask_source(now, out);
    }

    /// The next one is asked at once; when all refused, after a while.
    fn refused(&mut self, now: Time, node: NodeId, out: &mut Outbox<Output>) {
        let Some(fetch) = &mut self.fetch else {
            return;
        };
        if fetch.source() != node {
            return;
        }
        if fetch.at % fetch.sources.len() + 1 < fetch.sources.len() {
            fetch.at += 1;
            self.ask_source(now, out);
        } else {
            let later = now + self.settings.source_patience / 4;
            self.deadlines.set(Timer::Source, later);
        }
    }

    fn next_source(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Some(fetch) = &mut self.fetch else {
            return;
        };
        fetch.at += 1;
        fetch.tried += 1;
        fetch.idle = 0;
        if fetch.tried > self.settings.sources_tried_max {
            let reason = "multicast does not reach this node, and none of its neighbours serves it";
            return self.fail(now, reason.to_owned(), out);
        }
        self.ask_source(now, out);
    }

    fn ask_source(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Some(to) = self.source() else {
            return;
        };
        let message = TransferMessage::Fetch(self.assignment);
        out.push(Output::Send { to, message });
        let patience = self.settings.source_patience;
        self.deadlines.set(Timer::Source, now + patience);
    }

    /// A sender is alive. A source that only says so, and sends nothing, is believed for a while.
    fn hear_of(&mut self, now: Time, sender: NodeId, brings: bool) {
        if self.progress != Progress::Receiving {
            return;
        }
        let patience = now + self.settings.patience;
        self.deadlines.set(Timer::Patience, patience);
        let Some(fetch) = &mut self.fetch else {
            return;
        };
        if fetch.source() != sender {
            return;
        }
        fetch.idle = if brings { 0 } else { fetch.idle + 1 };
        if brings {
            fetch.tried = 0;
        }
        if fetch.idle < IDLE_MAX {
            let patience = now + self.settings.source_patience;
            self.deadlines.set(Timer::Source, patience);
        }
    }

    fn position(&self, id: SessionId) -> Option<usize> {
        self.sessions.iter().position(|session| session.id() == id)
    }

    fn forget_timers(&mut self, id: SessionId) {
        self.deadlines.cancel(Timer::Nack(id));
        self.deadlines.cancel(Timer::Recheck(id));
    }
}

/// Words of a source that brings nothing before another one is asked.
const IDLE_MAX: u32 = 40;
/// Between two turns of one long answer.
const MESSAGES_PAUSE: Duration = Duration::from_millis(5);
/// What was told and is not mended is told again after this, beside the spread.
const RECHECK_AFTER: Duration = Duration::from_millis(200);
/// The most bytes of a range.
const RANGE_LEN: usize = 8;

fn len_of(lack: &Lack) -> usize {
    match lack {
        Lack::Whole(..) | Lack::Any(..) => 12,
        Lack::These(_, ranges) => 12 + ranges.len() * RANGE_LEN,
    }
}

/// Whose turn it is to speak, from 0, first, to 1: the more is lacking in comparison with what others lacked before,
/// the sooner.
fn turn_of(lacking: u16, reference: Option<u16>) -> f64 {
    let lacking = f64::from(lacking);
    match reference {
        Some(reference) => {
            let reference = f64::from(reference.max(1));
            ((1.25 * reference - lacking) / (0.75 * reference)).clamp(0.0, 1.0)
        }
        None => 24.0 / (24.0 + lacking),
    }
}

fn cut_off(reason: &str) -> String {
    let mut end = reason.len().min(Stage::REASON_LEN_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

fn flush_run(run: Option<(u16, u16, Place)>, out: &mut Outbox<Output>) {
    if let Some((first, count, place)) = run {
        out.push(Output::Write {
            first,
            count,
            place,
        });
    }
}

impl Fetch {
    fn source(&self) -> NodeId {
        self.sources[self.at % self.sources.len()]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_every: 4_096,
            source_patience: Duration::from_secs(2),
            sources_tried_max: 12,
            patience: Duration::from_secs(60),
            proofs_failed_max: 8,
        }
    }
}
