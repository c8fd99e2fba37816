//! Lined-up bytes that differ, as runs: how many agree before the run, how long it is, and what
//! stands there.
//!
//! All lined-up bytes of a segment count as one string. Three columns: gaps, lengths, bytes.

use crate::error::DecodeError;
use crate::varint::{self, Reader};

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
    /// Adds lined-up bytes.
    pub(crate) fn compare(&mut self, base: &[u8], new: &[u8]) {
        let mut at = 0;
        while at < new.len() {
            let equal = crate::matching::prefix_len(&base[at..], &new[at..]);
            self.gap += equal as u32;
            at += equal;
            let run = base[at..]
                .iter()
                .zip(&new[at..])
                .take_while(|(b, n)| b != n)
                .count();
            if run > 0 {
                varint::put(&mut self.gaps, self.gap);
                varint::put(&mut self.lens, run as u32);
                self.bytes.extend(
                    base[at..]
                        .iter()
                        .zip(&new[at..at + run])
                        .map(|(b, n)| n.wrapping_sub(*b)),
                );
                self.gap = 0;
                at += run;
            }
        }
    }

    pub(crate) fn finish(self, out: &mut Vec<u8>) {
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
    /// The next run: bytes that agree before it, and its own; none after the last.
    next: Option<(usize, &'a [u8])>,
}

impl<'a> Applier<'a> {
    pub(crate) fn new(mismatches: &'a [u8]) -> Result<Self, DecodeError> {
        const PART: &str = "mismatches";
        let mut reader = Reader::new(mismatches, PART);
        let mut column = |len: Option<usize>| -> Result<Reader<'a>, DecodeError> {
            Ok(Reader::new(reader.bytes(len.unwrap_or(0))?, PART))
        };
        let _ = &mut column;
        let (gaps_len, lens_len) = if mismatches.is_empty() {
            (0, 0)
        } else {
            (reader.number()? as usize, reader.number()? as usize)
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

    fn advance(&mut self) -> Result<(), DecodeError> {
        self.next = None;
        if !self.gaps.is_empty() {
            let gap = self.gaps.number()? as usize;
            let len = self.lens.number()? as usize;
            self.next = Some((gap, self.bytes.bytes(len)?));
        }
        Ok(())
    }

    /// Changes the next lined-up bytes, which hold the base's.
    pub(crate) fn apply(&mut self, lined_up: &mut [u8]) -> Result<(), DecodeError> {
        let mut rest = lined_up;
        while let Some((gap, bytes)) = self.next {
            if gap >= rest.len() && !(gap == rest.len() && bytes.is_empty()) {
                self.next = Some((gap - rest.len(), bytes));
                return Ok(());
            }
            rest = &mut rest[gap..];
            let now = bytes.len().min(rest.len());
            for (byte, add) in rest.iter_mut().zip(&bytes[..now]) {
                *byte = byte.wrapping_add(*add);
            }
            rest = &mut rest[now..];
            if now < bytes.len() {
                self.next = Some((0, &bytes[now..]));
                return Ok(());
            }
            self.advance()?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.next.is_some() {
            return Err(DecodeError::Step("lined-up bytes"));
        }
        self.lens.finish()?;
        self.bytes.finish()
    }
}
