//! Who has an assignment, and brings it to others.

mod participants;
mod probes;
mod work;

use std::ops::Range;
use std::time::Duration;

use bellwether_machine::{Deadlines, Machine, Outbox};
use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::{
    Announcement, Ask, Divert, Flush, Lack, Mend, Stage, Status, TransferMessage,
};

use crate::job::{Fate, Finish, Identity, Job, Outcome, Settings, Slow, Way};
use crate::pacing::Pacer;
use crate::rate::RateControl;
use participants::{Participant, Participants, Standing, Window};
use probes::Probes;
use work::{Mended, Work};

/// One session of a sender.
///
/// It holds no content: it says which symbols go, and whoever drives it takes them from the assignment, or from the
/// repair symbols that it had made, seals them and sends them.
#[derive(Debug)]
pub struct Sender {
    job: Job,
    settings: Settings,
    announcement: Announcement,
    phase: Phase,
    work: Work,
    participants: Participants,
    pacer: Pacer,
    /// Was there something to send when it was last looked?
    is_busy: bool,
    rate: RateControl,
    probes: Probes,
    /// Promises that the next Mend makes.
    promised: Mend,
    /// When it last made some.
    mended_at: Option<Time>,
    /// Who lost very much, while the others are asked how they fare.
    suspect: Option<(NodeId, Window)>,
    /// Those who fetch by unicast and from whom, in the order in which they were told to.
    diverted: Vec<(NodeId, Vec<NodeId>)>,
    /// From the last announcement to the next.
    announced: Duration,
    /// The last round of questions.
    round: u32,
    /// How long the next round waits, beside the spread.
    patience: Duration,
    deadlines: Deadlines<Timer>,
}

/// What a sender takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Open the session; comes once, before everything else.
    Start,
    /// Time has passed.
    Wake,
    /// A participant's word. It is authentic, and nothing else is known of it.
    Status {
        /// Who says it.
        from: NodeId,
        /// What.
        status: Status,
    },
    /// These blocks are proved and may be sent.
    Available(Range<u32>),
    /// The repair symbols of this repair block are at hand, as an [`Output::Encode`] asked.
    Encoded {
        /// The repair block.
        block: u32,
    },
    /// This node is to have the assignment, too.
    Joined(NodeId),
    /// This node left the segment.
    Departed(NodeId),
    /// Never send faster from now on, in bits a second: other sessions share the link.
    Ceiling(u64),
    /// End the session.
    Stop,
    /// Somebody else leads, who goes on with it: end without a word.
    Deposed,
}

/// What a sender wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: TransferMessage,
    },
    /// Let this ride in every LeaderAlive from now on, or nothing of this session.
    Carry(Option<Box<Announcement>>),
    /// Send frames.
    Frames(Burst),
    /// Make the repair symbols of this repair block, on any thread.
    Encode {
        /// The repair block.
        block: u32,
    },
    /// The repair symbols of this repair block are needed no longer, for the time being.
    Forget {
        /// The repair block.
        block: u32,
    },
    /// The session is over; nothing comes after this.
    Ended(Outcome),
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum To {
    /// All members, on the control channel.
    Segment,
    /// All participants, on the session's data channel.
    Group,
    /// One node.
    Node(NodeId),
}

/// Frames one after the other: of one repair block, with successive symbols and sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Burst {
    /// The repair block.
    pub block: u32,
    /// The first symbol.
    pub first: u16,
    /// How many.
    pub count: u16,
    /// The first frame's sequence number.
    pub sequence: u64,
    /// The pass of all of them.
    pub pass: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not started.
    New,
    /// Those who have the assignment, or all, are about to say so.
    Asking,
    /// Frames go, or wait for content.
    Sending,
    /// All was sent; who lacks something?
    Flushing,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The end of the answers to the announcement.
    Answers,
    /// The next announcement.
    Announce,
    /// The next look at the rate.
    Rate,
    /// The end of answers about a suspect.
    Look,
    /// The next promise.
    Mend,
    /// The end of a round of answers.
    Round,
}

