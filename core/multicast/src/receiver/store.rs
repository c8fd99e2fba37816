use std::collections::BTreeMap;

use bellwether_wire::transfer::Lack;
use minicbor::{Decode, Encode};

use crate::bits::Bits;
use crate::geometry::Geometry;

/// Which symbols and blocks of an assignment are in the spool.
#[derive(Debug)]
pub(super) struct Store {
    geometry: Geometry,
    /// Repair blocks that are whole, or being made so.
    whole: Bits,
    /// The others of which something is there.
    partial: BTreeMap<u32, Partial>,
    /// Blocks of which every symbol is there.
    held: Bits,
    /// Blocks that are what the signed hashes say.
    proved: Bits,
}

#[derive(Debug)]
struct Partial {
    symbols: Bits,
    /// Repair symbols that are there, in order.
    repairs: Vec<u16>,
    /// Is it being decoded?
    is_decoding: bool,
}

/// What came of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is there already, or of no use.
    Useless,
    /// It is new; the block may now be whole.
    New,
    /// It is new, and there is enough to make the repair block whole.
    Enough,
}

/// The store as it is kept over a restart.
#[derive(Debug, Encode, Decode)]
struct Kept {
    #[n(0)]
    format: u8,
    #[n(1)]
    cut: (u64, u64, u32, u16, u16, u16),
    /// Runs of whole repair blocks: first and count.
    #[n(2)]
    whole: Vec<(u32, u32)>,
    /// Of others: the runs of symbols that are there.
    #[n(3)]
    partial: Vec<(u32, Vec<(u16, u16)>)>,
}

const FORMAT: u8 = 1;

