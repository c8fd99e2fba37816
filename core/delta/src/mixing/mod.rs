//! The coder for [`Effort::Max`](crate::Effort): few bytes, at a few hundred nanoseconds for each
//! byte that is not where the matches say.
//!
//! Every decision — does this byte differ, how long is this literal, which bit comes next — is
//! predicted in several contexts at once; the predictions are added up on the logistic scale with
//! weights that learn which contexts to trust, refined by what came of such predictions before,
//! and handed to an arithmetic coder. A surprise costs bits, the expected costs next to nothing.
//!
//! - `range` turns decisions and probabilities into bytes and back; `logistic`, `counter`,
//!   `mixer`, `refine` make the probabilities; `decision`, `number` and `octet` put them together
//!   for flags, numbers and bytes.
//! - `control` codes a segment's matches, first. Then come, in order, `literal` for bytes that line
//!   up with nothing (with `history` for repeats) and `lineup` for mismatches (with `address` for
//!   pointers).
//!
//! Encoder and decoder are the same walk: models ask a `Coin`, which either knows
//! the truth and writes it or reads it. All arithmetic is in integers, so every machine decodes
//! the same bytes.
//!
//! A model takes about 18 MiB, whatever its segments hold: 4 for what literals taught, 6 for the
//! index of the base, 2 each for flags and mismatches, the rest for history and small tables.
//!
//! Roads not taken: floating-point mixing (differs between machines), one model over old and new
//! bytes alike (spends its time on the 99 % that match), bsdiff's byte-wise differences (hide the
//! old byte, which is the best context there is).

mod address;
mod control;
mod counter;
mod decision;
mod hash;
mod history;
mod lineup;
mod literal;
mod logistic;
mod mixer;
mod number;
mod octet;
mod range;
mod refine;
mod spots;
#[cfg(test)]
mod tests;

use self::control::Control;
use self::lineup::{Lineup, Run};
use self::literal::{Literals, Replaced};
use self::logistic::Logistic;
use self::range::{Coin, Reader, Writer};
use crate::{Match, SEGMENT_BASE_MAX, SEGMENT_NEW_MAX};

/// A payload that no encoder wrote, and where that showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("mixed segment is damaged at new byte {new_at}: {damage}")]
pub struct DecodeError {
    /// How many new bytes were described before the fault.
    pub new_at: usize,
    /// What is wrong.
    pub damage: Damage,
}

/// What is wrong with a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The segment or its base is larger than segments may be.
    #[error("the segment is larger than allowed")]
    TooLarge,
    /// A literal or a match reaches past the segment's end.
    #[error("a match is longer than the segment")]
    TooLong,
    /// A match reaches outside the base.
    #[error("a match reaches outside the base")]
    OutsideBase,
    /// A match without any bytes.
    #[error("a match is empty")]
    Empty,
    /// More matches than a segment may have.
    #[error("there are too many matches")]
    TooMany,
    /// More was asked for than the payload holds.
    #[error("the payload ends too early")]
    Spent,
    /// The payload goes on after the last byte.
    #[error("the payload goes on after the end")]
    Rest,
}

/// Codes the segments of one group, in order; what it learned from one serves the next.
#[derive(Debug)]
pub(crate) struct MixEncoder {
    model: Model,
    rebuilt: Vec<u8>,
}

impl MixEncoder {
    /// An encoder at the start of a group.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            model: Model::new(),
            rebuilt: Vec::new(),
        }
    }

    /// Appends to `out` the payload that turns `base` into `new` along `matches`.
    ///
    /// # Panics
    /// If the segment is too large, or the matches do not cover `new` or leave `base`.
    pub(crate) fn segment(
        &mut self,
        base: &[u8],
        new: &[u8],
        matches: &[Match],
        out: &mut Vec<u8>,
    ) {
        assert!(
            base.len() <= SEGMENT_BASE_MAX && new.len() <= SEGMENT_NEW_MAX,
            "segment too large"
        );
        let matches = tidy(matches);
        let mut writer = Writer::new(out);
        self.rebuilt.clear();
        let done = self.model.segment(
            &mut writer,
            base,
            new.len(),
            new,
            &matches,
            &mut self.rebuilt,
        );
        done.expect("matches cover the new content and lie inside the base");
        writer.finish();
        debug_assert!(self.rebuilt == new, "the walk follows the truth");
    }
}

