//! Claims, votes and concessions.

use super::*;
use crate::{Favourite, Profile};

impl Election {
    pub(super) fn claim(
        &mut self,
        now: Time,
        from: NodeId,
        claim: Claim,
        out: &mut Outbox<Output>,
    ) {
        if !self.listens_to(now, from, claim.epoch, claim.heartbeat_ms, out) {
            return;
        }
        // E19: a claim to a counter under which somebody has led already.
        if self
            .state
            .obeyed
            .is_some_and(|obeyed| claim.epoch.counter <= obeyed.counter)
        {
            return self.correct(now, from, out);
        }
        self.see(claim.epoch.counter);
        if !self.settings.is_candidate() {
            return;
        }
        let epoch = claim.epoch;
        // A claim that is withdrawn contests nothing; whoever it is withdrawn for speaks for itself.
        let Some(office_ms) = claim.office_ms else {
            return;
        };
        let office = Duration::from_millis(office_ms.into()).min(self.office_max());
        let claim = Candidate {
            priority: claim.priority,
            name: claim.name,
            node: from,
        };
        let favourite = Favourite {
            epoch,
            claim: Some(claim),
        };
        match &self.state.phase {
            // E14.
            Phase::Leading(_) => self.contest(now, from, out),
            // E4, E6.
            Phase::Known(_) | Phase::Unknown { .. } if self.yields_to(&favourite) => {
                self.concede(now, favourite, office, out);
            }
            // E5.
            Phase::Known(_) => self.hurry(now, out),
            // E7.
            Phase::Unknown { .. } => {}
            // E11, and then E6 or E7.
            Phase::Voting(own) if self.yields_to(&favourite) => {
                if self.settings.profile == Profile::Claim {
                    self.send_claim(*own, None, out);
                }
                self.concede(now, favourite, office, out);
            }
            Phase::Voting(_) => {
                let wait = self.contested_wait();
                self.bid(wait + self.vote(), out);
                self.enter(Phase::Unknown { lost: None });
                self.deadlines.set(Timer::Claim, now + wait);
            }
            // E17. The favourite that claims again is alive.
            Phase::Conceding(best) => {
                let better = match &best.claim {
                    Some(best) => favourite.claim.as_ref() > Some(best),
                    None => self.yields_to(&favourite),
                };
                if better || best.epoch.leader == from {
                    self.concede(now, favourite, office, out);
                }
            }
        }
    }

    /// Sends a claim that will be office in so long (E2, E8, E11, E14, E15).
    pub(super) fn bid(&mut self, office: Duration, out: &mut Outbox<Output>) -> Epoch {
        let counter = self.state.counter_claimed.max(self.state.counter_seen + 1);
        let epoch = Epoch {
            counter,
            leader: self.settings.node,
        };
        self.keep_counter(counter, out);
        if self.state.counter_claimed != counter {
            self.state.counter_claimed = counter;
            let rank = self.rank();
            out.push(Output::Told(Event::Claimed { epoch, rank }));
        }
        self.send_claim(epoch, Some(office), out);
        epoch
    }

    fn send_claim(&self, epoch: Epoch, office: Option<Duration>, out: &mut Outbox<Output>) {
        let office_ms =
            office.map(|office| u32::try_from(office.as_millis() + 1).unwrap_or(u32::MAX));
        let claim = Claim {
            epoch,
            name: self.settings.name.clone(),
            priority: self.priority(),
            heartbeat_ms: self.timing().heartbeat_ms(),
            office_ms,
        };
        self.send(To::All, ElectionMessage::Claim(claim), out);
    }

    /// The claim wait is over: the trigger of E2 in known, E8 in unknown.
    pub(super) fn claim_due(&mut self, now: Time, out: &mut Outbox<Output>) {
        match self.state.phase {
            Phase::Known(_) => self.lose_leader(now, out),
            Phase::Unknown { .. } if self.is_deaf() => self.keep_silent(now, out),
            Phase::Unknown { .. } => {
                self.speak_again(out);
                self.open_vote(now, out);
            }
            _ => {}
        }
    }

    /// E8, E14, E15.
    pub(super) fn open_vote(&mut self, now: Time, out: &mut Outbox<Output>) {
        let vote = self.vote();
        let epoch = self.bid(vote, out);
        self.enter(Phase::Voting(epoch));
        self.deadlines.set(Timer::Vote, now + vote);
        // The disk works while the vote is open, so that the first heartbeat need not wait for it.
        self.keep(epoch, out);
    }

