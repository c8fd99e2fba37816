use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use bellwether_wire::transfer::{Lack, NackTime};

use super::{Burst, Output};
use crate::bits::Bits;
use crate::geometry::Geometry;
use bellwether_machine::Outbox;

/// What is still to be sent.
#[derive(Debug)]
pub(super) struct Work {
    geometry: Geometry,
    nack: NackTime,
    repair_start: u16,
    /// Blocks that may be sent.
    available: Bits,
    /// Blocks that are to be sent for the first time.
    unsent: Bits,
    /// Those of them that may be sent.
    ready: Bits,
    /// Those that were or are to be sent for the first time in this session.
    begun: Bits,
    /// The block that is being sent for the first time, and its next symbol.
    current: Option<(u32, u16)>,
    /// Repair blocks of which something was, or is to be, sent again.
    mending: BTreeMap<u32, Mending>,
    /// Those of them with something to send now, and those that wait until all was sent once.
    urgent: BTreeSet<u32>,
    deferred: BTreeSet<u32>,
    /// Repair blocks whose repair symbols are kept or being made, the latest last.
    codes: VecDeque<u32>,
    sequence: u64,
    pub(super) counts: Counts,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) repairs: u64,
    pub(super) resent: u64,
}

#[derive(Debug, Default)]
struct Mending {
    pass: u16,
    /// Symbols to send as they are: disjoint ranges in order.
    wanted: Vec<Range<u16>>,
    /// What was sent again as it is, and with which sequence number it began.
    resent: VecDeque<(u64, Range<u16>)>,
    repairs_sent: u16,
    repairs_due: u16,
    /// When its repair symbols were sent.
    turns: VecDeque<Turn>,
    encoded: bool,
}

/// Repair symbols sent one after the other.
#[derive(Debug, Clone, Copy)]
struct Turn {
    sequence: u64,
    before: u16,
    count: u16,
}

/// Repair blocks whose repair symbols are kept at a time: what bounds the memory of who makes them.
const CODES_MAX: usize = 8;
/// Turns that are told apart in a block; older ones count as not sent, and are asked for again.
const TURNS_MAX: usize = 32;
/// Runs sent again that are remembered of a block; what older ones brought may be sent once too often.
const RESENT_MAX: usize = 512;

/// What somebody's lack led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mended {
    /// Nothing: it is on its way, or was never meant.
    Nothing,
    /// So many repair symbols of the block will have been sent.
    Repairs(u32, u16),
    /// The repair block will be sent once more.
    Whole(u32),
    /// Some symbols will be sent once more.
    Symbols,
}

impl Work {
    pub(super) fn new(geometry: Geometry, nack: NackTime, repair_start: u16) -> Self {
        let blocks = geometry.blocks();
        Self {
            geometry,
            nack,
            repair_start,
            available: Bits::new(blocks),
            unsent: Bits::new(blocks),
            ready: Bits::new(blocks),
            begun: Bits::new(blocks),
            current: None,
            mending: BTreeMap::new(),
            urgent: BTreeSet::new(),
            deferred: BTreeSet::new(),
            codes: VecDeque::new(),
            sequence: 0,
            counts: Counts::default(),
        }
    }

    /// The next frame's number.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// These blocks may be sent from now on.
    pub(super) fn make_available(&mut self, blocks: Range<u32>) {
        for block in blocks {
            if self.available.insert(block) && self.unsent.contains(block) {
                self.ready.insert(block);
            }
        }
    }

    /// These blocks are to be sent.
    pub(super) fn send_first(&mut self, blocks: Range<u32>) {
        for block in blocks {
            self.begun.insert(block);
            if self.unsent.insert(block) && self.available.contains(block) {
                self.ready.insert(block);
            }
        }
    }

    /// Is everything at hand that participants could ask for?
    pub(super) const fn is_all_available(&self) -> bool {
        self.available.is_full()
    }

    /// Can nothing be sent now?
    pub(super) fn is_idle(&self) -> bool {
        let able = |block: &u32| {
            let mending = &self.mending[block];
            !mending.wanted.is_empty() || mending.encoded
        };
        self.ready.is_empty() && !self.urgent.iter().any(able) && !self.deferred.iter().any(able)
    }

