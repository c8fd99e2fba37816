//! Codes single decisions, each seen in `N` contexts at once.

use super::counter::Counter;
use super::logistic::Logistic;
use super::mixer::Mixer;
use super::range::Coin;
use super::refine::Refiner;

/// Contexts, their counters and how they are weighed, for one kind of decision.
///
/// `N` contexts make `M = N + 1` inputs, the last of which is constant.
#[derive(Debug)]
pub(super) struct Decider<const N: usize, const M: usize> {
    /// Shared by all contexts; a context is a hash that picks a counter.
    counters: Vec<Counter>,
    shift: u32,
    limit: u32,
    mixer: Mixer<M>,
    refiner: Refiner,
}

impl<const N: usize, const M: usize> Decider<N, M> {
    /// A table of `1 << bits` counters, and `kinds` of decisions that are weighed apart.
    pub(super) fn new(scale: &Logistic, bits: u32, kinds: usize, limit: u32) -> Self {
        assert_eq!(N + 1, M, "one more input than contexts");
        Self {
            counters: vec![Counter::NEW; 1 << bits],
            shift: 32 - bits,
            limit,
            mixer: Mixer::new(kinds, (1 << 16) * 4 / 9),
            refiner: Refiner::new(scale, kinds),
        }
    }

    /// Codes one decision of a `kind` in `contexts` (well-mixed hashes).
    #[inline]
    pub(super) fn decide<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        contexts: &[u32; N],
        kind: usize,
        truth: bool,
    ) -> bool {
        let mut inputs = [256; M];
        let mut slots = [0; N];
        for i in 0..N {
            slots[i] = (contexts[i] >> self.shift) as usize;
            inputs[i] = scale.stretch(self.counters[slots[i]].p());
        }
        let x = self.mixer.mix(scale, &inputs, kind);
        let mixed = scale.squash(x);
        let refined = self.refiner.refine(x, kind);
        let p = ((mixed + refined) / 2).clamp(1, 65_535);
        let truth = coin.toss(p, truth);
        self.mixer.learn(&inputs, truth);
        self.refiner.learn(truth);
        for slot in slots {
            self.counters[slot].learn(truth, self.limit);
        }
        truth
    }
}
