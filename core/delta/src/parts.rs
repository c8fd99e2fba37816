//! A segment taken apart into three kinds of bytes, each unlike the others.
//!
//! - *control*: the steps, as three columns of numbers;
//! - *mismatches*: where lined-up bytes differ, and what stands there instead;
//! - *literals*: what lines up with nothing.
//!
//! A base position is written as its distance from where the last step would go on, had it
//! replaced as many bytes as there are literals. (Tried: the three numbers of a step side by side
//! in place of columns; 4 % more on text, the same elsewhere.)

use crate::Match;
use crate::error::DecodeError;
use crate::mismatches;
use crate::varint::{self, Reader};

/// The parts of one segment, kept for the next one to save allocations.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) control: Vec<u8>,
    pub(crate) mismatches: Vec<u8>,
    pub(crate) literals: Vec<u8>,
    differences: mismatches::Writer,
}

/// The most bytes that control or mismatches of a segment can take. An encoder that needs more
/// is better off with literals.
pub(crate) fn part_len_max(new_len: usize) -> usize {
    2 * new_len + 64
}

impl Parts {
    /// Takes `new` apart.
    pub(crate) fn split(&mut self, base: &[u8], new: &[u8], matches: &[Match]) {
        self.control.clear();
        self.mismatches.clear();
        self.literals.clear();
        write_control(matches, &mut self.control);
        self.differences.clear();
        let mut at = 0;
        for step in matches {
            let (literals, rest) = new[at..].split_at(step.literal_len as usize);
            self.literals.extend_from_slice(literals);
            let len = step.len as usize;
            self.differences
                .compare(&base[step.base_start as usize..][..len], &rest[..len]);
            at += literals.len() + len;
        }
        assert_eq!(at, new.len(), "matches cover the new content");
        self.differences.finish(&mut self.mismatches);
        if self.control.len().max(self.mismatches.len()) > part_len_max(new.len()) {
            let literal_len = new.len() as u32;
            self.split(
                base,
                new,
                &[Match {
                    literal_len,
                    base_start: 0,
                    len: 0,
                }],
            );
        }
    }
}

fn write_control(matches: &[Match], out: &mut Vec<u8>) {
    let mut lens = Vec::new();
    let mut skips = Vec::new();
    let mut expected = 0u32;
    varint::put(out, matches.len() as u32);
    for step in matches {
        varint::put(out, step.literal_len);
        varint::put(&mut lens, step.len);
        if step.len > 0 {
            varint::put_signed(
                &mut skips,
                step.base_start
                    .wrapping_sub(expected)
                    .wrapping_sub(step.literal_len) as i32,
            );
            expected = step.base_start + step.len;
        }
    }
    out.extend_from_slice(&lens);
    out.extend_from_slice(&skips);
}

/// Reads the steps of a segment and checks that they stay inside its base and give `new_len`
/// bytes. Also says how many of these are literals.
pub(crate) fn read_control(
    control: &[u8],
    base_len: usize,
    new_len: usize,
) -> Result<(Vec<Match>, usize), DecodeError> {
    let mut reader = Reader::new(control, "control");
    let count = reader.number()? as usize;
    // Each step takes at least two bytes.
    if count > control.len() / 2 {
        return Err(DecodeError::Truncated("control"));
    }
    let mut steps = Vec::with_capacity(count);
    let mut literals = 0u64;
    let mut total = 0u64;
    for _ in 0..count {
        let literal_len = reader.number()?;
        literals += u64::from(literal_len);
        steps.push(Match {
            literal_len,
            base_start: 0,
            len: 0,
        });
    }
    for step in &mut steps {
        step.len = reader.number()?;
        total += u64::from(step.len);
    }
    if total + literals != new_len as u64 {
        return Err(DecodeError::Step("new content"));
    }
    let mut expected = 0u32;
    for step in steps.iter_mut().filter(|step| step.len > 0) {
        step.base_start = expected
            .wrapping_add(step.literal_len)
            .wrapping_add_signed(reader.signed()?);
        expected = step
            .base_start
            .checked_add(step.len)
            .filter(|&end| end as usize <= base_len)
            .ok_or(DecodeError::Step("base"))?;
    }
    reader.finish()?;
    Ok((steps, literals as usize))
}

/// Puts the parts together again, behind what `new` already holds.
pub(crate) fn join(
    base: &[u8],
    steps: &[Match],
    mismatches: &[u8],
    literals: &[u8],
    new: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut mismatches = mismatches::Applier::new(mismatches)?;
    let mut literals = Reader::new(literals, "literals");
    for step in steps {
        new.extend_from_slice(literals.bytes(step.literal_len as usize)?);
        let start = new.len();
        let base_start = step.base_start as usize;
        new.extend_from_slice(&base[base_start..base_start + step.len as usize]);
        mismatches.apply(&mut new[start..])?;
    }
    literals.finish()?;
    mismatches.finish()
}
