//! Codes the bytes that line up with nothing.
//!
//! Contexts are the bytes before (orders 0 to 6), the word so far, and the base at the place where
//! the literal stands: what it replaces is often much like it. Blocks in which the encoder finds
//! nothing to predict pass raw, at the cost of one flag.

use super::decision::Decider;
use super::hash::{spread, word};
use super::history::{BaseIndex, History, Repeat};
use super::logistic::Logistic;
use super::octet::{Hint, Octets, context};
use super::range::Coin;

/// A literal is judged raw or not in blocks of this many bytes.
const BLOCK_LEN: usize = 4096;
/// Shorter blocks are never raw.
const RAW_LEN_MIN: usize = 64;
const SPOT_BITS: u32 = 14;

/// Where a literal stands in the base: it replaces `base[start..end]`, which may be empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replaced {
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) struct Literals {
    octets: Octets<8, 3, 12>,
    raw: Decider<1, 2>,
    history: History,
    index: BaseIndex,
    index_is_read: bool,
    /// By the base around the place: where in history the last literal there began.
    spots: Vec<u32>,
}

impl Literals {
    pub(super) fn new(scale: &Logistic) -> Self {
        Self {
            octets: Octets::new(scale, 16, 127),
            raw: Decider::new(scale, 8, 1, 30),
            history: History::new(),
            index: BaseIndex::new(),
            index_is_read: false,
            spots: vec![0; 1 << SPOT_BITS],
        }
    }

    /// Prepares for a segment with `total` literal bytes.
    pub(super) fn begin(&mut self, base: &[u8], total: usize) {
        self.index_is_read = total >= 64 && !base.is_empty();
        if self.index_is_read {
            self.index.begin(base);
        }
    }

    /// Codes `len` bytes onto the end of `new`.
    #[expect(clippy::too_many_arguments, reason = "one call in one place")]
    pub(super) fn code<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        base: &[u8],
        replaced: Replaced,
        len: usize,
        source: &[u8],
        new: &mut Vec<u8>,
    ) {
        if len == 0 {
            return;
        }
        let spot = spot(base, replaced.start);
        let seed = self.spots[spot] as usize;
        let mut left = len;
        let mut tail = word(new, new.len() as isize - 8);
        for back in (0..8).rev() {
            self.history
                .push((tail >> (56 - 8 * back)) as u8, tail << (8 * back));
        }
        self.spots[spot] = self.history.end() as u32;
        let mut run = Run {
            base,
            replaced,
            start: new.len(),
            of_history: Repeat::seeded((seed > 0).then_some(seed)),
            of_base: Repeat::seeded(None),
            old_hits: 0,
        };
        while left > 0 {
            let block_len = left.min(BLOCK_LEN);
            let is_raw = block_len >= RAW_LEN_MIN && {
                let truth = C::KNOWS && is_noise(&source[new.len()..new.len() + block_len]);
                self.raw.decide(scale, coin, &[0], 0, truth)
            };
            if is_raw {
                for _ in 0..block_len {
                    let truth = source.get(new.len()).copied().unwrap_or(0);
                    new.push(coin.byte(truth));
                }
                tail = word(new, new.len() as isize - 8);
                run.of_history = Repeat::default();
                run.of_base = Repeat::default();
            } else {
                for _ in 0..block_len {
                    let truth = source.get(new.len()).copied().unwrap_or(0);
                    let byte = self.byte(scale, coin, &mut run, tail, truth, new);
                    new.push(byte);
                    tail = tail >> 8 | u64::from(byte) << 56;
                    self.history.push(byte, tail);
                }
            }
            if coin.is_spent() {
                new.resize(new.len() + left - block_len, 0);
                return;
            }
            left -= block_len;
        }
    }

    fn byte<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        run: &mut Run<'_>,
        tail: u64,
        truth: u8,
        new: &[u8],
    ) -> u8 {
        let old = run.old(new.len());
        let of_history = run.of_history.hint_of_history(&self.history, tail);
        let of_base = if self.index_is_read {
            run.of_base.hint_of_base(&self.index, run.base, new)
        } else {
            Hint::default()
        };
        let last = |n: u32| if n == 0 { 0 } else { tail >> (64 - 8 * n) };
        let contexts = [
            context(u64::from(of_history.trust.min(8)), 10),
            context(last(1), 11),
            context(last(2), 12),
            context(last(3), 13),
            context(last(4), 14),
            context(last(6), 16),
            context(word_so_far(tail), 17),
            context(
                u64::from(old.byte) << 16 | last(1) << 8 | u64::from(old.trust.min(3)),
                18,
            ),
        ];
        let hints = [of_history, of_base, old];
        let byte = self
            .octets
            .code(scale, coin, &contexts, &hints, context(last(1), 19), truth);
        run.of_history.step(of_history, byte);
        run.of_base.step(of_base, byte);
        run.old_hits = if old.trust > 0 && old.byte == byte {
            (run.old_hits + 1).min(15)
        } else {
            0
        };
        byte
    }
}

struct Run<'a> {
    base: &'a [u8],
    replaced: Replaced,
    start: usize,
    of_history: Repeat,
    of_base: Repeat,
    old_hits: u8,
}

impl Run<'_> {
    /// The replaced byte at the same distance from the literal's start.
    fn old(&self, at: usize) -> Hint {
        let place = self.replaced.start + (at - self.start);
        match self.base.get(place) {
            Some(&byte) if place < self.replaced.end => Hint {
                byte,
                trust: 1 + self.old_hits,
            },
            _ => Hint::default(),
        }
    }
}

/// A context of the letters and digits since the last other byte.
fn word_so_far(tail: u64) -> u64 {
    let bytes = tail.to_le_bytes();
    let len = bytes
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte >= 128)
        .count();
    if len == 8 {
        tail
    } else {
        (tail >> 8 >> (56 - 8 * len)) << 4 | len as u64
    }
}

/// A slot for the base around a place.
fn spot(base: &[u8], at: usize) -> usize {
    let around = spread(word(base, at as isize - 8), 3) ^ spread(word(base, at as isize), 4);
    (around >> (32 - SPOT_BITS)) as usize
}

/// Whether all bytes of a block are so equally frequent that no model would gain on it.
fn is_noise(block: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    for &byte in block {
        counts[usize::from(byte)] += 1;
    }
    // The chance that two bytes are equal: 1/256 for noise, above 1/128 for nearly everything else.
    let pairs: u64 = counts
        .iter()
        .map(|&n| u64::from(n) * u64::from(n.saturating_sub(1)))
        .sum();
    let all = block.len() as u64 * (block.len() as u64 - 1);
    // Short blocks vary more by chance.
    pairs * 256 * 64 <= all * (64 + 8) && block.len() >= RAW_LEN_MIN
}
