//! From symbols that came to an assignment that is here: decoded, proved, durable.

use std::ops::Range;

use bellwether_machine::Outbox;
use bellwether_types::Time;

use super::store::Store;
use super::{Event, Output, Progress, Proof, Prove, Receiver, Timer};
use crate::geometry::Geometry;

/// Proofs that wait for an answer.
const PROVING_MAX: usize = 8;

impl Receiver {
    pub(super) fn decoded(&mut self, now: Time, block: u32, ok: bool) {
        let Some(store) = &mut self.store else {
            return;
        };
        if block >= store.geometry().repair_blocks() || store.decoding(block).is_none() {
            return;
        }
        if ok {
            store.fill(block);
            return;
        }
        store.drop_repairs(block);
        self.lacks_again(now, block);
    }

    /// Hands out what can be proved, head first.
    pub(super) fn prove(&mut self, out: &mut Outbox<Output>) {
        let Some(store) = &self.store else {
            return;
        };
        if self.progress != Progress::Receiving {
            return;
        }
        if self.head == Proof::None && store.holds_head() {
            self.head = Proof::Asked;
            out.push(Output::Prove(Prove::Head));
        }
        if self.head != Proof::Done {
            return;
        }
        let mut from = store.geometry().head_blocks();
        while self.proving.len() < PROVING_MAX
            && let Some(block) = store.next_unproved(from)
        {
            if !self.proving.contains(&block) {
                self.proving.push(block);
                out.push(Output::Prove(Prove::Block(block)));
            }
            from = block + 1;
        }
        if store.is_proved() {
            self.progress = Progress::Syncing;
            out.push(Output::Sync);
        }
    }

    /// Blocks came that were proved on the way.
    pub(super) fn came(
        &mut self,
        now: Time,
        geometry: Geometry,
        blocks: Range<u32>,
        out: &mut Outbox<Output>,
    ) {
        if matches!(self.progress, Progress::Failed(_)) {
            self.progress = Progress::Receiving;
        }
        let store = self.store.get_or_insert_with(|| Store::new(geometry));
        if self.progress != Progress::Receiving || blocks.end > store.geometry().blocks() {
            return;
        }
        self.deadlines
            .set(Timer::Patience, now + self.settings.patience);
        for block in blocks {
            if store.put(block) {
                out.push(Output::Available(block..block + 1));
            }
        }
        if self.head == Proof::None && store.proves_head() {
            self.head = Proof::Done;
        }
    }

    pub(super) fn proof_ended(
        &mut self,
        now: Time,
        what: Prove,
        ok: bool,
        out: &mut Outbox<Output>,
    ) {
        let Some(store) = &mut self.store else {
            return;
        };
        let blocks = match what {
            Prove::Head if self.head == Proof::Asked => {
                self.head = if ok { Proof::Done } else { Proof::None };
                0..store.geometry().head_blocks()
            }
            Prove::Block(block) if self.proving.contains(&block) => {
                self.proving.retain(|other| *other != block);
                block..block + 1
            }
            _ => return,
        };
        if ok {
            blocks.clone().for_each(|block| store.prove(block));
            return out.push(Output::Available(blocks));
        }
        out.push(Output::Told(Event::NotProved(what)));
        let mut repair_blocks: Vec<u32> = Vec::new();
        for block in blocks {
            store.clear(block);
            repair_blocks.push(store.geometry().repair_block_of(block));
        }
        repair_blocks.dedup();
        self.proofs_failed += 1;
        if self.proofs_failed > self.proofs_to_fail {
            let what = match what {
                Prove::Head => "the head".to_owned(),
                Prove::Block(block) => format!("block {block}"),
            };
            let reason = format!("{what} is not what was signed, however often it was sent");
            return self.fail(now, reason, out);
        }
        for block in repair_blocks {
            self.lacks_again(now, block);
        }
    }

    pub(super) fn synced(&mut self, now: Time, out: &mut Outbox<Output>) {
        if self.progress != Progress::Syncing {
            return;
        }
        self.keep(out);
        self.progress = Progress::Complete;
        self.fetch = None;
        self.deadlines.cancel(Timer::Source);
        self.deadlines.cancel(Timer::Patience);
        out.push(Output::Complete);
        self.tell_all(now);
    }

    pub(super) fn fail(&mut self, now: Time, reason: String, out: &mut Outbox<Output>) {
        if self.is_complete() || matches!(self.progress, Progress::Failed(_)) {
            return;
        }
        self.keep(out);
        self.progress = Progress::Failed(reason.clone());
        self.fetch = None;
        self.deadlines.cancel(Timer::Source);
        self.deadlines.cancel(Timer::Patience);
        out.push(Output::Failed(reason));
        self.tell_all(now);
    }

    pub(super) fn keep(&mut self, out: &mut Outbox<Output>) {
        self.unkept = 0;
        if let Some(store) = &self.store {
            out.push(Output::Persist(store.to_bytes()));
        }
    }
}
