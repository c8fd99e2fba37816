//! Which of many files a moved and edited one was made from.
//!
//! A sketch keeps, of all the hashes of a content's windows, the smallest in each of
//! [`SLOTS`] classes. Two contents agree in a slot with a probability near to the share of
//! windows that they have in common (Broder's min-hash, with one hash function and classes in
//! place of many functions), so a hundred bytes stand for a file of any size.

use crate::content::{Content, ReadError};
use crate::gear::Gear;

/// Slots in a sketch.
const SLOTS: usize = 24;

/// A small stand-in for a content, comparable with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sketch {
    /// The smallest hash of each class; `u32::MAX` where no window fell into it.
    slots: [u32; SLOTS],
}

impl Default for Sketch {
    /// The sketch of content too short to have windows.
    fn default() -> Self {
        Self {
            slots: [u32::MAX; SLOTS],
        }
    }
}

impl Sketch {
    /// Of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sketch = Self::default();
        let mut gear = Gear::new(Self::SPACING_LOG);
        sketch.enter(&mut gear, bytes);
        sketch
    }

    /// Of content of any size, which is read once from front to back.
    pub fn read(content: &(impl Content + ?Sized)) -> Result<Self, ReadError> {
        const READ_LEN: u64 = 256 << 10;
        let mut sketch = Self::default();
        let mut gear = Gear::new(Self::SPACING_LOG);
        let mut piece = vec![0; content.len().min(READ_LEN) as usize];
        let mut offset = 0;
        while offset < content.len() {
            piece.truncate((content.len() - offset).min(READ_LEN) as usize);
            content.read_at(offset, &mut piece)?;
            sketch.enter(&mut gear, &piece);
            offset += piece.len() as u64;
        }
        Ok(sketch)
    }

    /// In how many of [`slots_max`](Self::slots_max) slots both agree.
    pub fn likeness(&self, other: &Self) -> u32 {
        let pairs = self.slots.iter().zip(&other.slots);
        pairs
            .map(|(a, b)| u32::from(a == b && *a != u32::MAX))
            .sum()
    }

    /// The likeness of equal contents that are long enough to have a window in every class.
    pub fn slots_max() -> u32 {
        SLOTS as u32
    }

    /// The number of the candidate most like this one, and its likeness; of equals the first, and
    /// `None` when nothing is alike.
    pub fn nearest<'a>(
        &self,
        candidates: impl IntoIterator<Item = &'a Self>,
    ) -> Option<(usize, u32)> {
        let mut best = None;
        for (number, candidate) in candidates.into_iter().enumerate() {
            let likeness = self.likeness(candidate);
            if likeness > best.map_or(0, |(_, likeness)| likeness) {
                best = Some((number, likeness));
            }
        }
        best
    }

    /// One window in four is entered: files of a few hundred bytes still fill most slots.
    const SPACING_LOG: u32 = 2;

    fn enter(&mut self, gear: &mut Gear, bytes: &[u8]) {
        gear.scan(bytes, |_, hash| {
            let class = ((hash >> 32) * SLOTS as u64) >> 32;
            let slot = &mut self.slots[class as usize];
            *slot = (*slot).min(hash as u32);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::noise;

    /// `content` with a byte changed in every `spacing`.
    fn edited(content: &[u8], spacing: usize) -> Vec<u8> {
        let mut edited = content.to_vec();
        edited
            .iter_mut()
            .skip(spacing / 2)
            .step_by(spacing)
            .for_each(|byte| *byte ^= 0x55);
        edited
    }

    #[test]
    fn the_file_it_was_edited_from_is_nearest() {
        for len in [600, 5_000, 300_000] {
            let files: Vec<_> = (0..50).map(|seed| noise(seed, len)).collect();
            let sketches: Vec<_> = files.iter().map(|file| Sketch::of(file)).collect();
            let moved = [b"a new first line\n".to_vec(), edited(&files[31], 500)].concat();
            let (number, likeness) = Sketch::of(&moved).nearest(&sketches).unwrap();
            assert_eq!(number, 31);
            assert!(
                likeness * 2 > Sketch::slots_max(),
                "{likeness} slots at {len} bytes"
            );
        }
    }

    #[test]
    fn unlike_contents_share_next_to_nothing() {
        let a = Sketch::of(&noise(1, 100_000));
        let b = Sketch::of(&noise(2, 100_000));
        assert!(a.likeness(&b) <= 1);
        assert_eq!(a.likeness(&a), Sketch::slots_max());
        assert_eq!(Sketch::of(b"").likeness(&Sketch::of(b"")), 0);
    }

    #[test]
    fn reading_piece_by_piece_gives_the_same_sketch() {
        let content = noise(3, 1_000_000);
        assert_eq!(Sketch::read(&content[..]).unwrap(), Sketch::of(&content));
    }
}
