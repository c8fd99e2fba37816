mod contest;
mod epochs;
mod monitor;
mod office;

use std::time::Duration;

use bellwether_machine::{Deadlines, Machine, Outbox, Random};
use bellwether_types::{Epoch, NodeId, PRIORITY_MAX, Time, Timing};
use bellwether_wire::control::{Alive, Claim, ElectionMessage, ProbeReply, Standing};

use crate::{
    Abstention, Candidate, Contest, Event, Input, Leader, Memory, Output, Phase, Settings, State,
    Timer, To,
};

/// One node's part in the election of its segment's leader (table 2.1 of the requirements; comments name its rows).
#[derive(Debug, Clone)]
pub struct Election {
    settings: Settings,
    state: State,
    deadlines: Deadlines<Timer>,
    random: Random,
}

/// Nobody's failure need be remembered for longer than it takes so many to fail one after the other.
const GONE_MAX: usize = 8;

impl Election {
    /// A node before its start, with what its former life kept on disk.
    pub const fn new(settings: Settings, memory: Memory, seed: u64) -> Self {
        Self {
            settings,
            state: State::new(memory),
            deadlines: Deadlines::new(),
            random: Random::new(seed),
        }
    }

    /// What it knows.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// How it is set.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The reign that this node obeys at the moment: another's, or its own.
    pub const fn reign(&self) -> Option<Epoch> {
        match &self.state.phase {
            Phase::Known(leader) => Some(leader.epoch),
            Phase::Leading(epoch) => Some(*epoch),
            _ => None,
        }
    }

    /// Does this node lead?
    pub const fn leads(&self) -> bool {
        matches!(self.state.phase, Phase::Leading(_))
    }

    /// This node as it is compared with others, and as they should rank it.
    pub fn candidate(&self) -> Candidate {
        Candidate {
            priority: self.priority(),
            name: self.settings.name.clone(),
            node: self.settings.node,
        }
    }

    /// What it waits for, soonest first.
    pub fn pending(&self) -> impl Iterator<Item = (Time, Timer)> + '_ {
        self.deadlines.pending()
    }

    /// Lets a deadline pass whenever it was due: for model checkers, to which any order is possible.
    pub fn expire(&mut self, now: Time, timer: Timer, out: &mut Outbox<Output>) {
        self.deadlines.cancel(timer);
        match timer {
            Timer::Probe => self.probe(now, out),
            Timer::Alive => self.beat(now, out),
            Timer::Silence => self.silence_passed(now, out),
            Timer::Claim => self.claim_due(now, out),
            Timer::Vote => self.vote_over(now, out),
            Timer::Concession => self.nobody_came(now, out),
            Timer::Hearing => self.listen_to_members(now, out),
            Timer::Preemption => self.preempt(now, out),
        }
    }
}

impl Machine for Election {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        self.notice_stall(now, out);
        match input {
            Input::Start => self.await_claim(now, self.timing().listening()),
            Input::Wake => {}
            Input::Heard => self.hear(now, out),
            Input::Message { from, message } => self.message(now, from, message, out),
            Input::Ranked(ranking) => {
                self.state.ranking = Some(ranking);
                if self.leads() {
                    self.state.gone.clear();
                }
            }
            Input::Measured(priority) => self.state.measured = priority,
            Input::Carry(bytes) => self.state.carried = bytes,
            Input::StepDown => self.step_down(now, self.successor(), out),
            Input::Appoint(node) => {
                let successor = self.neighbours().into_iter().find(|known| *known == node);
                self.step_down(now, successor, out);
            }
            Input::Reconfigured(settings) => self.reconfigure(now, *settings, out),
        }
        while let Some(timer) = self.deadlines.pop_due(now) {
            self.expire(now, timer, out);
        }
    }

    fn wake_at(&self) -> Option<Time> {
        self.deadlines.next()
    }
}

impl Election {
    fn message(
        &mut self,
        now: Time,
        from: NodeId,
        message: ElectionMessage,
        out: &mut Outbox<Output>,
    ) {
        // E19: whatever the layers below let through, nobody else speaks with our id.
        if from == self.settings.node {
            return;
        }
        match message {
            ElectionMessage::Alive(alive) => self.alive(now, from, alive, out),
            ElectionMessage::Claim(claim) => self.claim(now, from, claim, out),
            ElectionMessage::Probe => self.probed(now, from, out),
            ElectionMessage::ProbeReply(reply) => self.replied(now, from, &reply, out),
        }
        self.hear(now, out);
    }

    fn alive(&mut self, now: Time, from: NodeId, alive: Alive, out: &mut Outbox<Output>) {
        let epoch = alive.epoch;
        if !self.listens_to(now, from, epoch, alive.heartbeat_ms, out) {
            return;
        }
        // E19: an old reign. Who knows a newer one says so.
        if Some(epoch) < self.state.obeyed {
            return self.correct(now, from, out);
        }
        self.see(epoch.counter);
        match &mut self.state.phase {
            // E1.
            Phase::Known(leader) if leader.epoch == epoch => {
                leader.priority = alive.priority;
                self.restart_silence(now);
            }
            // E15.
            Phase::Leading(_) => return self.contest(now, from, out),
            // E3, E9, E12, E16.
            _ => {
                let leader = Leader {
                    epoch,
                    name: alive.name,
                    priority: alive.priority,
                };
                self.adopt(now, leader, out);
            }
        }
        if let Some(successor) = alive.successor {
            self.succeed(now, epoch, successor, out);
        }
        self.consider_preemption(now, alive.priority);
    }

