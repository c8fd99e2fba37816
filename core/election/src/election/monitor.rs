//! The monitor that every server runs which does not lead (ELECT-08): silence, questions, and the conclusion.

use super::*;
use crate::Profile;

/// So many questions to the leader are followed by further ones to neighbours as well.
const ASKED_ALONE: u8 = 3;
/// Questions to a silent leader within the threshold, and afterwards until the claim.
const ASKED_MAX: u8 = 12;
/// For so many thresholds one that hears nobody keeps silent; then it may well be that all others are dead.
const ABSTENTION: u32 = 20;

impl Election {
    /// E1: the leader was heard.
    pub(super) fn restart_silence(&mut self, now: Time) {
        let timing = self.settings.timing;
        self.state.asked = 0;
        self.state.neighbours_asked = 0;
        self.deadlines.cancel(Timer::Claim);
        self.deadlines.set(Timer::Silence, now + timing.silence());
        if self.settings.is_candidate() {
            // Who claims later asks later, and not at all if it is silenced by a claim before.
            let rank_wait = self
                .rank()
                .map_or(Duration::ZERO, |rank| timing.rank_wait(rank));
            self.deadlines
                .set(Timer::Probe, now + timing.missed() + rank_wait);
        }
    }

    /// How long the leader has not been heard.
    pub(super) fn silent(&self, now: Time) -> Duration {
        let silence = self.timing().silence();
        let left = self.deadlines.get(Timer::Silence);
        left.map_or(silence, |left| silence.saturating_sub(left.since(now)))
    }

    /// Asks whoever should be heard, and later its neighbours too. An answer of the leader counts as a heartbeat, for
    /// it is one.
    pub(super) fn probe(&mut self, now: Time, out: &mut Outbox<Output>) {
        let suspect = match &self.state.phase {
            Phase::Known(leader) => leader.epoch.leader,
            Phase::Unknown { lost: Some(leader) } => *leader,
            Phase::Conceding(favourite) => favourite.epoch.leader,
            _ => return,
        };
        if self.state.asked == 0 {
            self.state.heard = false;
        }
        self.state.asked = self.state.asked.saturating_add(1);
        self.ask(suspect, out);
        let conceding = matches!(self.state.phase, Phase::Conceding(_));
        if self.state.asked > ASKED_ALONE && !conceding {
            self.ask_neighbour(suspect, out);
        }
        let timing = self.settings.timing;
        if self.state.asked < ASKED_MAX {
            self.deadlines
                .set(Timer::Probe, now + timing.probe_interval());
        } else if self.state.abstains.is_some() {
            self.deadlines.set(Timer::Probe, now + timing.heartbeat());
        }
    }

    /// First the strongest, which knows best, and then any: those who are dead may all be among the strongest.
    fn ask_neighbour(&mut self, suspect: NodeId, out: &mut Outbox<Output>) {
        let mut neighbours = self.neighbours();
        neighbours.retain(|node| *node != suspect);
        let any = match self.state.neighbours_asked {
            0 => 0,
            _ => self.random.below(neighbours.len() as u64) as usize,
        };
        if let Some(node) = neighbours.get(any) {
            self.state.neighbours_asked = self.state.neighbours_asked.saturating_add(1);
            self.ask(*node, out);
        }
    }

    pub(super) fn probed(&mut self, now: Time, from: NodeId, out: &mut Outbox<Output>) {
        match self.state.phase {
            Phase::Leading(epoch) => self.answer(now, from, epoch, out),
            _ => self.send(To::Node(from), self.reply(now), out),
        }
    }

    /// What a node says that does not lead.
    pub(super) fn replied(
        &mut self,
        now: Time,
        from: NodeId,
        reply: &ProbeReply,
        out: &mut Outbox<Output>,
    ) {
        let Some(epoch) = reply
            .obeyed
            .filter(|epoch| self.plausible(from, *epoch, out))
        else {
            return;
        };
        self.see(epoch.counter);
        let newer = reply.obeyed > self.state.obeyed;
        match (&self.state.phase, reply.standing) {
            // It obeyed a later reign than ours and lost it: only a still later one can unite us.
            (Phase::Leading(_), Standing::Waits) if newer => self.contest(now, from, out),
            (_, Standing::Follows { .. }) if newer && epoch.leader != self.settings.node => {
                self.ask(epoch.leader, out);
                self.defer_claim(now, self.timing().reclaim_wait());
            }
            (Phase::Known(leader), Standing::Follows { silent_ms }) if leader.epoch == epoch => {
                self.compare_silence(now, Duration::from_millis(silent_ms.into()));
            }
            (Phase::Unknown { lost: Some(_) }, Standing::Follows { silent_ms })
                if reply.obeyed == self.state.obeyed =>
            {
                let left = self.timing().silence();
                let left = left.saturating_sub(Duration::from_millis(silent_ms.into()));
                self.defer_claim(now, left);
            }
            // The leader itself has forgotten its office: it was restarted.
            (Phase::Known(leader), Standing::Waits)
                if leader.epoch.leader == from && self.is_swift() =>
            {
                self.silence_passed(now, out);
            }
            _ => {}
        }
    }