/// From one look at the rate to the next; half as long in the beginning.
const RATE_EVERY: Duration = Duration::from_millis(100);
/// From one promise to the next at least: the first request is answered at once, and those just behind it together.
const MEND_PAUSE: Duration = Duration::from_millis(1);
/// A round is never waited for longer than this beside its spread.
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// Half the time from the first announcement to the second.
const ANNOUNCED_FIRST: Duration = Duration::from_millis(10);
/// As many are asked one by one; more, by multicast.
const ASKED_SINGLY: usize = 4;
/// As many are asked by unicast in one round.
const ASKED_MAX: usize = 64;
/// Millionths of loss from which a participant counts as slow.
const LOSS_SLOW: u64 = 200_000;
/// The others have at least so long to say how they fare when one loses very much.
const LOOK_MIN: Duration = Duration::from_millis(100);
/// A participant that asks for so many times the whole assignment gets no more.
const ASKED_TIMES_MAX: u64 = 4;
/// Bursts of one call; a wake-up that is very late goes on in the next one.
const BURSTS_MAX: usize = 256;
/// Sources that a diverted participant is given.
const SOURCES: usize = 4;
/// Promises of one message: it fits one packet.
const PROMISES_MAX: usize = 100;

impl Sender {
    /// A session before its start.
    pub fn new(job: Job, identity: &Identity, settings: Settings) -> Self {
        let announcement = job.announcement(identity, &settings);
        let mut work = Work::new(job.geometry, settings.nack, announcement.repair_start);
        if job.is_available {
            work.make_available(0..job.geometry.blocks());
        }
        if job.ask == Ask::Complete && job.way != Way::Chain {
            work.send_first(0..job.geometry.blocks());
        }
        let rate = RateControl::new(settings.rate);
        Self {
            participants: Participants::new(job.participants.iter().copied()),
            pacer: Pacer::new(rate.rate()),
            promised: Mend {
                session: announcement.session(),
                repairs: Vec::new(),
                whole: Vec::new(),
            },
            is_busy: false,
            probes: Probes::default(),
            suspect: None,
            diverted: Vec::new(),
            announced: ANNOUNCED_FIRST,
            mended_at: None,
            round: 0,
            patience: settings.patience,
            deadlines: Deadlines::new(),
            phase: Phase::New,
            job,
            settings,
            announcement,
            work,
            rate,
        }
    }

    /// The session's announcement.
    pub const fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// What is sent, to whom, and how.
    pub const fn job(&self) -> &Job {
        &self.job
    }

    /// Bits in a second at present.
    pub const fn rate(&self) -> u64 {
        self.pacer.rate()
    }

    /// Is it over?
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Does it send, or is about to?
    pub fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Asking | Phase::Sending)
    }

    /// Where frames and what is for all participants go.
    pub fn target(&self) -> To {
        match self.job.participants.first() {
            Some(node) if self.job.way == Way::Single => To::Node(*node),
            _ => To::Group,
        }
    }

    /// Bytes of frames that were sent so far, all headers included.
    pub const fn sent_bytes(&self) -> u64 {
        self.work.counts.bytes
    }

    /// How far each participant is, as far as it said: what became of it, and the symbols that it lacks.
    pub fn progress(&self) -> impl Iterator<Item = (NodeId, Option<&Fate>, u64)> {
        self.participants.all().map(|(node, participant)| {
            let fate = match participant.standing() {
                Standing::Over(fate) => Some(fate),
                _ => None,
            };
            (node, fate, participant.lacking())
        })
    }

    /// The one who is served, in a session of one.
    pub fn served(&self) -> Option<NodeId> {
        match self.target() {
            To::Node(node) => Some(node),
            _ => None,
        }
    }
}

impl Machine for Sender {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        if self.phase == Phase::Over {
            return;
        }
        match input {
            Input::Start => self.start(now, out),
            Input::Wake => {}
            Input::Status { from, status } => self.take_status(now, from, &status, out),
            Input::Available(blocks) => {
                let end = blocks.end.min(self.job.geometry.blocks());
                self.work.make_available(blocks.start..end);
            }
            Input::Encoded { block } => self.work.encoded(block),
            Input::Joined(node) => self.participants.join(node),
            Input::Departed(node) => {
                if let Some(participant) = self.participants.get_mut(node)
                    && !matches!(participant.standing(), Standing::Over(_))
                {
                    participant.stand(Standing::Over(Fate::Departed));
                }
            }
            Input::Ceiling(ceiling) => {
                self.rate.set_ceiling(ceiling);
                self.pacer.set_rate(self.rate.rate());
            }
            Input::Stop => return self.end(true, out),
            Input::Deposed => return self.end(false, out),
        }
        while let Some(timer) = self.deadlines.pop_due(now) {
            self.run(now, timer, out);
        }
        if self.is_enough() {
            return self.end(true, out);
        }
        if self.phase == Phase::Sending {
            self.send(now, out);
        }
    }

    fn wake_at(&self) -> Option<Time> {
        let sending = self.phase == Phase::Sending && self.can_send();
        let send = sending.then(|| self.pacer.open_at());
        [self.deadlines.next(), send].into_iter().flatten().min()
    }
}

