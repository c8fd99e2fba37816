//! What participants say, and what is made of it.

use std::time::Duration;

use bellwether_machine::Outbox;
use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::{Ask, Flush, Stage, Status, TransferMessage};

use super::mending::is_possible;
use super::participants::{Standing, Window};
use super::{Output, Phase, Sender, Timer, To};
use crate::job::{Slow, Way};

/// Millionths of loss from which a participant counts as slow.
const LOSS_SLOW: u64 = 200_000;
/// The others have at least so long to say how they fare when one loses very much.
const LOOK_MIN: Duration = Duration::from_millis(100);

impl Sender {
    /// Asks one participant how much came: how long it takes to answer tells of queues.
    pub(super) fn probe(&mut self, now: Time, out: &mut Outbox<Output>) {
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

    pub(super) fn take_status(
        &mut self,
        now: Time,
        from: NodeId,
        status: &Status,
        out: &mut Outbox<Output>,
    ) {
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
        let is_suspect = self.suspects.contains_key(&from);
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

    /// Makes something of what a participant lost. If it is very much, all are asked first how they fare: then it is known
    /// whether its frames were late, whether it is slow, or the rate too high.
    fn judge(&mut self, now: Time, from: NodeId, window: Window, out: &mut Outbox<Output>) {
        let is_much = window.loss >= LOSS_SLOW && self.job.way != Way::Single;
        let may_drop_out = window.is_deaf || self.settings.slow != Slow::Wait;
        if window.is_deaf && self.phase == Phase::Flushing {
            self.drop_out(from, true, out);
        } else if !is_much || !may_drop_out {
            self.rate.lost(window.from, window.loss);
        } else {
            let is_first = self.suspects.is_empty();
            self.suspects.entry(from).or_insert(window);
            if is_first {
                self.look_around(now, out);
            }
        }
    }

    fn look_around(&mut self, now: Time, out: &mut Outbox<Output>) {
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
    }

    /// All have said how they fare.
    pub(super) fn look(&mut self, out: &mut Outbox<Output>) {
        for (node, window) in std::mem::take(&mut self.suspects) {
            let Some(participant) = self.participants.get_mut(node) else {
                continue;
            };
            let window = participant.look_again(window);
            let takes_part = *participant.standing() == Standing::Taking;
            let is_much = window.loss >= LOSS_SLOW;
            let is_alone = window.is_deaf || self.participants.are_few(window.loss);
            if is_much && takes_part && is_alone {
                self.drop_out(node, window.is_deaf, out);
            } else {
                self.rate.lost(window.from, window.loss);
            }
        }
    }
}