impl Store {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self {
            whole: Bits::new(geometry.repair_blocks()),
            partial: BTreeMap::new(),
            held: Bits::new(geometry.blocks()),
            proved: Bits::new(geometry.blocks()),
            geometry,
        }
    }

    /// Everything is here and proved.
    pub(super) fn complete(geometry: Geometry) -> Self {
        Self {
            whole: Bits::full(geometry.repair_blocks()),
            partial: BTreeMap::new(),
            held: Bits::full(geometry.blocks()),
            proved: Bits::full(geometry.blocks()),
            geometry,
        }
    }

    pub(super) const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(super) const fn is_all_whole(&self) -> bool {
        self.whole.is_full()
    }

    pub(super) const fn is_proved(&self) -> bool {
        self.proved.is_full()
    }

    pub(super) fn proved(&self) -> impl Iterator<Item = std::ops::Range<u32>> + '_ {
        self.proved.runs(true)
    }

    /// Repair blocks from `from` on that are not whole.
    pub(super) fn next_lacking(&self, from: u32) -> Option<u32> {
        self.whole.next(from, false)
    }

    /// The first block from `from` on that is there and not proved.
    pub(super) fn next_unproved(&self, from: u32) -> Option<u32> {
        let mut at = from;
        loop {
            at = self.held.next(at, true)?;
            if !self.proved.contains(at) {
                return Some(at);
            }
            at += 1;
        }
    }

    /// How many blocks there are in repair blocks of which something is there.
    pub(super) fn begun(&self) -> u32 {
        let partial = self.partial.keys().copied();
        let begun = self.whole.runs(true).flatten().chain(partial);
        begun
            .map(|block| self.geometry.blocks_of(block).len() as u32)
            .sum()
    }

    /// Is the whole head there?
    pub(super) fn holds_head(&self) -> bool {
        let gap = self.held.next(0, false);
        gap.is_none_or(|gap| gap >= self.geometry.head_blocks())
    }

    /// A symbol came that belongs to the geometry.
    pub(super) fn take(&mut self, repair_block: u32, symbol: u16) -> Taken {
        if self.whole.contains(repair_block) {
            return Taken::Useless;
        }
        let symbols = self.geometry.symbols(repair_block);
        let partial = self.partial.entry(repair_block).or_insert_with(|| Partial {
            symbols: Bits::new(symbols.into()),
            repairs: Vec::new(),
            is_decoding: false,
        });
        if partial.is_decoding {
            return Taken::Useless;
        }
        if let Some(repair) = symbol.checked_sub(symbols) {
            let Err(place) = partial.repairs.binary_search(&repair) else {
                return Taken::Useless;
            };
            partial.repairs.insert(place, repair);
        } else {
            if !partial.symbols.insert(symbol.into()) {
                return Taken::Useless;
            }
            let block = self.geometry.block_of(repair_block, symbol);
            let range = self.geometry.symbols_of(block);
            let gap = partial.symbols.next(range.start.into(), false);
            if gap.is_none_or(|gap| gap >= u32::from(range.end)) {
                self.held.insert(block);
            }
        }
        if partial.symbols.is_full() {
            self.fill(repair_block);
            return Taken::New;
        }
        if partial.symbols.count() as usize + partial.repairs.len() >= usize::from(symbols) {
            partial.is_decoding = true;
            return Taken::Enough;
        }
        Taken::New
    }

    /// Every symbol of a repair block is there.
    pub(super) fn fill(&mut self, repair_block: u32) {
        self.partial.remove(&repair_block);
        self.whole.insert(repair_block);
        self.held.insert_all(self.geometry.blocks_of(repair_block));
    }

    /// What decoding a repair block needs: the symbols that are missing, and the repair symbols there are.
    pub(super) fn decoding(&self, repair_block: u32) -> Option<(Vec<u16>, Vec<u16>)> {
        let partial = self.partial.get(&repair_block)?;
        let missing = partial.symbols.gaps().flatten().map(|symbol| symbol as u16);
        Some((missing.collect(), partial.repairs.clone()))
    }

    /// Decoding failed: the repair symbols are worth nothing.
    pub(super) fn drop_repairs(&mut self, repair_block: u32) {
        if let Some(partial) = self.partial.get_mut(&repair_block) {
            partial.repairs.clear();
            partial.is_decoding = false;
        }
    }

    pub(super) fn prove(&mut self, block: u32) {
        self.proved.insert(block);
    }

    /// Is the whole head proved?
    pub(super) fn proves_head(&self) -> bool {
        let gap = self.proved.next(0, false);
        gap.is_none_or(|gap| gap >= self.geometry.head_blocks())
    }

    /// Bytes from the beginning of the head, and behind it of the data, that are proved without a gap.
    pub(super) fn proved_len(&self) -> u64 {
        let geometry = &self.geometry;
        let (head, data) = (geometry.head_len(), geometry.data_len());
        if !self.proves_head() {
            return 0;
        }
        let first = geometry.head_blocks();
        match self.proved.next(first, false) {
            None => head + data,
            Some(gap) => {
                head + (u64::from(gap - first) * u64::from(geometry.block_len())).min(data)
            }
        }
    }

    /// A whole block is there that was proved; whether that holds still, as nothing else was written where it is.
    pub(super) fn put(&mut self, block: u32) -> bool {
        let repair_block = self.geometry.repair_block_of(block);
        let symbols = self.geometry.symbols_of(block);
        let partial = self.partial.get(&repair_block);
        let came = partial.is_some_and(|partial| {
            let first = partial.symbols.next(symbols.start.into(), true);
            partial.is_decoding || first.is_some_and(|first| first < symbols.end.into())
        });
        let holds = !came && !self.whole.contains(repair_block);
        // There could be too many with them.
        self.drop_repairs(repair_block);
        for symbol in symbols {
            self.take(repair_block, symbol);
        }
        if holds {
            self.proved.insert(block);
        }
        holds
    }

    /// A block is not what its hash says: none of its symbols is there any more. Nor are repair symbols, which may be
    /// the cause.
    pub(super) fn clear(&mut self, block: u32) {
        self.held.remove(block);
        let repair_block = self.geometry.repair_block_of(block);
        let symbols = u32::from(self.geometry.symbols(repair_block));
        if self.whole.remove(repair_block) {
            let partial = Partial {
                symbols: Bits::full(symbols),
                repairs: Vec::new(),
                is_decoding: false,
            };
            self.partial.insert(repair_block, partial);
        }
        let range = self.geometry.symbols_of(block);
        if let Some(partial) = self.partial.get_mut(&repair_block) {
            let range = u32::from(range.start)..u32::from(range.end);
            partial.symbols.remove_all(range);
            partial.repairs.clear();
            partial.is_decoding = false;
        }
    }

    /// Symbols that a repair block lacks.
    pub(super) fn lacking(&self, repair_block: u32) -> u16 {
        if self.whole.contains(repair_block) {
            return 0;
        }
        let symbols = self.geometry.symbols(repair_block);
        let Some(partial) = self.partial.get(&repair_block) else {
            return symbols;
        };
        if partial.is_decoding {
            return 0;
        }
        let there = partial.symbols.count() as usize + partial.repairs.len();
        symbols.saturating_sub(u16::try_from(there).unwrap_or(u16::MAX))
    }

    /// Says what a repair block lacks: so many symbols, whichever, if `any` is wanted and there are few enough.
    pub(super) fn lack(&self, repair_block: u32, any_max: u16) -> Option<Lack> {
        let lacking = self.lacking(repair_block);
        if lacking == 0 {
            return None;
        }
        let Some(partial) = self.partial.get(&repair_block) else {
            return Some(Lack::Whole(repair_block, 1));
        };
        if partial.symbols.is_empty() && partial.repairs.is_empty() {
            return Some(Lack::Whole(repair_block, 1));
        }
        if lacking <= any_max {
            return Some(Lack::Any(repair_block, lacking));
        }
        let ranges = partial.symbols.gaps();
        let ranges = ranges.map(|range| (range.start as u16, (range.end - range.start) as u16));
        Some(Lack::These(repair_block, ranges.collect()))
    }

    /// The same content in another cut: only proved blocks count.
    pub(super) fn recut(&mut self, geometry: Geometry) {
        let mut store = Self::new(geometry);
        for block in self.proved.runs(true).flatten() {
            store.held.insert(block);
            store.proved.insert(block);
        }
        for repair_block in 0..geometry.repair_blocks() {
            let mut blocks = geometry.blocks_of(repair_block);
            if blocks.all(|block| store.proved.contains(block)) {
                store.whole.insert(repair_block);
                continue;
            }
            for block in geometry.blocks_of(repair_block) {
                if store.proved.contains(block) {
                    for symbol in geometry.symbols_of(block) {
                        store.take(repair_block, symbol);
                    }
                }
            }
        }
        *self = store;
    }

    /// What is to be kept over a restart. Of repair blocks that are being decoded or hold repair symbols only the
    /// symbols count; proofs are made anew.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let geometry = &self.geometry;
        let runs = |bits: &Bits| -> Vec<(u32, u32)> {
            let runs = bits.runs(true);
            runs.map(|run| (run.start, run.end - run.start)).collect()
        };
        let partial = self.partial.iter().map(|(block, partial)| {
            let runs = runs(&partial.symbols).into_iter();
            let runs = runs.map(|(first, count)| (first as u16, count as u16));
            (*block, runs.collect())
        });
        let kept = Kept {
            format: FORMAT,
            cut: (
                geometry.head_len(),
                geometry.data_len(),
                geometry.block_len(),
                geometry.symbol_len(),
                geometry.blocks_per_repair(),
                geometry.repairs(),
            ),
            whole: runs(&self.whole),
            partial: partial.collect(),
        };
        minicbor::to_vec(kept).expect("memory takes what is written")
    }

    /// What was kept, if it can be read; nothing of it is proved yet.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let kept: Kept = minicbor::decode(bytes).ok()?;
        let (head_len, data_len, block_len, symbol_len, blocks_per_repair, repairs) = kept.cut;
        let geometry = Geometry::new(
            head_len,
            data_len,
            block_len,
            symbol_len,
            blocks_per_repair,
            repairs,
        )
        .ok()
        .filter(|_| kept.format == FORMAT)?;
        let mut store = Self::new(geometry);
        for (first, count) in kept.whole {
            let end = first.checked_add(count)?;
            if end > geometry.repair_blocks() {
                return None;
            }
            for repair_block in first..end {
                store.fill(repair_block);
            }
        }
        for (repair_block, runs) in kept.partial {
            if repair_block >= geometry.repair_blocks() {
                return None;
            }
            for (first, count) in runs {
                let end = first.checked_add(count)?;
                if end > geometry.symbols(repair_block) {
                    return None;
                }
                for symbol in first..end {
                    store.take(repair_block, symbol);
                }
            }
        }
        Some(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        // Two blocks of ten symbols in each repair block.
        let geometry = Geometry::new(100, 5_000, 1_000, 100, 2, 8).unwrap();
        Store::new(geometry)
    }

    fn take_all(store: &mut Store, block: u32, symbols: impl IntoIterator<Item = u16>) {
        for symbol in symbols {
            store.take(block, symbol);
        }
    }

    /// MCTP-10.
    #[test]
    fn what_is_missing_is_known_exactly() {
        let mut store = store();
        for symbol in (0..20).filter(|symbol| ![3, 7, 19].contains(symbol)) {
            assert_eq!(store.take(1, symbol), Taken::New);
        }
        let missing = vec![(3, 1), (7, 1), (19, 1)];
        assert_eq!(store.lack(1, 0), Some(Lack::These(1, missing)));
        assert_eq!(store.lack(1, 5), Some(Lack::Any(1, 3)));
        assert_eq!(store.lack(2, 5), Some(Lack::Whole(2, 1)));
        assert_eq!(store.take(1, 5), Taken::Useless);
        assert_eq!(store.take(1, 20), Taken::New);
        assert_eq!(store.take(1, 27), Taken::New);
        assert_eq!(store.take(1, 27), Taken::Useless);
        assert_eq!(store.take(1, 19), Taken::Enough);
        assert_eq!(store.decoding(1), Some((vec![3, 7], vec![0, 7])));
        assert_eq!(store.lacking(1), 0);
    }

    /// MCTP-23: a restart forgets no symbol that counts, and believes no proof.
    #[test]
    fn what_was_kept_comes_back_unproved() {
        let mut before = store();
        take_all(&mut before, 1, 0..20);
        take_all(&mut before, 2, [0, 1, 5, 22]);
        before.prove(1);
        let after = Store::from_bytes(&before.to_bytes()).unwrap();
        assert!(after.whole.contains(1) && after.next_unproved(0) == Some(1));
        assert_eq!(after.lacking(2), 17);
        assert_eq!(before.lacking(2), 16);
        for len in 0..before.to_bytes().len() {
            assert!(Store::from_bytes(&before.to_bytes()[..len]).is_none());
        }
    }

    #[test]
    fn a_block_that_is_wrong_is_lacking_and_its_neighbour_is_not() {
        let mut store = store();
        take_all(&mut store, 1, 0..20);
        store.prove(1);
        store.clear(2);
        assert!(!store.whole.contains(1));
        assert_eq!(store.lack(1, 0), Some(Lack::These(1, vec![(10, 10)])));
        assert!(store.proved().eq(std::iter::once(1..2)));
    }

    #[test]
    fn another_cut_keeps_what_is_proved() {
        let mut store = store();
        take_all(&mut store, 1, 0..20);
        store.prove(1);
        store.recut(Geometry::new(100, 5_000, 1_000, 200, 3, 8).unwrap());
        assert_eq!(store.lacking(1), 10);
        assert_eq!(store.next_unproved(0), None);
    }
}