impl Default for MixEncoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads what a [`MixEncoder`] wrote, segment by segment in the same order.
#[derive(Debug)]
pub(crate) struct MixDecoder {
    model: Model,
}

impl MixDecoder {
    /// A decoder at the start of a group.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            model: Model::new(),
        }
    }

    /// Appends to `new` the `new_len` bytes that a payload makes of `base`.
    ///
    /// # Errors
    /// If no encoder wrote this payload, as far as that shows; `new` then holds whatever was
    /// decoded so far, and the decoder is of no use for the rest of its group.
    pub(crate) fn segment(
        &mut self,
        base: &[u8],
        new_len: usize,
        payload: &[u8],
        new: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if base.len() > SEGMENT_BASE_MAX || new_len > SEGMENT_NEW_MAX {
            return Err(DecodeError {
                new_at: 0,
                damage: Damage::TooLarge,
            });
        }
        let mut reader = Reader::new(payload);
        // Contexts look back only as far as the segment's own start.
        let before = std::mem::take(new);
        let mut segment = Vec::new();
        let done = self
            .model
            .segment(&mut reader, base, new_len, &[], &[], &mut segment);
        *new = if before.is_empty() {
            segment
        } else {
            [before, segment].concat()
        };
        done?;
        if reader.has_rest() {
            return Err(DecodeError {
                new_at: new_len,
                damage: Damage::Rest,
            });
        }
        Ok(())
    }
}

impl Default for MixDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything that carries over from segment to segment.
#[derive(Debug)]
struct Model {
    scale: Logistic,
    control: Control,
    literals: Literals,
    lineup: Lineup,
}

impl Model {
    fn new() -> Self {
        let scale = Logistic::new();
        Self {
            control: Control::new(&scale),
            literals: Literals::new(&scale),
            lineup: Lineup::new(&scale),
            scale,
        }
    }

    /// The walk of both sides: an encoder's coin knows `source` and `matches`, a decoder's does
    /// not and both are empty.
    fn segment<C: Coin>(
        &mut self,
        coin: &mut C,
        base: &[u8],
        new_len: usize,
        source: &[u8],
        matches: &[Match],
        new: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let scale = &self.scale;
        let matches = self.control.code(scale, coin, base, new_len, matches)?;
        self.lineup.addresses.begin(&matches);
        self.literals
            .begin(base, matches.iter().map(|m| m.literal_len as usize).sum());
        new.reserve_exact(new_len);
        let mut base_at = 0;
        for m in &matches {
            let base_start = m.base_start as usize;
            let replaced = Replaced {
                start: base_at,
                end: base_start,
            };
            self.literals.code(
                scale,
                coin,
                base,
                replaced,
                m.literal_len as usize,
                source,
                new,
            );
            let source = source.get(new.len()..).unwrap_or(&[]);
            self.lineup.code(
                scale,
                coin,
                Run {
                    base,
                    base_start,
                    len: m.len as usize,
                    source,
                },
                new,
            );
            base_at = base_start + m.len as usize;
            if coin.is_spent() {
                return Err(DecodeError {
                    new_at: new.len(),
                    damage: Damage::Spent,
                });
            }
        }
        Ok(())
    }
}

/// The most matches in a segment, so that a decoder's list of them stays small.
const MATCHES_MAX: usize = 1 << 16;

/// The same matches, without empty ones; those beyond the limit become literals.
fn tidy(matches: &[Match]) -> Vec<Match> {
    let mut tidy: Vec<Match> = Vec::new();
    let mut literal_len = 0;
    for m in matches {
        literal_len += m.literal_len;
        if tidy.len() == MATCHES_MAX - 1 {
            literal_len += m.len;
        } else if m.len > 0 {
            tidy.push(Match { literal_len, ..*m });
            literal_len = 0;
        }
    }
    if literal_len > 0 {
        tidy.push(Match {
            literal_len,
            base_start: 0,
            len: 0,
        });
    }
    tidy
}
