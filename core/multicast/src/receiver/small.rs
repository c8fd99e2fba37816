//! What comes without a session, piece by piece (MCTP-02).

use std::time::Duration;

use bellwether_machine::Outbox;
use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::{Small, Status, TransferMessage};

use super::store::{Store, Taken};
use super::{Output, Progress, Receiver, Timer};
use crate::small;

#[derive(Debug, Clone, Copy)]
pub(super) struct SmallSource {
    from: NodeId,
    round: u32,
    spread: Duration,
}

impl Receiver {
    pub(super) fn take_small(
        &mut self,
        now: Time,
        from: NodeId,
        piece: &Small,
        out: &mut Outbox<Output>,
    ) {
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

    pub(super) fn arm_small(&mut self, now: Time) {
        if let Some(source) = self.small {
            let at = now + self.random.span(source.spread);
            self.deadlines.set(Timer::Small, at);
        }
    }

    pub(super) fn answer_small(&self, out: &mut Outbox<Output>) {
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
}