    /// Was everything sent, as far as is known?
    pub(super) fn is_done(&self) -> bool {
        self.unsent.is_empty() && self.urgent.is_empty() && self.deferred.is_empty()
    }

    /// Is there nothing left that was never sent?
    pub(super) const fn is_sent_once(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Somebody who had seen all frames before `seen` lacks this; `spare` symbols more are sent than are lacking.
    pub(super) fn lack(&mut self, lack: &Lack, seen: u64, spare: u16) -> Mended {
        match lack {
            Lack::Whole(..) => Mended::Nothing,
            Lack::Any(block, count) => self.lack_any(*block, *count, seen, spare),
            Lack::These(block, ranges) => self.lack_these(*block, ranges, seen),
        }
    }

    /// Somebody lacks all of a repair block.
    pub(super) fn lack_whole(&mut self, repair_block: u32, seen: u64) -> Mended {
        if self.is_coming(repair_block) {
            return Mended::Nothing;
        }
        let blocks = self.geometry.blocks_of(repair_block);
        if !blocks.clone().any(|block| self.begun.contains(block)) {
            self.send_first(blocks);
            return Mended::Whole(repair_block);
        }
        let all = [(0, self.geometry.symbols(repair_block))];
        match self.lack_these(repair_block, &all, seen) {
            Mended::Nothing => Mended::Nothing,
            _ => Mended::Whole(repair_block),
        }
    }

    /// Will the first sending of the block bring it?
    fn is_coming(&self, repair_block: u32) -> bool {
        let mut blocks = self.geometry.blocks_of(repair_block);
        blocks.any(|block| self.unsent.contains(block))
    }

    fn lack_any(&mut self, block: u32, count: u16, seen: u64, spare: u16) -> Mended {
        if count == 0 || self.is_coming(block) {
            return Mended::Nothing;
        }
        let repairs = self.geometry.repairs();
        let mending = self.mending.entry(block).or_default();
        let turn = mending
            .turns
            .iter()
            .rev()
            .find(|turn| turn.sequence <= seen);
        let due = turn
            .map_or(0, |turn| turn.sent_before(seen))
            .saturating_add(count);
        if due > repairs {
            let all = [(0, self.geometry.symbols(block))];
            return match self.lack_these(block, &all, seen) {
                Mended::Nothing => Mended::Nothing,
                _ => Mended::Whole(block),
            };
        }
        if due <= mending.repairs_due {
            return Mended::Nothing;
        }
        mending.repairs_due = due.saturating_add(spare).min(repairs);
        let due = mending.repairs_due;
        self.enter(block);
        Mended::Repairs(block, due)
    }

    fn lack_these(&mut self, block: u32, ranges: &[(u16, u16)], seen: u64) -> Mended {
        if self.is_coming(block) {
            return Mended::Nothing;
        }
        // What is not here yet goes as soon as it is.
        let (blocks, available) = (self.geometry.blocks_of(block), &self.available);
        let coming: Vec<u32> = blocks.filter(|block| !available.contains(*block)).collect();
        if !coming.is_empty() {
            coming
                .into_iter()
                .for_each(|block| self.send_first(block..block + 1));
            return Mended::Nothing;
        }
        let symbols = self.geometry.symbols(block);
        let mending = self.mending.entry(block).or_default();
        let mut wanted: Vec<Range<u16>> = ranges
            .iter()
            .map(|(first, count)| *first..first.saturating_add(*count).min(symbols))
            .collect();
        // What went out since may have arrived.
        for (sequence, sent) in &mending.resent {
            let known = seen.saturating_sub(*sequence).min(sent.len() as u64) as u16;
            subtract(&mut wanted, &(sent.start + known..sent.end));
        }
        wanted.retain(|range| !range.is_empty());
        if wanted.is_empty() {
            return Mended::Nothing;
        }
        mending.wanted.append(&mut wanted);
        unite(&mut mending.wanted);
        self.enter(block);
        Mended::Symbols
    }

    /// A turn begins: what is sent of the block now has one pass more.
    fn enter(&mut self, block: u32) {
        if self.urgent.contains(&block) || self.deferred.contains(&block) {
            return;
        }
        if let Some(mending) = self.mending.get_mut(&block) {
            mending.pass = mending.pass.max(1).saturating_add(1);
            let many = mending.wanted.iter().map(Range::len).sum::<usize>()
                > usize::from(self.geometry.symbols(block)) / 4;
            if self.nack == NackTime::End || many {
                self.deferred.insert(block);
            } else {
                self.urgent.insert(block);
            }
        }
    }

    /// The repair symbols of a block are at hand.
    pub(super) fn encoded(&mut self, block: u32) {
        if let Some(mending) = self.mending.get_mut(&block) {
            mending.encoded = self.codes.contains(&block);
        }
    }

    /// Has the repair symbols made that are needed next.
    pub(super) fn ask_for_codes(&mut self, out: &mut Outbox<Output>) {
        let waiting = self.urgent.iter().chain(&self.deferred).copied();
        for block in waiting.take(CODES_MAX * 2).collect::<Vec<_>>() {
            let mending = &self.mending[&block];
            if mending.repairs_sent == mending.repairs_due || self.codes.contains(&block) {
                continue;
            }
            if !self
                .geometry
                .blocks_of(block)
                .all(|block| self.available.contains(block))
            {
                continue;
            }
            if self.codes.len() == CODES_MAX && !self.forget_a_code(out) {
                return;
            }
            self.codes.push_back(block);
            out.push(Output::Encode { block });
        }
    }

    fn forget_a_code(&mut self, out: &mut Outbox<Output>) -> bool {
        let idle = self
            .codes
            .iter()
            .position(|block| !self.urgent.contains(block) && !self.deferred.contains(block));
        let Some(block) = idle.and_then(|idle| self.codes.remove(idle)) else {
            return false;
        };
        if let Some(mending) = self.mending.get_mut(&block) {
            mending.encoded = false;
        }
        out.push(Output::Forget { block });
        true
    }

    /// At most `frames` frames that go next.
    pub(super) fn next(&mut self, frames: u16, overhead: u16) -> Option<Burst> {
        let sent_once = self.unsent.is_empty() || self.ready.is_empty();
        let burst = self
            .next_of(true, frames)
            .or_else(|| self.next_first(frames))
            .or_else(|| sent_once.then(|| self.next_of(false, frames)).flatten())?;
        self.sequence += u64::from(burst.count);
        let symbols = self.geometry.symbols(burst.block);
        self.counts.frames += u64::from(burst.count);
        if burst.first >= symbols {
            self.counts.repairs += u64::from(burst.count);
        } else if burst.pass > 1 {
            self.counts.resent += u64::from(burst.count);
        }
        self.counts.bytes += self.bytes_of(&burst, overhead);
        Some(burst)
    }

    /// Bytes of a burst on the wire.
    pub(super) fn bytes_of(&self, burst: &Burst, overhead: u16) -> u64 {
        let symbols = self.geometry.symbols(burst.block);
        let len = |symbol| {
            if symbol < symbols {
                self.geometry.place(burst.block, symbol).len
            } else {
                u32::from(self.geometry.symbol_len())
            }
        };
        let each = (0..burst.count).map(|n| u64::from(len(burst.first + n)) + u64::from(overhead));
        each.sum()
    }

    fn next_first(&mut self, frames: u16) -> Option<Burst> {
        let (block, symbol) = match self.current {
            Some(current) => current,
            None => {
                let block = self.ready.next(0, true)?;
                (block, self.geometry.symbols_of(block).start)
            }
        };
        let end = self.geometry.symbols_of(block).end;
        let count = frames.min(end - symbol);
        if symbol + count == end {
            self.current = None;
            self.unsent.remove(block);
            self.ready.remove(block);
        } else {
            self.current = Some((block, symbol + count));
        }
        Some(Burst {
            block: self.geometry.repair_block_of(block),
            first: symbol,
            count,
            sequence: self.sequence,
            pass: 1,
        })
    }

    /// From the first block in turn that has something to send.
    fn next_of(&mut self, urgent: bool, frames: u16) -> Option<Burst> {
        let turn = if urgent { &self.urgent } else { &self.deferred };
        let able = |block: &&u32| {
            let mending = &self.mending[*block];
            !mending.wanted.is_empty() || mending.encoded
        };
        let block = *turn.iter().find(able)?;
        let mending = self.mending.get_mut(&block)?;
        let sequence = self.sequence;
        let (first, count);
        if let Some(range) = mending.wanted.first_mut() {
            first = range.start;
            count = frames.min(range.end - range.start);
            range.start += count;
            if range.start == range.end {
                mending.wanted.remove(0);
            }
            mending.note_resent(sequence, first..first + count);
        } else {
            let repairs = self.geometry.repairs();
            let at = (self.repair_start + mending.repairs_sent) % repairs;
            let left = mending.repairs_due - mending.repairs_sent;
            count = frames.min(left).min(repairs - at);
            first = self.geometry.symbols(block) + at;
            mending.note_turn(sequence, count);
        }
        let pass = mending.pass;
        if mending.wanted.is_empty() && mending.repairs_sent == mending.repairs_due {
            self.urgent.remove(&block);
            self.deferred.remove(&block);
        }
        Some(Burst {
            block,
            first,
            count,
            sequence,
            pass,
        })
    }
}

impl Mending {
    fn note_resent(&mut self, sequence: u64, symbols: Range<u16>) {
        match self.resent.back_mut() {
            Some((begun, sent))
                if *begun + sent.len() as u64 == sequence && sent.end == symbols.start =>
            {
                sent.end = symbols.end;
            }
            _ => self.resent.push_back((sequence, symbols)),
        }
        if self.resent.len() > RESENT_MAX {
            self.resent.pop_front();
        }
    }

