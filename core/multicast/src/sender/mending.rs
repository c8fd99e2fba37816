//! What is sent again, and how that is promised.

use std::time::Duration;

use bellwether_machine::Outbox;
use bellwether_types::{NodeId, Time};
use bellwether_wire::transfer::{Lack, Mend, Status, TransferMessage};

use super::participants::Standing;
use super::work::Mended;
use super::{Output, Phase, Sender, Timer};
use crate::geometry::Geometry;
use crate::job::Fate;

/// From one promise to the next at least: the first request is answered at once, and those just behind it together.
const MEND_PAUSE: Duration = Duration::from_millis(1);
/// A participant that asks for so many times the whole assignment gets no more.
const ASKED_TIMES_MAX: u64 = 4;
/// Promises of one message: it fits one packet.
const PROMISES_MAX: usize = 100;

impl Sender {
    pub(super) fn mend(&mut self, now: Time, from: NodeId, status: &Status) {
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
                let lacking = participant.lacking().unwrap_or(0);
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

    pub(super) fn promise(&mut self, now: Time, out: &mut Outbox<Output>) {
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
pub(super) fn is_possible(lack: &Lack, geometry: &Geometry) -> bool {
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
