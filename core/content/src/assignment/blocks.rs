//! Blocks: the unit of proof, resume, range and cut-through. A fixed cut of the data file as
//! sent, whatever compression frames it holds.

use bellwether_types::Hash;

/// Blocks of a data file below 64 MiB.
pub const BLOCK_LEN_SMALL: usize = 256 << 10;
/// Blocks of a larger one.
pub const BLOCK_LEN_LARGE: usize = 1 << 20;
const LARGE_DATA_LEN: u64 = 64 << 20;

/// The length of the blocks of a data file; the last one may be shorter.
pub fn block_len(data_len: u64) -> usize {
    if data_len < LARGE_DATA_LEN {
        BLOCK_LEN_SMALL
    } else {
        BLOCK_LEN_LARGE
    }
}

/// The hashes of a data file's blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocks(pub Vec<Hash>);

impl Blocks {
    /// How many blocks a data file has.
    pub fn count(data_len: u64) -> u64 {
        data_len.div_ceil(block_len(data_len) as u64)
    }

    /// The list as it travels.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| hash.0).collect()
    }

    /// Reads the list; `bytes` has 32 for each block.
    pub fn decode(bytes: &[u8]) -> Self {
        let (hashes, _) = bytes.as_chunks::<32>();
        Self(hashes.iter().map(|bytes| Hash(*bytes)).collect())
    }
}

/// Hashes the blocks of a data file whose length shows only at its end.
#[derive(Debug, Default)]
pub struct BlockHasher {
    block: Vec<u8>,
    /// Kept until the file is too long for small blocks.
    small: Option<Vec<Hash>>,
    large: Vec<Hash>,
    len: u64,
}

impl BlockHasher {
    /// For an empty data file.
    pub fn new() -> Self {
        Self {
            small: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// The data file goes on.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = BLOCK_LEN_LARGE - self.block.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = rest;
            if self.block.len() == BLOCK_LEN_LARGE {
                self.end_block();
            }
        }
        if self.len >= LARGE_DATA_LEN {
            self.small = None;
        }
    }

    /// The data file ends.
    pub fn finish(mut self) -> (u64, Blocks) {
        if !self.block.is_empty() {
            self.end_block();
        }
        (self.len, Blocks(self.small.unwrap_or(self.large)))
    }

    fn end_block(&mut self) {
        if let Some(small) = &mut self.small {
            small.extend(self.block.chunks(BLOCK_LEN_SMALL).map(Hash::of));
        }
        self.large.push(Hash::of(&self.block));
        self.block.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_a_fixed_cut_however_the_bytes_arrive() {
        for len in [
            0,
            1,
            BLOCK_LEN_SMALL,
            BLOCK_LEN_LARGE + 1,
            (64 << 20) - 1,
            64 << 20,
        ] {
            let data: Vec<u8> = (0..len).map(|i| (i >> 10) as u8).collect();
            let mut hasher = BlockHasher::new();
            data.chunks(700_001).for_each(|chunk| hasher.update(chunk));
            let (counted, blocks) = hasher.finish();
            assert_eq!(counted, len as u64);
            let expected = data.chunks(block_len(counted)).map(Hash::of).collect();
            assert_eq!(blocks, Blocks(expected));
            assert_eq!(blocks.0.len() as u64, Blocks::count(counted));
            assert_eq!(Blocks::decode(&blocks.encode()), blocks);
        }
    }
}
