//! A rolling hash of the last 64 bytes: each step shifts older bytes out by one bit.
//!
//! Positions where its top bits are zero depend on nothing but those 64 bytes. So they are found
//! again wherever the content has moved to, which makes them *anchors*.

/// What each byte adds: any 256 words without structure; these count on from zero by splitmix64.
const ADDENDS: [u64; 256] = {
    let mut addends = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut word = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        addends[at] = word ^ (word >> 31);
        at += 1;
    }
    addends
};

/// Finds the anchors of content that comes piece by piece.
#[derive(Debug, Clone)]
pub(crate) struct Gear {
    hash: u64,
    /// Bits of which must all be zero at an anchor.
    mask: u64,
    /// The last anchor's hash: in a run of one byte every position would be one.
    last: u64,
    offset: u64,
}

impl Gear {
    /// On average one anchor for 2^`spacing_log` bytes.
    pub(crate) fn new(spacing_log: u32) -> Self {
        debug_assert!((1..64).contains(&spacing_log));
        Self {
            hash: u64::MAX,
            mask: !(u64::MAX >> spacing_log),
            last: u64::MAX,
            offset: 0,
        }
    }

    /// Calls `found` with the end of each anchor's window, counted from the first byte of the
    /// content, and with its hash, all bits of which are mixed.
    #[inline]
    pub(crate) fn scan(&mut self, bytes: &[u8], mut found: impl FnMut(u64, u64)) {
        let next = |hash: u64, byte: u8| (hash << 1).wrapping_add(ADDENDS[byte as usize]);
        let mut hash = self.hash;
        let mut end = self.offset;
        let mut look = |hash: u64, end: u64| {
            if hash & self.mask == 0 && hash != self.last {
                self.last = hash;
                let mixed = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
                found(end, mixed);
            }
        };
        let (fours, rest) = bytes.as_chunks::<4>();
        for &[a, b, c, d] in fours {
            let a = next(hash, a);
            let b = next(a, b);
            let c = next(b, c);
            hash = next(c, d);
            // One branch for four bytes: anchors are rare.
            if a.min(b).min(c.min(hash)) & self.mask == 0 {
                (1..)
                    .zip([a, b, c, hash])
                    .for_each(|(nth, hash)| look(hash, end + nth));
            }
            end += 4;
        }
        for &byte in rest {
            hash = next(hash, byte);
            end += 1;
            look(hash, end);
        }
        self.hash = hash;
        self.offset = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchors(pieces: &[&[u8]]) -> Vec<(u64, u64)> {
        let mut gear = Gear::new(6);
        let mut anchors = Vec::new();
        for piece in pieces {
            gear.scan(piece, |end, hash| anchors.push((end, hash)));
        }
        anchors
    }

    #[test]
    fn anchors_move_with_the_content_and_do_not_depend_on_how_it_is_cut() {
        let content = crate::samples::noise(1, 64 << 10);
        let whole = anchors(&[&content]);
        assert!(
            (700..1400).contains(&whole.len()),
            "{} anchors",
            whole.len()
        );
        assert_eq!(
            anchors(&[&content[..777], &content[777..778], &content[778..]]),
            whole
        );
        let moved = anchors(&[b"some bytes before", &content]);
        let found = whole
            .iter()
            .filter(|(end, hash)| moved.contains(&(end + 17, *hash)))
            .count();
        assert!(
            found + 3 >= whole.len(),
            "{found} of {} found again",
            whole.len()
        );
    }

    #[test]
    fn a_run_of_one_byte_has_at_most_one_anchor_beyond_its_first_window() {
        for byte in 0..=255 {
            let ends = anchors(&[&[byte; 4096]]);
            assert!(ends.iter().filter(|(end, _)| *end > 64).count() <= 1);
        }
    }
}
