//! Spots: what the base looks like around a place.
//!
//! Where a version number stands on every page, the mismatches stand at the same spot.

use super::hash::word;

/// Hashes are told apart by so many bits.
const BITS: u32 = 18;

/// Places in the base at whose like a mismatch was a surprise before.
#[derive(Debug)]
pub(super) struct Spots {
    known: Vec<u64>,
}

impl Spots {
    pub(super) fn new() -> Self {
        Self {
            known: vec![0; 1 << (BITS - 6)],
        }
    }

    #[inline]
    pub(super) fn contains(&self, spot: u32) -> bool {
        let bit = spot >> (32 - BITS);
        self.known[(bit >> 6) as usize] >> (bit & 63) & 1 == 1
    }

    pub(super) fn learn(&mut self, spot: u32) {
        let bit = spot >> (32 - BITS);
        self.known[(bit >> 6) as usize] |= 1 << (bit & 63);
    }
}

/// The base around a place: six bytes before it and six from it on.
#[inline]
pub(super) fn spot(base: &[u8], at: usize) -> u32 {
    let before = word(base, at as isize - 6) << 16;
    let after = word(base, at as isize) << 16;
    let x = (before ^ after.rotate_left(24)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ after.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x ^ x >> 32)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        .wrapping_shr(32) as u32
}
