use minicbor::{Decode, Encode};

/// A set of small numbers, a bit each; as long as its highest number needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Bitmap(#[cbor(with = "minicbor::bytes")] Vec<u8>);

impl Bitmap {
    /// The empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Is `number` in the set?
    pub fn contains(&self, number: u16) -> bool {
        let byte = self.0.get(usize::from(number / 8));
        byte.is_some_and(|byte| byte & (1 << (number % 8)) != 0)
    }

    /// Puts `number` into the set; whether it was not in it.
    pub fn insert(&mut self, number: u16) -> bool {
        let index = usize::from(number / 8);
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        let bit = 1 << (number % 8);
        let new = self.0[index] & bit == 0;
        self.0[index] |= bit;
        new
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Is nothing in the set?
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// How many numbers are in the set.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }
}

impl FromIterator<u16> for Bitmap {
    fn from_iter<I: IntoIterator<Item = u16>>(numbers: I) -> Self {
        let mut set = Self::new();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_holds_what_was_put_in_and_nothing_else() {
        let set: Bitmap = [0, 7, 8, 500].into_iter().collect();
        let found: Vec<u16> = (0..=1000).filter(|number| set.contains(*number)).collect();
        assert_eq!(found, [0, 7, 8, 500]);
        assert_eq!(set.count(), 4);
        assert!(!set.contains(u16::MAX));
    }
}
