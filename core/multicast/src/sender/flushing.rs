//! When all was sent: rounds of questions, until nobody who is waited for lacks anything.

use std::time::Duration;

use bellwether_machine::Outbox;
use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::{Flush, TransferMessage};

use super::participants::{Participant, Standing};
use super::{Output, Phase, Sender, Timer, To};
use crate::job::{Finish, Way};

/// A round is never waited for longer than this beside its spread.
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// As many are asked one by one; more, by multicast.
const ASKED_SINGLY: usize = 4;
/// As many are asked by unicast in one round.
const ASKED_MAX: usize = 64;

impl Sender {
    /// All was sent: whoever lacks something says so now.
    pub(super) fn begin_flush(&mut self, now: Time, out: &mut Outbox<Output>) {
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

    pub(super) fn end_round(&mut self, now: Time, out: &mut Outbox<Output>) {
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

    pub(super) fn is_enough(&self) -> bool {
        if self.phase == Phase::New {
            return false;
        }
        match self.settings.finish {
            Finish::Quorum(quorum) if self.participants.complete() >= quorum => true,
            _ => self.participants.pending().next().is_none(),
        }
    }
}
