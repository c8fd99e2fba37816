//! Anchors on a grid, for when speed is all.
//!
//! Of the base, one window stands for each block. Where new content is unchanged, one block's
//! length of it holds the start of a block, wherever it has moved to. So it is enough to look at
//! all positions of one length in several, and both sides cost a fraction of what a rolling hash
//! of every byte does ([`Gear`](crate::gear::Gear)). The price: many look-ups, and short content
//! is missed.

/// Bytes of a window, of which words with even distances are looked at: phrases of a few dozen
/// bytes are often repeated, and say little about where content came from.
const WINDOW_LEN: usize = 256;

/// Of so many blocks' lengths of new content one is looked at, until a block is found.
const LOOKED_AT: usize = 8;

/// Calls `found` with the start of each block and the hash of its window. `bytes` lie at `offset`,
/// which is a block's start. Of equal windows in a row the first counts.
pub(crate) fn blocks(bytes: &[u8], offset: u64, block_log: u32, mut found: impl FnMut(u64, u64)) {
    let mut last = None;
    for (nth, block) in (0..).zip(bytes.chunks(1 << block_log)) {
        let hash = block.first_chunk().map(hash);
        if let Some(hash) = hash.filter(|&hash| last != Some(hash)) {
            found(offset + (nth << block_log), hash);
        }
        last = hash;
    }
}

/// Calls `is_known` with positions of `new` at which a block may start, and the hashes of their
/// windows; it says whether a block has that hash.
pub(crate) fn sightings(new: &[u8], block_log: u32, mut is_known: impl FnMut(u64, u64) -> bool) {
    let block_len = 1 << block_log;
    let mut start = 0;
    for piece in new.chunks(block_len * LOOKED_AT) {
        let looked_at = &piece[..piece.len().min(block_len + WINDOW_LEN - 1)];
        let mut windows = (start..).zip(looked_at.array_windows());
        windows.any(|(at, window)| is_known(at, hash(window)));
        start += piece.len() as u64;
    }
}

/// All high bits are mixed.
#[inline]
fn hash(window: &[u8; WINDOW_LEN]) -> u64 {
    let word = |nth: usize| {
        let at = nth * (WINDOW_LEN / 4);
        u64::from_le_bytes(*window[at..].first_chunk().expect("inside the window"))
    };
    let first = (word(0) ^ word(1).rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let last = (word(2) ^ word(3).rotate_left(23)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mixed = first ^ last.rotate_left(29);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::noise;

    fn of_base(pieces: &[&[u8]]) -> Vec<(u64, u64)> {
        let mut anchors = Vec::new();
        let mut offset = 0;
        for piece in pieces {
            blocks(piece, offset, 9, |at, hash| anchors.push((at, hash)));
            offset += piece.len() as u64;
        }
        anchors
    }

    #[test]
    fn blocks_do_not_depend_on_how_the_content_is_cut() {
        let content = noise(1, 64 << 10);
        let whole = of_base(&[&content]);
        assert_eq!(whole.len(), 128);
        let (first, second) = content.split_at(9 << 9);
        assert_eq!(of_base(&[first, second]), whole);
    }

    #[test]
    fn every_length_looked_at_sights_a_block_wherever_the_content_has_moved() {
        let content = noise(1, 64 << 10);
        let known = of_base(&[&content]);
        for shift in [0, 1, 300, 511] {
            let mut count = 0;
            sightings(&content[shift as usize..], 9, |at, hash| {
                let is_known = known.contains(&(at + shift, hash));
                count += usize::from(is_known);
                is_known
            });
            assert_eq!(count, 16);
        }
    }

    #[test]
    fn of_a_run_of_one_byte_one_block_counts() {
        assert_eq!(of_base(&[&[7; 4096]]).len(), 1);
    }
}
