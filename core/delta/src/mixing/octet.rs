//! Codes whole bytes, bit by bit, from hashed contexts and from hints.
//!
//! A *hint* is somebody's guess of the whole byte, with how far that somebody is to be trusted: a
//! repeat found in history, the old byte, a computed address. It speaks as long as the bits so
//! far agree with it.
//!
//! Counters stand in lines of sixteen: one line for one context and one half of a byte, so that
//! four bits cost one cache miss. The first slot of a line holds a check, so a context that was
//! never seen has nothing to say rather than somebody else's opinion.

use super::counter::Counter;
use super::hash::{add, spread};
use super::logistic::Logistic;
use super::mixer::Mixer;
use super::range::Coin;
use super::refine::Refiner;

/// A guess of the next byte.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hint {
    pub(super) byte: u8,
    /// How sure it is, below [`TRUST_MAX`]; zero says that there is no guess.
    pub(super) trust: u8,
}

/// Levels of trust that are told apart.
pub(super) const TRUST_MAX: usize = 64;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([u32; 16]);

/// `N` contexts and `H` hints make `M = N + H + 1` inputs.
#[derive(Debug)]
pub(super) struct Octets<const N: usize, const H: usize, const M: usize> {
    lines: Vec<Line>,
    limit: u32,
    /// For each hint, trust and bit: is the hint right?
    hints: Vec<Counter>,
    by_node: Mixer<M>,
    by_hints: Mixer<M>,
    refiner: Refiner,
    refiner_hashed: Refiner,
}

const REFINED_BITS: u32 = 10;

impl<const N: usize, const H: usize, const M: usize> Octets<N, H, M> {
    pub(super) fn new(scale: &Logistic, line_bits: u32, limit: u32) -> Self {
        assert_eq!(
            N + H + 1,
            M,
            "one input for each context and hint, and a constant"
        );
        let weight = (1 << 16) * 2 / 7;
        Self {
            lines: vec![Line([0; 16]); 1 << line_bits],
            limit,
            hints: vec![Counter::expecting(57_344, 2); H * TRUST_MAX * 8],
            by_node: Mixer::new(256, weight),
            by_hints: Mixer::new(8 << (2 * H), weight),
            refiner: Refiner::new(scale, 256),
            refiner_hashed: Refiner::new(scale, 1 << REFINED_BITS),
        }
    }

    /// The place of a context's line for one half of a byte, emptied if it held another context.
    #[inline]
    fn line(&mut self, context: u32, half: u32) -> usize {
        let hash = add(context, half);
        let at = (hash as usize) & (self.lines.len() - 1);
        let check = hash | 1;
        let line = &mut self.lines[at].0;
        if line[0] != check {
            *line = [Counter::NEW.bits(); 16];
            line[0] = check;
        }
        at
    }

    /// Codes one byte in `contexts` (well-mixed hashes) with `hints`.
    pub(super) fn code<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        contexts: &[u32; N],
        hints: &[Hint; H],
        refine_context: u32,
        truth: u8,
    ) -> u8 {
        let mut node = 1u32;
        let mut at = [0; N];
        for bit in 0..8u32 {
            if bit & 3 == 0 {
                let half = if bit == 0 { 0 } else { node };
                at = contexts.map(|context| self.line(context, half));
            }
            let low = (if bit < 4 {
                node
            } else {
                node & ((1 << (bit - 4)) - 1) | 1 << (bit - 4)
            }) as usize;
            let mut inputs = [256; M];
            for i in 0..N {
                inputs[i] = scale.stretch(Counter::from_bits(self.lines[at[i]].0[low]).p());
            }
            let mut hint_slots = [usize::MAX; H];
            let mut agreement = 0;
            for (i, hint) in hints.iter().enumerate() {
                let expected = u32::from(hint.byte) | 256;
                inputs[N + i] = 0;
                if hint.trust > 0 && expected >> (8 - bit) == node {
                    let slot = (i * TRUST_MAX + usize::from(hint.trust)) * 8 + bit as usize;
                    hint_slots[i] = slot;
                    let x = scale.stretch(self.hints[slot].p());
                    let one = expected >> (7 - bit) & 1 == 1;
                    inputs[N + i] = if one { x } else { -x };
                    agreement |= (if one { 1 } else { 2 }) << (2 * i);
                }
            }
            let x1 = self.by_node.mix(scale, &inputs, node as usize);
            let x2 = self
                .by_hints
                .mix(scale, &inputs, agreement << 3 | bit as usize);
            let x = (x1 + x2) / 2;
            let hashed = (add(refine_context, node) >> (32 - REFINED_BITS)) as usize;
            let (r1, r2) = (
                self.refiner.refine(x, node as usize),
                self.refiner_hashed.refine(x, hashed),
            );
            let p = ((2 * scale.squash(x) + r1 + r2) / 4).clamp(1, 65_535);

            let truth = coin.toss(p, truth >> (7 - bit) & 1 == 1);
            self.by_node.learn(&inputs, truth);
            self.by_hints.learn(&inputs, truth);
            self.refiner.learn(truth);
            self.refiner_hashed.learn(truth);
            for &at in &at {
                let slot = &mut self.lines[at].0[low];
                let mut counter = Counter::from_bits(*slot);
                counter.learn(truth, self.limit);
                *slot = counter.bits();
            }
            for (hint, slot) in hints.iter().zip(hint_slots) {
                if slot != usize::MAX {
                    let one = hint.byte >> (7 - bit) & 1 == 1;
                    self.hints[slot].learn(truth == one, 255);
                }
            }
            node = node << 1 | u32::from(truth);
        }
        node as u8
    }
}

/// A context of one kind: `salt` tells the kinds apart.
#[inline]
pub(super) fn context(value: u64, salt: u32) -> u32 {
    spread(value, salt)
}