impl Sender {
    fn start(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.deadlines.set(Timer::Rate, now);
        self.announce(now, out);
        if self.job.way == Way::Chain {
            self.chain(out);
            return self.begin_flush(now, out);
        }
        if self.job.is_new {
            self.phase = Phase::Sending;
        } else {
            self.phase = Phase::Asking;
            let wait = self.settings.spread_of(self.participants.len()) + self.settings.patience;
            self.deadlines.set(Timer::Answers, now + wait);
        }
    }

    fn announce(&mut self, now: Time, out: &mut Outbox<Output>) {
        let announcement = Box::new(self.announcement.clone());
        if self.settings.carry && self.job.way != Way::Single {
            if self.announced == ANNOUNCED_FIRST {
                out.push(Output::Carry(Some(announcement.clone())));
            } else if self.announced >= self.settings.announce_every {
                // From here on heartbeats say it often enough.
                return;
            }
        }
        let to = self.served().map_or(To::Segment, To::Node);
        out.push(Output::Send {
            to,
            message: TransferMessage::Announce(announcement),
        });
        // Soon again at first: whoever missed it misses frames.
        let next = self
            .announced
            .saturating_mul(2)
            .min(self.settings.announce_every);
        self.announced = next;
        self.deadlines.set(Timer::Announce, now + next);
    }

    /// Each fetches from the one before it, and if that fails from one further up.
    fn chain(&mut self, out: &mut Outbox<Output>) {
        let chain: Vec<NodeId> = std::iter::once(self.announcement.sender)
            .chain(self.participants.nodes())
            .collect();
        for (place, node) in chain.iter().enumerate().skip(1) {
            let before = chain[..place].iter().rev().take(SOURCES - 1);
            let mut sources: Vec<NodeId> = before.copied().collect();
            if sources.last() != chain.first() {
                sources.push(self.announcement.sender);
            }
            self.divert(*node, &sources, out);
            self.diverted.push((*node, sources));
            if let Some(participant) = self.participants.get_mut(*node) {
                participant.stand(Standing::Fetching);
            }
        }
    }

    fn divert(&self, node: NodeId, sources: &[NodeId], out: &mut Outbox<Output>) {
        let divert = Divert {
            assignment: self.job.assignment,
            sources: sources.to_vec(),
        };
        let announce = TransferMessage::Announce(Box::new(self.announcement.clone()));
        for message in [announce, TransferMessage::Divert(divert)] {
            let to = To::Node(node);
            out.push(Output::Send { to, message });
        }
    }

    fn run(&mut self, now: Time, timer: Timer, out: &mut Outbox<Output>) {
        match timer {
            Timer::Answers => {
                if self.phase == Phase::Asking {
                    self.phase = Phase::Sending;
                }
            }
            Timer::Announce => {
                if self.job.way == Way::Single && self.phase == Phase::Sending {
                    // It waits for content, and must not wait for a node that is gone.
                    let tries_max = self.settings.tries_max;
                    self.participants
                        .end_round(u32::MAX, self.announced, tries_max);
                }
                self.announce(now, out);
            }
            Timer::Rate => {
                if let Some(sent) = self.probes.sent_since(now, self.work.counts.bytes) {
                    self.rate.tick(self.work.sequence(), sent);
                    self.pacer.set_rate(self.rate.rate());
                }
                self.probe(now, out);
                let next = match self.rate.starts() {
                    true => RATE_EVERY / 2,
                    false => RATE_EVERY,
                };
                self.deadlines.set(Timer::Rate, now + next);
            }
            Timer::Look => self.look(out),
            Timer::Mend => self.promise(now, out),
            Timer::Round => self.end_round(now, out),
        }
    }

    /// Asks one participant how much came: how long it takes to answer tells of queues.
    fn probe(&mut self, now: Time, out: &mut Outbox<Output>) {
        if self.phase != Phase::Sending || !self.rate.is_adaptive() {
            return;
        }
        let Some(node) = self.probes.choose(&self.participants) else {
            return;
        };
        self.round += 1;
        self.probes.asked(node, self.round, now);
        out.push(Output::Send {
            to: To::Node(node),
            message: TransferMessage::Flush(Flush {
                session: self.announcement.session(),
                sequence: self.work.sequence(),
                round: self.round,
                more: true,
            }),
        });
    }