    /// E10.
    pub(super) fn vote_over(&mut self, now: Time, out: &mut Outbox<Output>) {
        if let Phase::Voting(epoch) = self.state.phase {
            self.take_office(now, epoch, out);
        }
    }

    /// E14, E15: no fight with heartbeats, the vote decides again (ELECT-19).
    pub(super) fn contest(&mut self, now: Time, by: NodeId, out: &mut Outbox<Output>) {
        out.push(Output::Told(Event::Contested { by }));
        self.speak_again(out);
        self.open_vote(now, out);
    }

    /// E4, E6, E17: waits for a better one, which is to be in office after `office`.
    pub(super) fn concede(
        &mut self,
        now: Time,
        favourite: Favourite,
        office: Duration,
        out: &mut Outbox<Output>,
    ) {
        let to = favourite.epoch;
        let before = match &self.state.phase {
            Phase::Conceding(before) => Some(before.epoch.leader),
            Phase::Known(leader) => {
                let leader = leader.epoch.leader;
                self.forget(leader);
                None
            }
            _ => None,
        };
        if before != Some(to.leader) {
            out.push(Output::Told(Event::Conceded { to }));
        }
        self.state.gone.retain(|gone| *gone != to.leader);
        let patience = match favourite.claim {
            Some(_) => office + self.timing().silence(),
            // A successor leads at once; if it is silent for a heartbeat, the ordinary rules hold.
            None => self.timing().heartbeat(),
        };
        self.enter(Phase::Conceding(favourite));
        self.deadlines.set(Timer::Concession, now + patience);
        let overdue = office + self.timing().reclaim_wait();
        self.deadlines.set(Timer::Probe, now + overdue);
    }

    /// E18 (ELECT-26).
    pub(super) fn nobody_came(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Phase::Conceding(favourite) = &self.state.phase else {
            return;
        };
        let epoch = favourite.epoch;
        out.push(Output::Told(Event::NobodyCame { epoch }));
        self.forget(epoch.leader);
        self.await_claim(now, Duration::ZERO);
    }

    /// E5, where a vote is shorter than the threshold: a weaker one claims because it misses the leader, as we do.
    /// Its vote would be over before our silence is, so we speak in our slot from now.
    fn hurry(&mut self, now: Time, out: &mut Outbox<Output>) {
        let overdue = self.state.asked > 0 || self.deadlines.get(Timer::Claim).is_some();
        let Some(rank) = self.rank().filter(|_| overdue && self.is_swift()) else {
            return;
        };
        let due = now + self.timing().rank_wait(rank);
        if self.settings.profile == Profile::Quiet {
            self.lose_leader(now, out);
        }
        let sooner = self
            .deadlines
            .get(Timer::Claim)
            .map_or(due, |claim| claim.min(due));
        self.deadlines.set(Timer::Claim, sooner);
    }

    /// Is the other claim the better one? Among first claimants it is, unless ours was out before it came.
    fn yields_to(&self, favourite: &Favourite) -> bool {
        let obeyed = self.state.obeyed.map_or(0, |epoch| epoch.counter);
        let claimed = self.state.counter_claimed > obeyed;
        match self.settings.contest {
            Contest::FirstClaimant if !claimed && !self.settings.is_fixed() => true,
            _ => favourite.claim > Some(self.candidate()),
        }
    }

    /// From a first claim to the one that opens the vote: where slots tell claims apart, a repetition in case the first
    /// was lost.
    pub(super) fn second_wait(&mut self) -> Duration {
        if self.is_swift() {
            self.timing().slot() / 4
        } else {
            self.claim_wait()
        }
    }

    /// After a claim that crossed ours: others may have crossed it as well, and one more vote is enough for them all.
    fn contested_wait(&mut self) -> Duration {
        if self.is_swift() {
            self.timing().slot()
        } else {
            self.claim_wait()
        }
    }

    /// No honest claim needs longer to become office.
    fn office_max(&self) -> Duration {
        let timing = self.timing();
        (timing.claim_wait(None, 0) + timing.spread() + timing.vote(false)) * 2
    }
}
