//! In office: heartbeats, answers, and how it ends.

use super::*;
use crate::Favourite;

/// After so many thresholds without a sound a leader doubts that it hears.
const UNHEARD_MAX: u8 = 4;
/// It has kept silent, and nobody took its place: it is alone.
const ALONE: u8 = u8::MAX;
/// A leader that hears nobody is silent for so many thresholds: long enough for others to elect one who hears them.
const SILENT: u32 = 4;
/// After a pause so many of the strongest are asked who leads.
const ASKED_AFTER_PAUSE: usize = 4;
/// So many questions in one heartbeat are answered one by one.
const ANSWERS: u16 = 8;

impl Election {
    /// E10, or as a successor.
    pub(super) fn take_office(&mut self, now: Time, epoch: Epoch, out: &mut Outbox<Output>) {
        self.enter(Phase::Leading(epoch));
        self.see(epoch.counter);
        self.state.obeyed = Some(epoch);
        self.state.reigned = Some(epoch);
        self.state.yields = false;
        self.keep(epoch, out);
        out.push(Output::Told(Event::Leading { epoch }));
        self.resume(now, out);
    }

    /// Begins, or begins again, to be heard.
    pub(super) fn resume(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.state.heard = false;
        self.state.asked = 0;
        let silence = self.timing().silence();
        self.deadlines.set(Timer::Hearing, now + silence);
        self.beat(now, out);
    }

    /// E13, ELECT-18.
    pub(super) fn beat(&mut self, now: Time, out: &mut Outbox<Output>) {
        if let Phase::Leading(epoch) = self.state.phase {
            self.state.answers = 0;
            self.send(To::All, self.heartbeat(epoch, None), out);
            let heartbeat = self.timing().heartbeat();
            self.deadlines.set(Timer::Alive, now + heartbeat);
        }
    }

    pub(super) fn heartbeat(&self, epoch: Epoch, successor: Option<Epoch>) -> ElectionMessage {
        ElectionMessage::Alive(Alive {
            epoch,
            name: self.settings.name.clone(),
            priority: self.priority(),
            heartbeat_ms: self.timing().heartbeat_ms(),
            successor,
            carried: self.state.carried.clone(),
        })
    }

    /// A member asks. When very many do, they missed the same heartbeat, and another one answers them all.
    pub(super) fn answer(
        &mut self,
        now: Time,
        from: NodeId,
        epoch: Epoch,
        out: &mut Outbox<Output>,
    ) {
        self.state.answers = self.state.answers.saturating_add(1);
        let answers = self.state.answers;
        if answers <= ANSWERS {
            self.send(To::Node(from), self.heartbeat(epoch, None), out);
        } else if answers.is_multiple_of(ANSWERS) && answers.is_power_of_two() {
            self.beat(now, out);
            self.state.answers = answers;
        }
    }

    /// A leader that sends but does not hear is of no use and keeps better ones from office. It asks its strongest
    /// members; when nobody answers it is silent for a while. Whoever still hears it elects another, whose epoch is
    /// higher, so that nobody listens when it speaks again. If nobody is there, nothing is lost.
    pub(super) fn listen_to_members(&mut self, now: Time, out: &mut Outbox<Output>) {
        if !self.leads() {
            return;
        }
        if self.state.abstains == Some(Abstention::HearsNobody) {
            self.speak_again(out);
            self.resume(now, out);
            self.state.asked = ALONE;
            return;
        }
        let heard = std::mem::take(&mut self.state.heard);
        let mut next = self.timing().silence();
        match self.state.asked {
            _ if heard => self.state.asked = 0,
            ALONE => {}
            UNHEARD_MAX => {
                self.abstain(Abstention::HearsNobody, out);
                self.deadlines.cancel(Timer::Alive);
                next *= SILENT;
            }
            unheard => {
                self.state.asked = unheard + 1;
                for node in self.neighbours().into_iter().take(unheard.into()) {
                    self.ask(node, out);
                }
            }
        }
        self.deadlines.set(Timer::Hearing, now + next);
    }

    /// The process stood still beyond the threshold. Others may have elected: no heartbeat before that is known. If
    /// nobody leads, this one claims before anybody else would (ELECT-13).
    pub(super) fn lapse(&mut self, now: Time, epoch: Epoch, out: &mut Outbox<Output>) {
        out.push(Output::Told(Event::Lapsed { epoch }));
        self.enter(Phase::Unknown { lost: None });
        let wait = self.timing().reclaim_wait();
        self.deadlines.set(Timer::Claim, now + wait);
        for node in self.neighbours().into_iter().take(ASKED_AFTER_PAUSE) {
            self.ask(node, out);
        }
    }

    /// Another node is named in a last heartbeat, with its epoch, and leads without a vote.
    pub(super) fn step_down(
        &mut self,
        now: Time,
        successor: Option<NodeId>,
        out: &mut Outbox<Output>,
    ) {
        let Phase::Leading(epoch) = self.state.phase else {
            return;
        };
        let Some(successor) = successor else {
            out.push(Output::Told(Event::NoSuccessor));
            return;
        };
        let to = Epoch {
            counter: self.state.counter_seen.max(epoch.counter) + 1,
            leader: successor,
        };
        let last = self.heartbeat(epoch, Some(to));
        // Also straight to the successor: if it misses this, everybody waits.
        self.send(To::All, last.clone(), out);
        self.send(To::Node(successor), last, out);
        out.push(Output::Told(Event::SteppedDown { to }));
        self.state.yields = true;
        self.state.reigned = None;
        self.await_successor(now, to, out);
    }

    /// The best other node.
    pub(super) fn successor(&self) -> Option<NodeId> {
        self.neighbours().first().copied()
    }

    /// The leader has named who leads next.
    pub(super) fn succeed(&mut self, now: Time, from: Epoch, to: Epoch, out: &mut Outbox<Output>) {
        if to.counter <= from.counter || !self.plausible(from.leader, to, out) {
            return;
        }
        if !self.settings.is_candidate() {
            return;
        }
        self.forget(from.leader);
        if to.leader == self.settings.node {
            self.take_office(now, to, out);
        } else {
            self.await_successor(now, to, out);
        }
    }

    fn await_successor(&mut self, now: Time, epoch: Epoch, out: &mut Outbox<Output>) {
        let successor = Favourite { epoch, claim: None };
        self.concede(now, successor, Duration::ZERO, out);
    }

    /// ELECT-29: by default nobody is deposed for being weaker.
    pub(super) fn consider_preemption(&mut self, now: Time, priority: u32) {
        let Some(preemption) = self.settings.preempts() else {
            return;
        };
        let known = matches!(self.state.phase, Phase::Known(_));
        let stronger = self.priority() > priority.saturating_add(preemption.margin);
        if !(known && stronger && self.settings.is_candidate()) || self.state.yields {
            self.deadlines.cancel(Timer::Preemption);
        } else if self.deadlines.get(Timer::Preemption).is_none() {
            // Between two heartbeats: one that crosses the claim would end the vote before it began (E12).
            let after = preemption.after + self.timing().heartbeat() / 2;
            self.deadlines.set(Timer::Preemption, now + after);
        }
    }

    /// The leader answers the claim with its own (E14), and the vote decides.
    pub(super) fn preempt(&mut self, now: Time, out: &mut Outbox<Output>) {
        if matches!(self.state.phase, Phase::Known(_)) && self.settings.is_candidate() {
            self.open_vote(now, out);
        }
    }
}
