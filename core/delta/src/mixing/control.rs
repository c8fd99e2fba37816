//! Codes where matches stand: all of a segment's, before its content.
//!
//! Content comes second because the matches help to foresee it: once it is known where every
//! piece of the base went, most changed addresses can be computed.

use super::hash::{add, spread, word};
use super::logistic::Logistic;
use super::number::Numbers;
use super::range::Coin;
use super::{Damage, DecodeError, MATCHES_MAX};
use crate::Match;

#[derive(Debug)]
pub(super) struct Control {
    literal_lens: Numbers<5, 6>,
    recalls: Numbers<4, 5>,
    jumps: Numbers<5, 6>,
    lens: Numbers<5, 6>,
    /// Sizes of the last fields, as contexts of the next.
    last: Fields,
}

/// What was said about a match, roughly.
#[derive(Debug, Clone, Copy, Default)]
struct Fields {
    literal_len: u32,
    jump: u64,
    len: u32,
    recalls: u32,
}

impl Control {
    pub(super) fn new(scale: &Logistic) -> Self {
        Self {
            literal_lens: Numbers::new(scale, 16),
            recalls: Numbers::new(scale, 14),
            jumps: Numbers::new(scale, 16),
            lens: Numbers::new(scale, 16),
            last: Fields::default(),
        }
    }

    /// Codes the matches of a segment; a decoder passes no `truth` and gets them back.
    pub(super) fn code<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        base: &[u8],
        new_len: usize,
        truth: &[Match],
    ) -> Result<Vec<Match>, DecodeError> {
        let mut matches = Vec::new();
        let mut new_at = 0usize;
        let mut base_at = 0u32;
        // New place minus base place of the latest matches, the last one first.
        let mut lines = [0u32; LINES];
        let fault = |new_at, damage| DecodeError { new_at, damage };
        while new_at < new_len {
            if matches.len() == MATCHES_MAX {
                return Err(fault(new_at, Damage::TooMany));
            }
            let left = new_len - new_at;
            let truth = truth.get(matches.len()).copied().unwrap_or(Match {
                literal_len: 0,
                base_start: 0,
                len: 0,
            });
            let spot = spot(base, base_at);
            let last = self.last;
            let sizes = size(u64::from(last.literal_len)) << 16
                | size(last.jump) << 8
                | size(u64::from(last.len));

            let contexts = [
                add(spot, 1),
                spread(u64::from(sizes), 50),
                spread(u64::from(last.literal_len) << 32 ^ last.jump, 51),
                spread(u64::from(word(base, base_at as isize - 1) as u16), 52),
                52,
            ];
            let literal_len =
                self.literal_lens
                    .code(scale, coin, &contexts, u64::from(truth.literal_len));
            let literal_len = u32::try_from(literal_len)
                .ok()
                .filter(|&len| len as usize <= left);
            let literal_len = literal_len.ok_or_else(|| fault(new_at, Damage::TooLong))?;

            // No jump follows when a literal ends the segment.
            let mut m = Match {
                literal_len,
                base_start: base_at,
                len: 0,
            };
            let left = left - literal_len as usize;
            if left > 0 {
                let at = new_at as u32 + literal_len;
                let contexts = [
                    add(add(spot, 4), literal_len),
                    spread(u64::from(last.recalls & 0xfff), 59),
                    spread(
                        u64::from(size(u64::from(literal_len))) << 8 | u64::from(last.recalls & 15),
                        60,
                    ),
                    spread(u64::from(sizes), 61),
                ];
                let recalled = lines
                    .iter()
                    .position(|&line| at.wrapping_sub(line) == truth.base_start);
                let recalled = recalled.map_or(0, |i| i + 1);
                let recalled = self.recalls.code(scale, coin, &contexts, recalled as u64);
                let (base_start, jump) = if recalled == 0 {
                    let contexts = [
                        add(add(spot, 2), literal_len),
                        spread(u64::from(sizes) << 32 | u64::from(literal_len), 53),
                        spread(u64::from(literal_len), 54),
                        spread(last.jump, 55),
                        53,
                    ];
                    let jump = zigzag(truth.base_start.wrapping_sub(base_at));
                    let jump = self.jumps.code(scale, coin, &contexts, u64::from(jump));
                    (base_at.wrapping_add(unzigzag(jump as u32)), jump)
                } else {
                    let line = lines
                        .get(recalled as usize - 1)
                        .ok_or_else(|| fault(new_at, Damage::OutsideBase))?;
                    let base_start = at.wrapping_sub(*line);
                    (
                        base_start,
                        u64::from(zigzag(base_start.wrapping_sub(base_at))),
                    )
                };
                let place = (recalled as usize)
                    .checked_sub(1)
                    .unwrap_or(lines.len() - 1);
                lines[..=place].rotate_right(1);
                lines[0] = at.wrapping_sub(base_start);
                let base_left = base.len().checked_sub(base_start as usize);
                let base_left = base_left.ok_or_else(|| fault(new_at, Damage::OutsideBase))?;

                let there = self::spot(base, base_start);
                let contexts = [
                    add(there, 3),
                    spread(u64::from(sizes), 56),
                    spread(u64::from(last.len) << 32 | u64::from(literal_len), 57),
                    spread(
                        u64::from(size(jump)) << 8 | u64::from(size(u64::from(literal_len))),
                        58,
                    ),
                    54,
                ];
                let len = self.lens.code(scale, coin, &contexts, u64::from(truth.len));
                let len = u32::try_from(len).ok().filter(|&len| len as usize <= left);
                let len = len.ok_or_else(|| fault(new_at, Damage::TooLong))?;
                if len as usize > base_left {
                    return Err(fault(new_at, Damage::OutsideBase));
                }
                if literal_len == 0 && len == 0 {
                    return Err(fault(new_at, Damage::Empty));
                }
                m.base_start = base_start;
                m.len = len;
                self.last = Fields {
                    literal_len,
                    jump,
                    len,
                    recalls: last.recalls << 4 | recalled as u32,
                };
            }
            if coin.is_spent() {
                return Err(fault(new_at, Damage::Spent));
            }
            new_at += literal_len as usize + m.len as usize;
            base_at = m.base_start + m.len;
            matches.push(m);
        }
        Ok(matches)
    }
}

/// How many earlier alignments a match may go back to.
const LINES: usize = 12;

/// The base around a place where a match ends or starts.
fn spot(base: &[u8], at: u32) -> u32 {
    let at = at as isize;
    spread(word(base, at - 8), 60) ^ spread(word(base, at), 61)
}

/// A number's size, in about five steps for each doubling of small ones.
fn size(value: u64) -> u32 {
    if value < 16 {
        value as u32
    } else {
        12 + 64 - value.leading_zeros()
    }
}

fn zigzag(value: u32) -> u32 {
    value << 1 ^ 0u32.wrapping_sub(value >> 31)
}

fn unzigzag(value: u32) -> u32 {
    value >> 1 ^ 0u32.wrapping_sub(value & 1)
}
