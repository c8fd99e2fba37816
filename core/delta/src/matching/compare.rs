//! Comparing bytes a word at a time.

/// How many bytes are equal from the front.
#[inline]
pub(crate) fn prefix_len(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut at = 0;
    // Long equal stretches are the common case between versions: 32 bytes a step.
    while at + 32 <= len {
        let differing = |skip| word(a, at + skip) ^ word(b, at + skip);
        if differing(0) | differing(8) | differing(16) | differing(24) != 0 {
            break;
        }
        at += 32;
    }
    while at + 8 <= len {
        let differing = word(a, at) ^ word(b, at);
        if differing != 0 {
            return at + differing.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < len && a[at] == b[at] {
        at += 1;
    }
    at
}

/// How many bytes are equal from the back.
#[inline]
pub(super) fn suffix_len(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[a.len() - len..], &b[b.len() - len..]);
    let mut left = len;
    while left >= 8 {
        let differing = word(a, left - 8) ^ word(b, left - 8);
        if differing != 0 {
            return len - left + differing.leading_zeros() as usize / 8;
        }
        left -= 8;
    }
    while left > 0 && a[left - 1] == b[left - 1] {
        left -= 1;
    }
    len - left
}

/// The eight bytes at `at`, first byte lowest.
#[inline]
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// How many of the first 32 bytes that lie opposite each other are equal.
#[inline]
pub(super) fn equal_in_32(a: &[u8], b: &[u8]) -> u32 {
    let (Some(a), Some(b)) = (a.first_chunk::<32>(), b.first_chunk::<32>()) else {
        return 0;
    };
    a.iter().zip(b).map(|(a, b)| u32::from(a == b)).sum()
}

/// How often the first byte is repeated from the front on.
#[inline]
pub(super) fn repeat_len(bytes: &[u8]) -> usize {
    match bytes {
        [] => 0,
        [_, rest @ ..] => 1 + prefix_len(bytes, rest),
    }
}

/// Whether more than `limit` of the bytes that lie opposite each other differ.
#[inline]
pub(super) fn differ_by_more(a: &[u8], b: &[u8], limit: usize) -> bool {
    let len = a.len().min(b.len());
    let mut count = a.len() - len;
    let mut at = 0;
    while count <= limit && at < len {
        at += prefix_len(&a[at..len], &b[at..len]);
        if at < len {
            count += 1;
            at += 1;
        }
    }
    count > limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_count_what_bytes_count(
            mut a in prop::collection::vec(0u8..2, 0..200),
            flips in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            cut in 0usize..40,
        ) {
            let b = a[..a.len().saturating_sub(cut)].to_vec();
            for flip in flips {
                if !a.is_empty() {
                    let at = flip.index(a.len());
                    a[at] ^= 1;
                }
            }
            let slow_prefix = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(prefix_len(&a, &b), slow_prefix);
            let slow_suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(suffix_len(&a, &b), slow_suffix);
            let differing = a.iter().zip(&b).filter(|(x, y)| x != y).count() + a.len() - b.len();
            for limit in 0..9 {
                prop_assert_eq!(differ_by_more(&a, &b, limit), differing > limit);
            }
        }
    }
}