    fn note_turn(&mut self, sequence: u64, count: u16) {
        let before = self.repairs_sent;
        self.repairs_sent += count;
        match self.turns.back_mut() {
            Some(turn) if turn.sequence + u64::from(turn.count) == sequence => turn.count += count,
            _ => self.turns.push_back(Turn {
                sequence,
                before,
                count,
            }),
        }
        if self.turns.len() > TURNS_MAX {
            self.turns.pop_front();
        }
    }
}

impl Turn {
    /// How many repair symbols of the block were sent before the frame `seen`.
    fn sent_before(&self, seen: u64) -> u16 {
        let of_turn = seen.saturating_sub(self.sequence).min(self.count.into());
        self.before + of_turn as u16
    }
}

/// Takes `gone` out of ranges.
fn subtract(ranges: &mut Vec<Range<u16>>, gone: &Range<u16>) {
    for at in 0..ranges.len() {
        let range = ranges[at].clone();
        if gone.is_empty() || gone.end <= range.start || gone.start >= range.end {
            continue;
        }
        ranges[at].end = gone.start.max(range.start);
        if gone.end < range.end {
            ranges.push(gone.end..range.end);
        }
    }
}

/// Makes ranges disjoint and orders them.
fn unite(ranges: &mut Vec<Range<u16>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, kept| {
        let touches = next.start <= kept.end;
        if touches {
            kept.end = kept.end.max(next.end);
        }
        touches
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges() -> impl Strategy<Value = Vec<Range<u16>>> {
        let range = (0_u16..60, 0_u16..12).prop_map(|(first, count)| first..first + count);
        prop::collection::vec(range, 0..12)
    }

    fn numbers(ranges: &[Range<u16>]) -> BTreeSet<u16> {
        ranges.iter().cloned().flatten().collect()
    }

    proptest! {
        #[test]
        fn ranges_are_sets(mut some in ranges(), gone in ranges()) {
            let before = numbers(&some);
            unite(&mut some);
            prop_assert_eq!(&numbers(&some), &before);
            prop_assert!(some.windows(2).all(|pair| pair[0].end < pair[1].start || pair[0].is_empty()));
            gone.iter().for_each(|gone| subtract(&mut some, gone));
            let left = before.difference(&numbers(&gone)).copied().collect::<BTreeSet<_>>();
            prop_assert_eq!(numbers(&some), left);
        }
    }
}
