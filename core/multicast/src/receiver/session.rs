use std::collections::{BTreeMap, BTreeSet};

use bellwether_types::NodeId;
use bellwether_wire::frame::{FrameHeader, SessionId};
use bellwether_wire::transfer::{Announcement, Mend};

/// One session as a participant sees it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) announcement: Announcement,
    /// Behind the last frame that is known to be sent.
    pub(super) seen: u64,
    /// How many frames came, and the first of them.
    pub(super) received: u64,
    pub(super) joined: Option<u64>,
    /// The repair block whose repair symbols are coming.
    mended: Option<u32>,
    /// Repair blocks below this one were sent, as far as they are to be sent.
    pub(super) front: u32,
    /// The last round of questions.
    pub(super) round: u32,
    /// The round that is still to be answered.
    pub(super) unanswered: bool,
    /// Repair blocks that lack something and were sent: it is to be said.
    pub(super) due: BTreeSet<u32>,
    /// It was said, or the sender said that it will mend it.
    pub(super) told: BTreeSet<u32>,
    /// Of repair blocks that are mended: how many repair symbols were promised, and the turn of the last one seen.
    promised: BTreeMap<u32, Promise>,
    /// What the sender promised for the last repair block: how much the others lack.
    pub(super) reference: Option<u16>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Promise {
    until: u16,
    passed: u16,
}

impl Session {
    pub(super) fn new(announcement: Announcement) -> Self {
        Self {
            announcement,
            seen: 0,
            received: 0,
            joined: None,
            mended: None,
            front: 0,
            round: 0,
            unanswered: false,
            due: BTreeSet::new(),
            told: BTreeSet::new(),
            promised: BTreeMap::new(),
            reference: None,
        }
    }

    pub(super) const fn id(&self) -> SessionId {
        self.announcement.session()
    }

    pub(super) const fn sender(&self) -> NodeId {
        self.announcement.sender
    }

    /// A frame came. Of a repair symbol, `repair` is its number.
    pub(super) fn note(&mut self, frame: &FrameHeader, repair: Option<u16>) {
        self.received += 1;
        self.joined.get_or_insert(frame.sequence);
        self.seen = self.seen.max(frame.sequence.saturating_add(1));
        if let Some(mended) = self.mended
            && (mended != frame.block || repair.is_none())
        {
            // The turn is over, whether all of it came or not.
            self.mended = None;
            if self.told.remove(&mended) {
                self.due.insert(mended);
            }
        }
        let repairs = self.announcement.repairs;
        match repair {
            None if frame.pass == 1 => self.front = self.front.max(frame.block),
            Some(repair) if repair < repairs => {
                let turn = (repair + repairs - self.announcement.repair_start % repairs) % repairs;
                let promise = self.promised.entry(frame.block).or_default();
                promise.passed = promise.passed.max(turn + 1);
                if promise.passed == promise.until {
                    if self.told.remove(&frame.block) {
                        self.due.insert(frame.block);
                    }
                } else {
                    // Also where the promise itself was lost.
                    self.mended = Some(frame.block);
                    if self.due.remove(&frame.block) {
                        self.told.insert(frame.block);
                    }
                }
            }
            _ => {}
        }
    }

    /// The sender promises; `lacking` says how much of a repair block is lacking here.
    pub(super) fn promise(&mut self, mend: &Mend, lacking: impl Fn(u32) -> u16) {
        for (block, until) in &mend.repairs {
            let promise = self.promised.entry(*block).or_default();
            if promise.until == 0 {
                self.reference = Some(*until);
            }
            promise.until = promise.until.max(*until);
            let coming = promise.until.saturating_sub(promise.passed);
            if lacking(*block) <= coming && self.due.remove(block) {
                self.told.insert(*block);
            }
        }
        for (first, count) in &mend.whole {
            let promised: Vec<u32> = self
                .due
                .range(*first..first.saturating_add(*count))
                .copied()
                .collect();
            for block in promised {
                self.due.remove(&block);
                self.told.insert(block);
            }
        }
    }

    /// How many repair symbols can still come, whichever are lost.
    pub(super) fn repairs_left(&self, block: u32) -> u16 {
        let promise = self.promised.get(&block).copied().unwrap_or_default();
        self.announcement.repairs
            - promise
                .until
                .max(promise.passed)
                .min(self.announcement.repairs)
    }

    /// The repair block lacks nothing any more.
    pub(super) fn forget(&mut self, block: u32) {
        self.due.remove(&block);
        self.told.remove(&block);
        self.promised.remove(&block);
    }
}
