//! When this node speaks to a sender, and what it says: how far it is and what it lacks.

use std::time::Duration;

use bellwether_machine::Outbox;
use bellwether_types::Time;
use bellwether_wire::frame::SessionId;
use bellwether_wire::transfer::{Flush, Lack, NackTime, Stage, Status, TransferMessage};

use super::{Output, Progress, Receiver, Timer};

/// Messages of one turn; what does not fit them waits for the next one.
const MESSAGES_MAX: usize = 32;
/// Bytes of lacks in one message.
const LACKS_LEN: usize = 900;
/// Ranges in one lack; more are split.
const RANGES_MAX: usize = 100;
/// The most bytes of a range.
const RANGE_LEN: usize = 8;
/// NACKs are spread over twice what other answers are, and over no less: time for the first to silence the others.
const NACK_SPREAD: Duration = Duration::from_millis(40);
/// And over no more (MCTP-12).
const NACK_SPREAD_MAX: Duration = Duration::from_secs(1);
/// So few symbols lacking are no reason to hurry.
const FEW: u16 = 4;
/// An announced spread is believed up to this.
const SPREAD_MAX: Duration = Duration::from_secs(10);
/// Between two turns of one long answer.
const MESSAGES_PAUSE: Duration = Duration::from_millis(5);
/// What was told and is not mended is told again after this, beside the spread.
const RECHECK_AFTER: Duration = Duration::from_millis(200);

impl Receiver {
    pub(super) fn asked(&mut self, now: Time, flush: &Flush, alone: bool) {
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

    pub(super) fn arm_for_lacks(&mut self, now: Time, id: SessionId) {
        let wanted = self.position(id).is_some_and(|at| {
            let session = &self.sessions[at];
            session.announcement.nack == NackTime::Block
        });
        if wanted && self.deadlines.get(Timer::Nack(id)).is_none() {
            self.arm(now, id, false);
        }
    }

    /// The turn to answer: spread at random, and sooner the more is lacking.
    pub(super) fn arm(&mut self, now: Time, id: SessionId, at_once: bool) {
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

    /// Says to a sender how far this node is and what it lacks.
    pub(super) fn answer(&mut self, now: Time, id: SessionId, out: &mut Outbox<Output>) {
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
            while let Some(next) = store.next_lacking(block) {
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

    pub(super) fn stage(&self) -> Stage {
        match &self.progress {
            Progress::Complete => Stage::Complete,
            Progress::Failed(reason) => Stage::Failed(cut_off(reason)),
            Progress::Syncing => Stage::Held,
            Progress::Receiving => Stage::Receiving,
        }
    }

    /// A repair block that seemed whole is not.
    pub(super) fn lacks_again(&mut self, now: Time, block: u32) {
        for at in 0..self.sessions.len() {
            if block < self.sessions[at].front {
                self.sessions[at].due.insert(block);
                let id = self.sessions[at].id();
                self.arm(now, id, false);
            }
        }
    }

    /// Tells all senders, each in its turn, that something came to an end here.
    pub(super) fn tell_all(&mut self, now: Time) {
        self.arm_small(now);
        for at in 0..self.sessions.len() {
            self.sessions[at].unanswered = true;
            self.sessions[at].due.clear();
            let id = self.sessions[at].id();
            self.arm(now, id, false);
        }
    }
}

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
