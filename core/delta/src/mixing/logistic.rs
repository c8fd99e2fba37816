//! The logistic scale on which predictions are added up.
//!
//! `stretch(p) = ln(p / (1 - p))`, in steps of 1/256, and its inverse `squash`. Near-certain flags
//! are the common case here, so both reach out to one chance in 65,536, and the tables are finer
//! at the ends than in the middle. They are made with integers only: the same on every machine.

/// Probabilities that meet the coder have this many bits.
pub(super) const PROBABILITY_BITS: u32 = 16;

/// The far ends of the logistic scale: ±11.1, one chance in 65,536.
pub(super) const STRETCH_MAX: i32 = 2840;

const SQUASH_LEN: usize = 2 * STRETCH_MAX as usize + 1;
const MIDDLE_BITS: u32 = 12;
const EDGE_BITS: u32 = 10;

/// Both directions of the scale, as tables.
#[derive(Debug)]
pub(super) struct Logistic {
    squash: Box<[u16; SQUASH_LEN]>,
    /// `stretch` of the middle of each of 4,096 equal ranges.
    middle: Box<[i16; 1 << MIDDLE_BITS]>,
    /// `stretch` below 1/64, in 1,024 ranges; the upper end is its mirror image.
    edge: Box<[i16; 1 << EDGE_BITS]>,
}

impl Logistic {
    pub(super) fn new() -> Self {
        let mut squash = Box::new([0; SQUASH_LEN]);
        // e^(1/256) and its powers as fixed-point numbers with 60 and 40 fractional bits.
        const STEP: u128 = 1_157_433_911_791_679_357;
        let mut power: u128 = 1 << 40;
        for x in 0..=STRETCH_MAX as usize {
            let one: u128 = 1 << 40;
            let p = ((power << PROBABILITY_BITS) / (power + one)) as u32;
            let p = p.clamp(1, (1 << PROBABILITY_BITS) - 1) as u16;
            squash[STRETCH_MAX as usize + x] = p;
            squash[STRETCH_MAX as usize - x] =
                (((1u32 << PROBABILITY_BITS) - u32::from(p)) as u16).max(1);
            power = (power * STEP) >> 60;
        }
        let mut middle = Box::new([0; 1 << MIDDLE_BITS]);
        let mut edge = Box::new([0; 1 << EDGE_BITS]);
        invert(&squash, &mut middle[..], 22 - MIDDLE_BITS);
        invert(&squash, &mut edge[..], 22 - 6 - EDGE_BITS);
        Self {
            squash,
            middle,
            edge,
        }
    }

    /// The 16-bit probability at a place on the scale; never 0 nor 1.
    #[inline]
    pub(super) fn squash(&self, x: i32) -> u32 {
        u32::from(self.squash[(x.clamp(-STRETCH_MAX, STRETCH_MAX) + STRETCH_MAX) as usize])
    }

    /// The place on the scale of a 22-bit probability.
    #[inline]
    pub(super) fn stretch(&self, p: u32) -> i32 {
        const EDGE: u32 = 1 << 16;
        const ONE: u32 = 1 << 22;
        if p < EDGE {
            i32::from(self.edge[(p >> (22 - 6 - EDGE_BITS)) as usize & ((1 << EDGE_BITS) - 1)])
        } else if p >= ONE - EDGE {
            let p = ONE - 1 - p;
            -i32::from(self.edge[(p >> (22 - 6 - EDGE_BITS)) as usize & ((1 << EDGE_BITS) - 1)])
        } else {
            i32::from(self.middle[(p >> (22 - MIDDLE_BITS)) as usize & ((1 << MIDDLE_BITS) - 1)])
        }
    }
}

/// Fills `table[i]` with the first place whose probability reaches the middle of range `i`, where
/// ranges are `1 << shift` wide on the 22-bit scale.
fn invert(squash: &[u16; SQUASH_LEN], table: &mut [i16], shift: u32) {
    let mut x = 0;
    for (i, slot) in table.iter_mut().enumerate() {
        let middle = ((i as u32) << shift) + (1 << shift) / 2;
        while x + 1 < SQUASH_LEN && u32::from(squash[x]) << (22 - PROBABILITY_BITS) < middle {
            x += 1;
        }
        *slot = (x as i32 - STRETCH_MAX) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squash_rises_and_is_symmetric() {
        let scale = Logistic::new();
        for x in -STRETCH_MAX..STRETCH_MAX {
            assert!(scale.squash(x) <= scale.squash(x + 1));
            assert!(scale.squash(x).abs_diff(65_536 - scale.squash(-x)) <= 1);
        }
        assert_eq!(scale.squash(0), 32_768);
        // 65,536 / (1 + e^-1)
        assert_eq!(scale.squash(256), 47_910);
    }

    #[test]
    fn stretch_undoes_squash() {
        let scale = Logistic::new();
        for x in -2000..2000 {
            let p = scale.squash(x);
            let back = scale.squash(scale.stretch(p << 6));
            assert!(
                p.abs_diff(back) <= 16 + p.min(65_536 - p) / 32,
                "{x}: {p} {back}"
            );
        }
    }
}
