//! Small hashes of contexts. They decide only how well we predict, so speed comes first.

/// Spreads a value over 32 bits; `salt` keeps different kinds of context apart.
#[inline]
pub(super) fn spread(value: u64, salt: u32) -> u32 {
    let x = (value ^ u64::from(salt) << 56 ^ u64::from(salt)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 29)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        .wrapping_shr(32) as u32
}

/// Adds a small value, such as a node of a binary tree, to a context.
#[inline]
pub(super) fn add(context: u32, value: u32) -> u32 {
    let x = (context ^ value.wrapping_mul(0x2545_f491)).wrapping_mul(0x9e37_79b1);
    x ^ x >> 15
}

/// The eight bytes of `bytes` from `at` on as a little-endian word; zeros outside.
#[inline]
pub(super) fn word(bytes: &[u8], at: isize) -> u64 {
    if at >= 0
        && let Some(slice) = bytes.get(at as usize..).and_then(|rest| rest.first_chunk())
    {
        return u64::from_le_bytes(*slice);
    }
    word_at_edge(bytes, at)
}

#[cold]
fn word_at_edge(bytes: &[u8], at: isize) -> u64 {
    (0..8).fold(0, |word, i| {
        let byte = usize::try_from(at + i).ok().and_then(|at| bytes.get(at));
        word | u64::from(byte.copied().unwrap_or(0)) << (8 * i)
    })
}
