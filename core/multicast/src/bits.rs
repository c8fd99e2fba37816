use std::ops::Range;

/// A set of numbers below a bound, a bit each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl Bits {
    /// The empty set of numbers below `len`.
    pub(crate) fn new(len: u32) -> Self {
        Self {
            words: vec![0; len.div_ceil(64) as usize],
            len,
            count: 0,
        }
    }

    /// All numbers below `len`.
    pub(crate) fn full(len: u32) -> Self {
        let mut bits = Self::new(len);
        bits.insert_all(0..len);
        bits
    }

    /// How many numbers are in the set.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.count == self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        number < self.len && self.words[number as usize / 64] & (1 << (number % 64)) != 0
    }

    /// Puts `number` in; whether that is news. Numbers beyond the bound are none.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        let new = number < self.len && !self.contains(number);
        if new {
            self.words[number as usize / 64] |= 1 << (number % 64);
            self.count += 1;
        }
        new
    }

    pub(crate) fn remove(&mut self, number: u32) -> bool {
        let there = self.contains(number);
        if there {
            self.words[number as usize / 64] &= !(1 << (number % 64));
            self.count -= 1;
        }
        there
    }

    pub(crate) fn insert_all(&mut self, range: Range<u32>) {
        for number in range.start..range.end.min(self.len) {
            self.insert(number);
        }
    }

    pub(crate) fn remove_all(&mut self, range: Range<u32>) {
        for number in range.start..range.end.min(self.len) {
            self.remove(number);
        }
    }

    /// The first number from `from` on that is in the set, or that is not.
    pub(crate) fn next(&self, from: u32, present: bool) -> Option<u32> {
        let flip = if present { 0 } else { u64::MAX };
        let mut index = from as usize / 64;
        let mut word = (self.words.get(index)? ^ flip) & (u64::MAX << (from % 64));
        loop {
            if word != 0 {
                let found = index as u32 * 64 + word.trailing_zeros();
                return (found < self.len).then_some(found);
            }
            index += 1;
            word = self.words.get(index)? ^ flip;
        }
    }

    /// Runs of numbers that are not in the set, in order.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.runs(false)
    }

    /// Runs of numbers that are in the set, or are not, in order.
    pub(crate) fn runs(&self, present: bool) -> impl Iterator<Item = Range<u32>> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = self.next(from, present)?;
            from = self.next(start, !present).unwrap_or(self.len);
            Some(start..from)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_a_set(len in 1_u32..300, changes in prop::collection::vec((any::<bool>(), 0_u32..320), 0..200)) {
            let mut bits = Bits::new(len);
            let mut set = BTreeSet::new();
            for (insert, number) in changes {
                if insert {
                    prop_assert_eq!(bits.insert(number), number < len && set.insert(number));
                } else {
                    prop_assert_eq!(bits.remove(number), set.remove(&number));
                }
            }
            prop_assert_eq!(bits.count() as usize, set.len());
            let listed: BTreeSet<u32> = bits.runs(true).flatten().collect();
            prop_assert_eq!(&listed, &set);
            let gaps: Vec<u32> = bits.gaps().flatten().collect();
            let expected: Vec<u32> = (0..len).filter(|number| !set.contains(number)).collect();
            prop_assert_eq!(gaps, expected);
        }
    }
}