    fn can_send(&self) -> bool {
        !self.work.is_idle()
    }

    fn send(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.work.ask_for_codes(out);
        if !std::mem::replace(&mut self.is_busy, true) {
            self.pacer.begin(now);
        }
        let frame = u64::from(self.job.geometry.symbol_len()) + u64::from(self.settings.overhead);
        for _ in 0..BURSTS_MAX {
            if !self.pacer.is_open(now) {
                return;
            }
            let frames = self.pacer.batch(frame);
            let Some(burst) = self.work.next(frames, self.settings.overhead) else {
                self.is_busy = false;
                break;
            };
            let bytes = self.work.bytes_of(&burst, self.settings.overhead);
            self.pacer.spend(bytes);
            out.push(Output::Frames(burst));
        }
        if self.work.is_done() && self.work.is_all_available() {
            self.begin_flush(now, out);
        }
    }

    fn take_status(&mut self, now: Time, from: NodeId, status: &Status, out: &mut Outbox<Output>) {
        let geometry = &self.job.geometry;
        let meant = status.assignment == self.job.assignment
            && status.session == self.announcement.session()
            && status.seen <= self.work.sequence()
            && status.round <= self.round;
        if !meant || status.lacks.iter().any(|lack| !is_possible(lack, geometry)) {
            return;
        }
        let Some(participant) = self.participants.get_mut(from) else {
            return;
        };
        let before = participant.lacking();
        // Before all was sent, an answer tells how far somebody is, and not that nothing helps.
        let tries_max = (self.phase == Phase::Flushing).then_some(self.settings.tries_max);
        let window = participant.hear(status, tries_max);
        if let Some((took, frames, span)) = self.probes.answered(now, from, status) {
            let frame =
                u64::from(self.job.geometry.symbol_len()) + u64::from(self.settings.overhead);
            let bits = u128::from(frames * frame * 8);
            let delivered = (span > Duration::ZERO)
                .then(|| u64::try_from(bits * 1_000_000_000 / span.as_nanos()).unwrap_or(u64::MAX));
            self.rate.answered(took, delivered);
        }
        if participant.lacking() < before {
            self.patience = self.settings.patience;
        }
        let takes_part = matches!(participant.standing(), Standing::Taking);
        if self.phase == Phase::Asking && self.job.ask == Ask::All && self.participants.are_heard()
        {
            self.phase = Phase::Sending;
        }
        if let Some(window) = window.filter(|_| takes_part) {
            self.judge(now, from, window, out);
        }
        let takes_part = self
            .participants
            .get_mut(from)
            .is_some_and(|participant| *participant.standing() == Standing::Taking);
        let is_suspect = self.suspect.is_some_and(|(suspect, _)| suspect == from);
        if status.stage != Stage::Receiving || is_suspect {
            return;
        }
        let known = self.diverted.iter().find(|(node, _)| *node == from);
        if let Some((_, sources)) = known {
            // It started again since, or missed it.
            self.divert(from, sources, out);
        } else if takes_part {
            self.mend(now, from, status);
        }
    }

    /// Makes something of what a participant lost. If it is very much, the others are asked first how they fare: then it
    /// is known whether it is slow or the rate too high.
    fn judge(&mut self, now: Time, from: NodeId, window: Window, out: &mut Outbox<Output>) {
        let is_much = window.loss >= LOSS_SLOW && self.job.way != Way::Single;
        if window.is_deaf && is_much {
            self.drop_out(from, true, out);
        } else if !is_much {
            self.rate.lost(window.from, window.loss);
        } else if self.suspect.is_none() && self.settings.slow != Slow::Wait {
            self.suspect = Some((from, window));
            if self.phase == Phase::Sending {
                self.round += 1;
                let message = TransferMessage::Flush(Flush {
                    session: self.announcement.session(),
                    sequence: self.work.sequence(),
                    round: self.round,
                    more: true,
                });
                let to = self.target();
                out.push(Output::Send { to, message });
            }
            // What is asked waits behind the frames of a full queue, and the answers are of no use one by one.
            let wait = self.settings.spread_of(self.participants.len()) + self.settings.patience;
            let wait = wait + self.rate.round_trip() * 2;
            self.deadlines.set(Timer::Look, now + wait.max(LOOK_MIN));
        } else if self.settings.slow == Slow::Wait {
            self.rate.lost(window.from, window.loss);
        }
    }

