//! Lined-up bytes that differ, and by how much.
//!
//! All lined-up bytes of a segment count as one string, of which three columns are written: how
//! many bytes agree before a mismatch, how many bytes say it, and these bytes. The columns are
//! unlike each other and go through the compressor one after the other.
//!
//! A mismatch is a difference and not the new bytes: in executables most mismatches are addresses
//! that all moved by the same amount. For the same reason a short one is the difference of the
//! four bytes from there on as a little-endian number, cut to as few bytes as its sign allows: a
//! carry does not show. A long one (more than [`WORD_LEN`] bytes without agreement between them) is
//! taken byte by byte.
//! (Tried: new bytes in place of differences. Twice the bytes on executables, the same on text.)

use crate::error::DecodeError;
use crate::matching::prefix_len;
use crate::varint::{self, Reader};

/// Bytes that a short mismatch covers, unless lined-up bytes end before.
const WORD_LEN: usize = 4;

const PART: &str = "mismatches";

/// Collects mismatches.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    gaps: Vec<u8>,
    lens: Vec<u8>,
    bytes: Vec<u8>,
    /// Bytes that agree, since the last mismatch.
    gap: u32,
}

impl Writer {
    pub(crate) fn clear(&mut self) {
        self.gaps.clear();
        self.lens.clear();
        self.bytes.clear();
        self.gap = 0;
    }

    /// Adds lined-up bytes.
    pub(crate) fn compare(&mut self, base: &[u8], new: &[u8]) {
        let mut at = 0;
        loop {
            let equal = prefix_len(&base[at..], &new[at..]);
            self.gap += equal as u32;
            at += equal;
            if at == new.len() {
                return;
            }
            varint::put(&mut self.gaps, self.gap);
            self.gap = 0;
            let opposite = base[at..].iter().zip(&new[at..]);
            let run = opposite
                .clone()
                .take_while(|(base, new)| base != new)
                .count();
            if run > WORD_LEN {
                varint::put(&mut self.lens, run as u32);
                self.bytes.extend(
                    opposite
                        .take(run)
                        .map(|(base, new)| new.wrapping_sub(*base)),
                );
                at += run;
            } else {
                let len = WORD_LEN.min(new.len() - at);
                let difference = word(&new[at..at + len]).wrapping_sub(word(&base[at..at + len]));
                let written = shortest(difference, len);
                self.lens.push(written as u8);
                self.bytes
                    .extend_from_slice(&difference.to_le_bytes()[..written]);
                at += len;
            }
        }
    }

    /// Appends the columns; nothing when there are no mismatches.
    pub(crate) fn finish(&self, out: &mut Vec<u8>) {
        if self.gaps.is_empty() {
            return;
        }
        varint::put(out, self.gaps.len() as u32);
        varint::put(out, self.lens.len() as u32);
        for column in [&self.gaps, &self.lens, &self.bytes] {
            out.extend_from_slice(column);
        }
    }
}

/// Applies mismatches to lined-up bytes, front to back.
#[derive(Debug)]
pub(crate) struct Applier<'a> {
    gaps: Reader<'a>,
    lens: Reader<'a>,
    bytes: Reader<'a>,
    /// The next mismatch: bytes that agree before it, and the bytes that say it. None after the
    /// last.
    next: Option<(usize, &'a [u8])>,
}

impl<'a> Applier<'a> {
    pub(crate) fn new(mismatches: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(mismatches, PART);
        let (gaps_len, lens_len) = match mismatches {
            [] => (0, 0),
            _ => (reader.number()? as usize, reader.number()? as usize),
        };
        let gaps = Reader::new(reader.bytes(gaps_len)?, PART);
        let lens = Reader::new(reader.bytes(lens_len)?, PART);
        let mut applier = Self {
            gaps,
            lens,
            bytes: reader,
            next: None,
        };
        applier.advance()?;
        Ok(applier)
    }

