//! Who has an assignment, and brings it to others.

mod answers;
mod diverting;
mod flushing;
mod input;
mod mending;
mod participants;
mod probes;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_machine::{Deadlines, Machine, Outbox};
use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::{Announcement, Ask, Mend, TransferMessage};

use crate::job::{Fate, Finish, Identity, Job, Outcome, Settings, Way};
use crate::pacing::Pacer;
use crate::rate::RateControl;
use participants::{Participants, Standing, Window};
use probes::Probes;
use work::Work;

pub use input::{Burst, Input, Output, To};

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
    /// Who lost very much, while all are asked how they fare.
    suspects: BTreeMap<NodeId, Window>,
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
    /// The end of answers about suspects.
    Look,
    /// The next promise.
    Mend,
    /// The end of a round of answers.
    Round,
}

/// From one look at the rate to the next; half as long in the beginning.
const RATE_EVERY: Duration = Duration::from_millis(100);
/// Half the time from the first announcement to the second.
const ANNOUNCED_FIRST: Duration = Duration::from_millis(10);
/// Bursts of one call; a wake-up that is very late goes on in the next one.
const BURSTS_MAX: usize = 256;

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
            suspects: BTreeMap::new(),
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

    /// How far each participant is: what became of it, and the symbols that it lacks, as far as that can be told; all until
    /// it says something.
    pub fn progress(&self) -> impl Iterator<Item = (NodeId, Option<&Fate>, u64)> {
        let all = self.job.geometry.symbols_in_all();
        self.participants.all().map(move |(node, participant)| {
            let fate = match participant.standing() {
                Standing::Over(fate) => Some(fate),
                _ => None,
            };
            let lacking = participant.lacking_at(self.work.sequence());
            (node, fate, lacking.unwrap_or(all))
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
