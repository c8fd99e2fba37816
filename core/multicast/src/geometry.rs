use std::ops::Range;

use bellwether_wire::transfer::Announcement;

/// How an assignment is cut.
///
/// Head and data file are cut into *blocks*, the unit of proof; the head is proved as a whole. Each block is cut into
/// *symbols*, of which the last is short: so no symbol belongs to two blocks, and a block that is wrong spoils no other.
/// Successive blocks make a *repair block*; none holds blocks of both head and data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    head_len: u64,
    data_len: u64,
    block_len: u32,
    symbol_len: u16,
    blocks_per_repair: u16,
    repairs: u16,
}

/// Parameters that make no sense, or would cost without bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {value}, and must be {min} to {max}")]
pub struct GeometryError {
    what: &'static str,
    value: u64,
    min: u64,
    max: u64,
}

/// One of the two byte strings of an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Everything before the data file; proved by its signature.
    Head,
    /// The data file; each block is proved by its hash, which is in the head.
    Data,
}

/// Where bytes belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The byte string.
    pub part: Part,
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub len: u32,
}

impl Place {
    /// Does `next` begin where this ends?
    pub(crate) fn precedes(&self, next: &Self) -> bool {
        self.part == next.part && self.offset + u64::from(self.len) == next.offset
    }

    /// This and what follows it.
    pub(crate) const fn and(mut self, next: &Self) -> Self {
        self.len += next.len;
        self
    }
}

/// What an erasure code is to be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Symbols of content.
    pub symbols: u16,
    /// Repair symbols.
    pub repairs: u16,
    /// Bytes of each; shorter ones count as if zeros followed.
    pub symbol_len: u16,
}

const HEAD_LEN_MAX: u64 = 256 << 20;
const DATA_LEN_MAX: u64 = 1 << 40;
const BLOCK_LEN_MIN: u64 = 512;
const BLOCK_LEN_MAX: u64 = 16 << 20;
const SYMBOL_LEN_MIN: u64 = 64;
const SYMBOL_LEN_MAX: u64 = 16 << 10;
/// The most symbols of a repair block: what is kept of one that is not whole stays small.
const SYMBOLS_MAX: u64 = 1 << 14;
const REPAIRS_MAX: u64 = 1 << 12;
const BLOCKS_MAX: u64 = 1 << 22;
/// More symbols come closer to what loss costs at least, and take longer to decode.
const SYMBOLS_AIM: u32 = 1_500;
/// Enough for a tenth lost at all receivers three times over.
const REPAIRS_AIM: u16 = 512;

impl Geometry {
    /// The cut that suits an assignment whose blocks are `block_len` and whose frames carry `symbol_len` bytes.
    pub fn suited(
        head_len: u64,
        data_len: u64,
        block_len: u32,
        symbol_len: u16,
    ) -> Result<Self, GeometryError> {
        let per_block = block_len.div_ceil(u32::from(symbol_len).max(1)).max(1);
        let blocks_per_repair = u16::try_from(SYMBOLS_AIM / per_block).unwrap_or(u16::MAX);
        Self {
            head_len,
            data_len,
            block_len,
            symbol_len,
            blocks_per_repair: blocks_per_repair.max(1),
            repairs: REPAIRS_AIM,
        }
        .checked()
    }

    /// The cut that these parameters make, if they make one.
    pub fn new(
        head_len: u64,
        data_len: u64,
        block_len: u32,
        symbol_len: u16,
        blocks_per_repair: u16,
        repairs: u16,
    ) -> Result<Self, GeometryError> {
        Self {
            head_len,
            data_len,
            block_len,
            symbol_len,
            blocks_per_repair,
            repairs,
        }
        .checked()
    }

    /// The cut that an announcement names.
    pub fn announced(announcement: &Announcement) -> Result<Self, GeometryError> {
        Self::new(
            announcement.head_len,
            announcement.data_len,
            announcement.block_len,
            announcement.symbol_len,
            announcement.blocks_per_repair,
            announcement.repairs,
        )
    }

    /// The same cut without repair symbols: what is lost is sent again as it was.
    pub const fn plain(mut self) -> Self {
        self.repairs = 0;
        self
    }

