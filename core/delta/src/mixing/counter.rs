//! What one context has seen so far: a probability that learns fast at first, then slowly.

/// A 22-bit probability of a true decision above a 10-bit count of decisions seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counter(u32);

const COUNT_BITS: u32 = 10;
const COUNT_MASK: u32 = (1 << COUNT_BITS) - 1;
/// A count at which the probability follows the last thousand decisions.
pub(super) const COUNT_MAX: u32 = COUNT_MASK;

impl Counter {
    /// Has seen nothing: both ways alike.
    pub(super) const NEW: Self = Self(1 << 31);

    /// A counter that expects true decisions with `p` / 65,536, as if it had seen `count`.
    pub(super) const fn expecting(p: u32, count: u32) -> Self {
        Self(p << 16 | count)
    }

    /// For tables that hold something else beside counters.
    #[inline]
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    #[inline]
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The probability in 22 bits.
    #[inline]
    pub(super) fn p(self) -> u32 {
        self.0 >> COUNT_BITS
    }

    /// How many decisions it has seen, up to its limit.
    #[inline]
    pub(super) fn count(self) -> u32 {
        self.0 & COUNT_MASK
    }

    /// Learns a decision. Behaves as an average over at most `limit` + 1.5 decisions.
    #[inline]
    pub(super) fn learn(&mut self, truth: bool, limit: u32) {
        let count = self.count();
        let target = if truth { (1i64 << 22) - 1 } else { 0 };
        let p = i64::from(self.p());
        let p = p + (((target - p) * i64::from(RECIPROCALS[count as usize])) >> 16);
        let count = if count < limit { count + 1 } else { limit };
        self.0 = (p as u32) << COUNT_BITS | count;
    }
}

/// 65,536 / (count + 1.5).
static RECIPROCALS: [u32; COUNT_MAX as usize + 1] = {
    let mut table = [0; COUNT_MAX as usize + 1];
    let mut count = 0;
    while count < table.len() {
        table[count] = (65_536 * 2 / (2 * count + 3)) as u32;
        count += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_decision_moves_it_far_and_a_thousand_make_it_sure() {
        let mut counter = Counter::NEW;
        counter.learn(true, COUNT_MAX);
        assert!(counter.p() > (1 << 22) * 8 / 10);
        for _ in 0..1000 {
            counter.learn(true, COUNT_MAX);
        }
        assert!(counter.p() > (1 << 22) - (1 << 12));
    }
}