    /// A neighbour heard a heartbeat that we missed: the silence counts from there.
    fn compare_silence(&mut self, now: Time, silent: Duration) {
        let timing = self.settings.timing;
        // The way of the reply is not counted in it; a shorter difference may be nothing else.
        if silent + timing.stall() < self.silent(now) {
            let left = timing.silence().saturating_sub(silent);
            self.deadlines.cancel(Timer::Claim);
            self.deadlines.set(Timer::Silence, now + left);
            self.state.asked = self.state.asked.min(ASKED_ALONE);
            let interval = timing.probe_interval();
            self.deadlines.set(Timer::Probe, now + interval);
        }
    }

    /// Somebody leads after all, or seems to: time to hear it.
    fn defer_claim(&mut self, now: Time, span: Duration) {
        if let Some(due) = self.deadlines.get(Timer::Claim) {
            self.deadlines.set(Timer::Claim, due.max(now + span));
        }
    }

    /// The threshold has passed. In the profile `claim` the trigger waits for the rank slot.
    pub(super) fn silence_passed(&mut self, now: Time, out: &mut Outbox<Output>) {
        if !matches!(self.state.phase, Phase::Known(_)) {
            return;
        }
        self.deadlines.cancel(Timer::Silence);
        if self.settings.is_candidate() && self.settings.profile == Profile::Claim {
            let wait = self.trigger_wait();
            self.deadlines.set(Timer::Claim, now + wait);
        } else {
            self.lose_leader(now, out);
        }
    }

    /// E2.
    pub(super) fn lose_leader(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Phase::Known(leader) = &self.state.phase else {
            return;
        };
        let (epoch, name) = (leader.epoch, leader.name.clone());
        out.push(Output::Told(Event::LeaderSilent { epoch, name }));
        self.forget(epoch.leader);
        self.state.yields = false;
        self.deadlines.cancel(Timer::Silence);
        self.state.phase = Phase::Unknown {
            lost: Some(epoch.leader),
        };
        if !self.settings.is_candidate() {
            return self.enter(Phase::Unknown { lost: None });
        }
        match self.settings.profile {
            Profile::Claim if self.is_deaf() => self.keep_silent(now, out),
            Profile::Claim => {
                let wait = self.second_wait();
                self.bid(wait + self.vote(), out);
                self.deadlines.set(Timer::Claim, now + wait);
            }
            Profile::Quiet => {
                let wait = self.claim_wait();
                self.deadlines.set(Timer::Claim, now + wait);
            }
        }
    }

    /// Neighbours were asked, and nobody at all was heard since; unless that was waited out already.
    pub(super) const fn is_deaf(&self) -> bool {
        self.state.neighbours_asked > 0 && !self.state.heard && self.state.abstains.is_none()
    }

    /// More likely this node is cut off than all others are dead. It goes on asking; if it hears nothing for long, it
    /// may be alone.
    pub(super) fn keep_silent(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.abstain(Abstention::HearsNobody, out);
        let span = self.timing().silence() * ABSTENTION;
        self.deadlines.set(Timer::Claim, now + span);
    }

    /// How long the trigger of the profile `claim` waits after the threshold.
    fn trigger_wait(&mut self) -> Duration {
        let timing = self.settings.timing;
        match self.rank() {
            Some(rank) => timing.rank_wait(rank),
            None if self.is_swift() => self.claim_wait(),
            None => self.random.span(timing.spread()),
        }
    }

    /// Are claims told apart by slots, and votes shorter than the threshold?
    pub(super) fn is_swift(&self) -> bool {
        self.timing().vote(true) < self.timing().silence()
    }

    /// A process that stood still may find its deadlines passed and its mail unread. It reads first.
    pub(super) fn notice_stall(&mut self, now: Time, out: &mut Outbox<Output>) {
        let timing = self.settings.timing;
        if let (Phase::Leading(epoch), Some(due)) =
            (&self.state.phase, self.deadlines.get(Timer::Alive))
            && now.since(due) + timing.heartbeat() + timing.slot() >= timing.silence()
        {
            let epoch = *epoch;
            return self.lapse(now, epoch, out);
        }
        let stalled = |due: Time| now.since(due) >= timing.stall();
        if self.deadlines.next().is_some_and(stalled) {
            let later = now + timing.reclaim_wait();
            for timer in [Timer::Silence, Timer::Claim, Timer::Vote, Timer::Concession] {
                if self.deadlines.get(timer).is_some_and(|due| due <= now) {
                    self.deadlines.set(timer, later);
                }
            }
        }
    }
}