    fn adopt(&mut self, now: Time, leader: Leader, out: &mut Outbox<Output>) {
        let (epoch, name) = (leader.epoch, leader.name.clone());
        self.enter(Phase::Known(leader));
        self.state.obeyed = Some(epoch);
        self.state.gone.clear();
        self.keep(epoch, out);
        if self.state.reigned.take().is_some() {
            out.push(Output::Told(Event::Deposed { by: epoch }));
        }
        out.push(Output::Told(Event::LeaderKnown { epoch, name }));
        self.speak_again(out);
        self.restart_silence(now);
    }

    fn reply(&self, now: Time) -> ElectionMessage {
        let standing = match self.state.phase {
            Phase::Known(_) => Standing::Follows {
                silent_ms: u32::try_from(self.silent(now).as_millis()).unwrap_or(u32::MAX),
            },
            // Back from a pause, about to claim its office again.
            Phase::Unknown { .. } if self.is_back() => Standing::Votes,
            Phase::Unknown { .. } => Standing::Waits,
            _ => Standing::Votes,
        };
        ElectionMessage::ProbeReply(ProbeReply {
            obeyed: self.state.obeyed,
            standing,
        })
    }

    /// Did this node lead last, and does it want to go on?
    fn is_back(&self) -> bool {
        let led_last = self.state.reigned.is_some() && self.state.reigned == self.state.obeyed;
        led_last && self.deadlines.get(Timer::Claim).is_some()
    }

    /// Something came from another node: this one is not deaf.
    fn hear(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.state.heard = true;
        if self.state.abstains != Some(Abstention::HearsNobody) {
            return;
        }
        self.speak_again(out);
        match self.state.phase {
            // Whoever leads will be heard before this node claims.
            Phase::Unknown { .. } => self.await_claim(now, self.timing().missed()),
            Phase::Leading(_) => self.resume(now, out),
            _ => {}
        }
    }

    fn abstain(&mut self, why: Abstention, out: &mut Outbox<Output>) {
        if self.state.abstains != Some(why) {
            self.state.abstains = Some(why);
            out.push(Output::Told(Event::Abstains { why }));
        }
    }

    fn speak_again(&mut self, out: &mut Outbox<Output>) {
        if self.state.abstains.take().is_some() {
            out.push(Output::Told(Event::AbstainsNoMore));
        }
    }

    fn reconfigure(&mut self, now: Time, settings: Settings, out: &mut Outbox<Output>) {
        let Settings {
            node, name, timing, ..
        } = self.settings.clone();
        let was_candidate = self.settings.is_candidate();
        self.settings = Settings {
            node,
            name,
            timing,
            ..settings
        };
        let is_candidate = self.settings.is_candidate();
        match self.state.phase {
            Phase::Known(_) => self.deadlines.cancel(Timer::Claim),
            _ if is_candidate && was_candidate => {}
            _ if is_candidate => self.await_claim(now, self.timing().listening()),
            Phase::Leading(_) if self.successor().is_some() => {
                self.step_down(now, self.successor(), out);
            }
            _ => self.enter(Phase::Unknown { lost: None }),
        }
    }

    /// Changes the state; no deadline of the former one survives.
    fn enter(&mut self, phase: Phase) {
        self.state.phase = phase;
        self.state.asked = 0;
        self.state.neighbours_asked = 0;
        self.deadlines = Deadlines::new();
    }

    /// To unknown, and the claim wait begins after `first` (E18, E20).
    fn await_claim(&mut self, now: Time, first: Duration) {
        self.enter(Phase::Unknown { lost: None });
        if self.settings.is_candidate() {
            let wait = first + self.claim_wait();
            self.deadlines.set(Timer::Claim, now + wait);
        }
    }

    /// How many live candidates are stronger, if it is known; when the office was just handed over, nobody is weaker.
    fn rank(&self) -> Option<u32> {
        if self.settings.contest == Contest::FirstClaimant {
            return None;
        }
        let ranking = self.state.ranking.as_ref()?;
        let gone = match &self.state.phase {
            Phase::Known(leader) => &[leader.epoch.leader],
            _ => self.state.gone.as_slice(),
        };
        let rank = ranking.rank(self.settings.node, gone);
        Some(if self.state.yields { rank + LAST } else { rank })
    }

    /// From need to claim.
    fn claim_wait(&mut self) -> Duration {
        let timing = self.settings.timing;
        let priority = match self.settings.contest {
            Contest::Priority => self.priority(),
            Contest::FirstClaimant => PRIORITY_MAX,
        };
        match self.rank() {
            None => timing.claim_wait(None, priority) + self.random.span(timing.spread()),
            rank => timing.claim_wait(rank, priority),
        }
    }

    fn vote(&self) -> Duration {
        let first_claimant = self.settings.contest == Contest::FirstClaimant;
        self.timing().vote(first_claimant || self.rank().is_some())
    }

    fn priority(&self) -> u32 {
        self.settings.priority(self.state.measured)
    }

    const fn timing(&self) -> &Timing {
        &self.settings.timing
    }

    fn forget(&mut self, node: NodeId) {
        self.state.gone.retain(|gone| *gone != node);
        self.state.gone.truncate(GONE_MAX - 1);
        self.state.gone.insert(0, node);
    }

    fn send(&self, to: To, message: ElectionMessage, out: &mut Outbox<Output>) {
        out.push(Output::Send { to, message });
    }

    fn ask(&self, node: NodeId, out: &mut Outbox<Output>) {
        self.send(To::Node(node), ElectionMessage::Probe, out);
    }

    /// The strongest others that are not known to have failed, strongest first.
    fn neighbours(&self) -> Vec<NodeId> {
        let ranking = self.state.ranking.iter();
        ranking
            .flat_map(|ranking| ranking.others(self.settings.node, &self.state.gone))
            .collect()
    }
}

/// Further down than the slots that decide.
const LAST: u32 = 64;