    /// The others have said how they fare.
    fn look(&mut self, out: &mut Outbox<Output>) {
        let Some((node, window)) = self.suspect.take() else {
            return;
        };
        if self.participants.are_few(window.loss) {
            self.drop_out(node, false, out);
        } else {
            self.rate.lost(window.from, window.loss);
        }
    }

    /// Whom multicast does not reach fetches by unicast; who loses far more than the others does by policy what they need
    /// not wait for.
    fn drop_out(&mut self, node: NodeId, is_deaf: bool, out: &mut Outbox<Output>) {
        let standing = match self.settings.slow {
            Slow::Wait if !is_deaf => return,
            Slow::Leave => Standing::Over(Fate::LeftBehind),
            Slow::Wait | Slow::Unicast => {
                // Those who have much in front; then in a chain, so that nobody waits for who waits for it.
                let mut sources = self.participants.by_merit();
                sources.retain(|source| *source != node);
                sources.truncate(SOURCES / 2);
                let diverted = self.diverted.iter().rev().map(|(other, _)| *other);
                sources.extend(diverted.take(SOURCES / 2));
                sources.push(self.announcement.sender);
                self.divert(node, &sources, out);
                self.diverted.push((node, sources));
                Standing::Fetching
            }
        };
        if let Some(participant) = self.participants.get_mut(node) {
            participant.stand(standing);
        }
    }

    fn mend(&mut self, now: Time, from: NodeId, status: &Status) {
        // What will be lost of it is sent along; towards the end one symbol more saves a round.
        let sent_once = self.work.is_sent_once();
        let losing = self.rate.usual_loss();
        let mut asked = 0_u64;
        for lack in &status.lacks {
            if let Lack::Whole(first, count) = lack {
                for block in *first..first + count {
                    let mended = self.work.lack_whole(block, status.seen);
                    asked += self.note(mended, u64::from(self.job.geometry.symbols(block)));
                }
                continue;
            }
            let count = match lack {
                Lack::Any(_, count) => *count,
                _ => 0,
            };
            let spare = spare_of(count, losing) + u16::from(sent_once);
            let mended = self.work.lack(lack, status.seen, spare);
            asked += self.note(mended, symbols_in(lack));
        }
        if asked == 0 {
            return;
        }
        if self.phase == Phase::Flushing {
            self.phase = Phase::Sending;
            self.deadlines.cancel(Timer::Round);
        }
        if self.deadlines.get(Timer::Mend).is_none() && !self.promised.is_empty() {
            let at = self
                .mended_at
                .map_or(now, |last| now.max(last + MEND_PAUSE));
            self.deadlines.set(Timer::Mend, at);
        }
        let most = self
            .job
            .geometry
            .symbols_in_all()
            .saturating_mul(ASKED_TIMES_MAX);
        if let Some(participant) = self.participants.get_mut(from) {
            participant.asked += asked;
            if participant.asked > most + self.work.sequence() {
                let lacking = participant.lacking();
                participant.stand(Standing::Over(Fate::Stuck { lacking }));
            }
        }
    }

    /// Promises what will be sent again; how much it is.
    fn note(&mut self, mended: Mended, symbols: u64) -> u64 {
        match mended {
            Mended::Nothing => return 0,
            Mended::Symbols => {}
            Mended::Repairs(block, due) => {
                self.promised.repairs.retain(|(other, _)| *other != block);
                self.promised.repairs.push((block, due));
            }
            Mended::Whole(block) => match self.promised.whole.last_mut() {
                Some((first, count)) if *first + *count == block => *count += 1,
                _ => self.promised.whole.push((block, 1)),
            },
        }
        symbols
    }

    fn promise(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.mended_at = Some(now);
        let session = self.announcement.session();
        let to = self.target();
        let mut promised = std::mem::replace(
            &mut self.promised,
            Mend {
                session,
                repairs: Vec::new(),
                whole: Vec::new(),
            },
        );
        while !promised.is_empty() {
            let repairs = promised.repairs.len().min(PROMISES_MAX);
            let whole = promised.whole.len().min(PROMISES_MAX);
            let message = TransferMessage::Mend(Mend {
                session,
                repairs: promised.repairs.drain(..repairs).collect(),
                whole: promised.whole.drain(..whole).collect(),
            });
            out.push(Output::Send { to, message });
        }
    }

    /// All was sent: whoever lacks something says so now.
    fn begin_flush(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.phase = Phase::Flushing;
        self.ask(now, false, out);
    }