    /// Changes the next lined-up bytes, which hold the base's.
    #[inline]
    pub(crate) fn apply(&mut self, lined_up: &mut [u8]) -> Result<(), DecodeError> {
        let mut rest = lined_up;
        while let Some((gap, bytes)) = self.next {
            if gap >= rest.len() {
                self.next = Some((gap - rest.len(), bytes));
                return Ok(());
            }
            rest = &mut rest[gap..];
            let len = if bytes.len() > WORD_LEN {
                bytes.len()
            } else {
                WORD_LEN.min(rest.len())
            };
            let (target, after) = rest
                .split_at_mut_checked(len)
                .ok_or(DecodeError::Step("lined-up bytes"))?;
            rest = after;
            if bytes.len() > WORD_LEN {
                for (byte, difference) in target.iter_mut().zip(bytes) {
                    *byte = byte.wrapping_add(*difference);
                }
            } else {
                let sum = word(target).wrapping_add(signed_word(bytes));
                target.copy_from_slice(&sum.to_le_bytes()[..len]);
            }
            self.advance()?;
        }
        Ok(())
    }

    /// Fails unless every mismatch was applied.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.next.is_some() {
            return Err(DecodeError::Step("lined-up bytes"));
        }
        self.lens.finish()?;
        self.bytes.finish()
    }

    #[inline]
    fn advance(&mut self) -> Result<(), DecodeError> {
        self.next = None;
        if !self.gaps.is_empty() {
            let gap = self.gaps.number()? as usize;
            let len = self.lens.number()? as usize;
            self.next = Some((gap, self.bytes.bytes(len)?));
        }
        Ok(())
    }
}

/// Up to four bytes as a number, first byte lowest.
#[inline]
fn word(bytes: &[u8]) -> u32 {
    match bytes.first_chunk() {
        Some(whole) => u32::from_le_bytes(*whole),
        None => bytes
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u32::from(byte)),
    }
}

/// Up to four bytes as a number whose sign is that of the last byte.
#[inline]
fn signed_word(bytes: &[u8]) -> u32 {
    let unused = 32 - 8 * bytes.len().clamp(1, WORD_LEN) as u32;
    (((word(bytes) << unused) as i32) >> unused) as u32
}

/// How many bytes of `difference` give the rest of its `len` bytes by their sign.
fn shortest(difference: u32, len: usize) -> usize {
    let bytes = difference.to_le_bytes();
    (1..len)
        .find(|&short| signed_word(&bytes[..short]).to_le_bytes()[..len] == bytes[..len])
        .unwrap_or(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn applying_the_mismatches_gives_the_new_bytes(
            pieces in prop::collection::vec(
                prop::collection::vec((0u8..4, prop_oneof![4 => Just(0u8), 1 => any::<u8>()]), 0..40),
                0..8,
            ),
        ) {
            let mut writer = Writer::default();
            let both: Vec<(Vec<u8>, Vec<u8>)> = pieces
                .iter()
                .map(|piece| piece.iter().map(|(base, add)| (*base, base.wrapping_add(*add))).unzip())
                .collect();
            for (base, new) in &both {
                writer.compare(base, new);
            }
            let mut written = Vec::new();
            writer.finish(&mut written);
            let mut applier = Applier::new(&written).unwrap();
            for (base, new) in &both {
                let mut lined_up = base.clone();
                applier.apply(&mut lined_up).unwrap();
                prop_assert_eq!(&lined_up, new);
            }
            prop_assert_eq!(applier.finish(), Ok(()));
        }
    }

    #[test]
    fn a_shifted_address_is_one_byte_whatever_carries() {
        let table = |shift| {
            [0x00fe_u32, 0xffff_fffe, 0x1000, 0x00ff_ffff]
                .map(|address| [address.wrapping_add(shift).to_le_bytes(), *b"call"].concat())
                .concat()
        };
        let (old, new) = (table(0), table(3));
        let mut writer = Writer::default();
        writer.compare(&old, &new);
        assert_eq!((writer.lens, writer.bytes), (vec![1; 4], vec![3; 4]));
    }
}