    fn checked(self) -> Result<Self, GeometryError> {
        let within = |what, value, min, max| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(GeometryError {
                    what,
                    value,
                    min,
                    max,
                })
            }
        };
        let symbol_len = u64::from(self.symbol_len);
        within("the head's length", self.head_len, 1, HEAD_LEN_MAX)?;
        within("the data file's length", self.data_len, 0, DATA_LEN_MAX)?;
        let block_len = u64::from(self.block_len);
        within("the block length", block_len, BLOCK_LEN_MIN, BLOCK_LEN_MAX)?;
        within("the frame size", symbol_len, SYMBOL_LEN_MIN, SYMBOL_LEN_MAX)?;
        within("the frame size's lowest bit", symbol_len & 1, 0, 0)?;
        let blocks = self.head_len.div_ceil(block_len) + self.data_len.div_ceil(block_len);
        within("the number of blocks", blocks, 1, BLOCKS_MAX)?;
        let symbols = u64::from(self.blocks_per_repair) * u64::from(self.symbols_per_block());
        within("the symbols of a repair block", symbols, 1, SYMBOLS_MAX)?;
        within("the repair symbols", self.repairs.into(), 0, REPAIRS_MAX)?;
        Ok(self)
    }

    /// Bytes of the head.
    pub const fn head_len(&self) -> u64 {
        self.head_len
    }

    /// Bytes of the data file.
    pub const fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Bytes of a block.
    pub const fn block_len(&self) -> u32 {
        self.block_len
    }

    /// Bytes of a symbol.
    pub const fn symbol_len(&self) -> u16 {
        self.symbol_len
    }

    /// Blocks in a repair block.
    pub const fn blocks_per_repair(&self) -> u16 {
        self.blocks_per_repair
    }

    /// Repair symbols of each repair block.
    pub const fn repairs(&self) -> u16 {
        self.repairs
    }

    /// Blocks of the head; they come first.
    pub const fn head_blocks(&self) -> u32 {
        self.head_len.div_ceil(self.block_len as u64) as u32
    }

    /// Blocks of head and data file.
    pub const fn blocks(&self) -> u32 {
        self.head_blocks() + self.data_len.div_ceil(self.block_len as u64) as u32
    }

    /// Repair blocks of the head; they come first.
    const fn head_repair_blocks(&self) -> u32 {
        self.head_blocks().div_ceil(self.blocks_per_repair as u32)
    }

    /// Repair blocks of head and data file.
    pub const fn repair_blocks(&self) -> u32 {
        let data_blocks = self.blocks() - self.head_blocks();
        self.head_repair_blocks() + data_blocks.div_ceil(self.blocks_per_repair as u32)
    }

    /// The repair block that a block is in.
    pub const fn repair_block_of(&self, block: u32) -> u32 {
        let per_repair = self.blocks_per_repair as u32;
        if block < self.head_blocks() {
            block / per_repair
        } else {
            self.head_repair_blocks() + (block - self.head_blocks()) / per_repair
        }
    }

    /// The blocks of a repair block.
    pub fn blocks_of(&self, repair_block: u32) -> Range<u32> {
        let per_repair = u32::from(self.blocks_per_repair);
        let head = self.head_repair_blocks();
        let (base, index, end) = if repair_block < head {
            (0, repair_block, self.head_blocks())
        } else {
            (self.head_blocks(), repair_block - head, self.blocks())
        };
        let first = base
            .saturating_add(index.saturating_mul(per_repair))
            .min(end);
        first..first.saturating_add(per_repair).min(end)
    }

    /// The bytes of a block.
    pub fn block(&self, block: u32) -> Place {
        let head = self.head_blocks();
        let (part, index, len) = if block < head {
            (Part::Head, block, self.head_len)
        } else {
            (Part::Data, block - head, self.data_len)
        };
        let offset = u64::from(index) * u64::from(self.block_len);
        let len = u64::from(self.block_len).min(len.saturating_sub(offset));
        Place {
            part,
            offset,
            len: len as u32,
        }
    }

    const fn symbols_per_block(&self) -> u32 {
        self.block_len.div_ceil(self.symbol_len as u32)
    }

    /// The symbols of a block, as numbered in its repair block.
    pub fn symbols_of(&self, block: u32) -> Range<u16> {
        let in_repair = block - self.blocks_of(self.repair_block_of(block)).start;
        let first = in_repair * self.symbols_per_block();
        let count = self.block(block).len.div_ceil(u32::from(self.symbol_len));
        first as u16..(first + count) as u16
    }

    /// How many symbols of content a repair block has.
    pub fn symbols(&self, repair_block: u32) -> u16 {
        let blocks = self.blocks_of(repair_block);
        blocks.last().map_or(0, |last| self.symbols_of(last).end)
    }

    /// How many symbols head and data file have.
    pub fn symbols_in_all(&self) -> u64 {
        let of_part = |len: u64| {
            let block_len = u64::from(self.block_len);
            let whole = len / block_len * u64::from(self.symbols_per_block());
            whole + (len % block_len).div_ceil(self.symbol_len.into())
        };
        of_part(self.head_len) + of_part(self.data_len)
    }

    /// The block that a symbol of content is a piece of.
    pub fn block_of(&self, repair_block: u32, symbol: u16) -> u32 {
        self.blocks_of(repair_block).start + u32::from(symbol) / self.symbols_per_block()
    }

    /// Where a symbol of content belongs.
    pub fn place(&self, repair_block: u32, symbol: u16) -> Place {
        let block = self.block(self.block_of(repair_block, symbol));
        let within = u32::from(symbol) % self.symbols_per_block() * u32::from(self.symbol_len);
        Place {
            part: block.part,
            offset: block.offset + u64::from(within),
            len: u32::from(self.symbol_len).min(block.len.saturating_sub(within)),
        }
    }

    /// The blocks that bytes belong to.
    pub fn blocks_at(&self, place: Place) -> Range<u32> {
        let base = match place.part {
            Part::Head => 0,
            Part::Data => self.head_blocks(),
        };
        let block_len = u64::from(self.block_len);
        let first = place.offset / block_len;
        let end = (place.offset + u64::from(place.len)).div_ceil(block_len);
        base + first as u32..base + end as u32
    }

    /// The code of a repair block.
    pub fn shape(&self, repair_block: u32) -> Shape {
        Shape {
            symbols: self.symbols(repair_block),
            repairs: self.repairs,
            symbol_len: self.symbol_len,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every byte belongs to exactly one symbol, and counts agree whichever way they are made.
        #[test]
        fn symbols_cover_every_byte_once(
            head in 1_u64..40_000,
            data in 0_u64..200_000,
            block in 512_u32..20_000,
            symbol in 32_u16..700,
        ) {
            let geometry = Geometry::suited(head, data, block, symbol * 2).unwrap();
            let mut next = (Part::Head, 0);
            let mut symbols = 0;
            for repair_block in 0..geometry.repair_blocks() {
                for symbol in 0..geometry.symbols(repair_block) {
                    let place = geometry.place(repair_block, symbol);
                    if next == (Part::Head, head) {
                        next = (Part::Data, 0);
                    }
                    prop_assert_eq!((place.part, place.offset), next);
                    prop_assert!(place.len > 0);
                    next.1 += u64::from(place.len);
                    symbols += 1;
                    let of = geometry.block_of(repair_block, symbol);
                    prop_assert!(geometry.symbols_of(of).contains(&symbol));
                    prop_assert_eq!(geometry.repair_block_of(of), repair_block);
                }
            }
            let end = if data == 0 { (Part::Head, head) } else { (Part::Data, data) };
            prop_assert_eq!(next, end);
            prop_assert_eq!(symbols, geometry.symbols_in_all());
        }
    }

    #[test]
    fn repair_blocks_hold_about_1500_frames_of_an_ethernet() {
        let small = Geometry::suited(5_000, 32 << 20, 256 << 10, 1_432).unwrap();
        assert_eq!((small.symbols(0), small.symbols(1)), (4, 1_472));
        assert_eq!(small.repair_blocks(), 1 + 16);
        let large = Geometry::suited(5_000, 4 << 30, 1 << 20, 1_432).unwrap();
        assert_eq!(large.symbols(1), 1_466);
    }

    #[test]
    fn absurd_parameters_are_refused_by_name() {
        let refused = |head, data, block, symbol| {
            let error = Geometry::suited(head, data, block, symbol).unwrap_err();
            error.to_string()
        };
        assert!(refused(1, 1, 1 << 20, 0).starts_with("the frame size is 0,"));
        assert!(refused(1, 1, u32::MAX, 1_432).starts_with("the block length is 4294967295,"));
        assert!(refused(0, 1, 1 << 20, 1_432).starts_with("the head's length"));
        assert!(refused(1, u64::MAX, 1 << 20, 1_432).starts_with("the data file's length"));
        assert!(refused(1, 1 << 40, 1 << 10, 1_432).starts_with("the number of blocks"));
        assert!(refused(1, 1, 16 << 20, 64).starts_with("the symbols of a repair block"));
        assert!(refused(1, 1, 1 << 20, 1_431).starts_with("the frame size's lowest bit"));
    }
}