    /// Asks all who are waited for, the more than few by multicast; when a round was `in_vain` for some of them, those by
    /// unicast as well: they may have missed the announcement, or hear no multicast.
    fn ask(&mut self, now: Time, in_vain: bool, out: &mut Outbox<Output>) {
        let last = self.round;
        self.round += 1;
        let message = TransferMessage::Flush(Flush {
            session: self.announcement.session(),
            sequence: self.work.sequence(),
            round: self.round,
            more: false,
        });
        let pending = self.participants.pending().count();
        let singly = self.job.way == Way::Chain || pending <= ASKED_SINGLY && in_vain;
        if !singly {
            let to = self.target();
            let message = message.clone();
            out.push(Output::Send { to, message });
        }
        let silent = |(_, participant): &(NodeId, &Participant)| !participant.has_answered(last);
        let pending = self
            .participants
            .pending()
            .map(|pending| (silent(&pending), pending.0));
        let pending = pending.filter(|(silent, _)| singly || in_vain && *silent);
        for (is_silent, node) in pending.take(ASKED_MAX) {
            let to = To::Node(node);
            if in_vain && is_silent && self.round.is_multiple_of(2) {
                let announce = TransferMessage::Announce(Box::new(self.announcement.clone()));
                out.push(Output::Send {
                    to,
                    message: announce,
                });
            }
            let message = message.clone();
            out.push(Output::Send { to, message });
        }
        let spread = if singly {
            Duration::ZERO
        } else {
            self.settings.spread_of(self.participants.len())
        };
        self.deadlines
            .set(Timer::Round, now + spread + self.patience);
    }

    fn end_round(&mut self, now: Time, out: &mut Outbox<Output>) {
        if self.phase != Phase::Flushing {
            return;
        }
        let lasted = self.patience + self.settings.spread_of(self.participants.len());
        let tries_max = self.settings.tries_max;
        self.participants.end_round(self.round, lasted, tries_max);
        if self.is_enough() {
            return;
        }
        let pending = self.participants.pending();
        let fetching = pending
            .filter(|(_, one)| *one.standing() == Standing::Fetching)
            .count();
        let least = if fetching > 0 {
            PATIENCE_MAX / 4
        } else {
            Duration::ZERO
        };
        self.patience = (self.patience * 3 / 2).clamp(least, PATIENCE_MAX);
        self.ask(now, true, out);
    }

    fn is_enough(&self) -> bool {
        if self.phase == Phase::New {
            return false;
        }
        match self.settings.finish {
            Finish::Quorum(quorum) if self.participants.complete() >= quorum => true,
            _ => self.participants.pending().next().is_none(),
        }
    }

    fn end(&mut self, is_over: bool, out: &mut Outbox<Output>) {
        if self.settings.carry {
            out.push(Output::Carry(None));
        }
        if is_over {
            out.push(Output::Send {
                to: self.target(),
                message: TransferMessage::Close(self.announcement.session()),
            });
        }
        let quorum = match self.settings.finish {
            Finish::All { quorum } | Finish::Quorum(quorum) => quorum,
        };
        let counts = self.work.counts;
        out.push(Output::Ended(Outcome {
            quorum: self.participants.complete() >= quorum,
            fates: self.participants.fates(),
            frames: counts.frames,
            bytes: counts.bytes,
            repairs: counts.repairs,
            resent: counts.resent,
        }));
        self.phase = Phase::Over;
        self.deadlines = Deadlines::new();
    }
}

/// Symbols beyond those that are lacking, for those that will be lost.
fn spare_of(count: u16, loss: u64) -> u16 {
    (u64::from(count) * loss).div_ceil(1_000_000) as u16
}

fn symbols_in(lack: &Lack) -> u64 {
    match lack {
        Lack::Whole(_, _) => 0,
        Lack::Any(_, count) => u64::from(*count),
        Lack::These(_, ranges) => ranges.iter().map(|(_, count)| u64::from(*count)).sum(),
    }
}

/// Can anybody lack this?
fn is_possible(lack: &Lack, geometry: &crate::geometry::Geometry) -> bool {
    let blocks = geometry.repair_blocks();
    match lack {
        Lack::Whole(first, count) => first.checked_add(*count).is_some_and(|end| end <= blocks),
        Lack::Any(block, count) => *block < blocks && *count <= geometry.symbols(*block),
        Lack::These(block, ranges) => {
            let fits = |(first, count): &(u16, u16)| {
                first
                    .checked_add(*count)
                    .is_some_and(|end| end <= geometry.symbols(*block))
            };
            *block < blocks && ranges.iter().all(fits)
        }
    }
}
