//! Adds predictions up on the logistic scale, with weights that learn which of them to trust.
//!
//! A mixer holds several sets of weights; a small context selects the set. Two mixers with
//! different selectors, averaged, do better than one with the product of both, because each set
//! sees more decisions.

use super::logistic::{Logistic, PROBABILITY_BITS, STRETCH_MAX};

/// Weights are fixed-point numbers with this many fractional bits.
const WEIGHT_BITS: u32 = 16;
/// No weight leaves ±8, so that a weight times an input fits an `i32`.
const WEIGHT_MAX: i32 = 8 << WEIGHT_BITS;

/// Sets of `N` weights.
#[derive(Debug)]
pub(super) struct Mixer<const N: usize> {
    sets: Vec<[i32; N]>,
    /// How far each set moves at an error; falls from `RATE_FIRST` to `RATE_LAST` as the
    /// set is used.
    rates: Vec<u16>,
    selected: usize,
    /// The prediction of the selected set, in 16 bits.
    p: u32,
}

const RATE_FIRST: u16 = 32 << 6;
const RATE_LAST: u16 = 14 << 6;

impl<const N: usize> Mixer<N> {
    /// `weight` is the first weight of every input, in 1/65,536.
    pub(super) fn new(sets: usize, weight: i32) -> Self {
        Self {
            sets: vec![[weight; N]; sets],
            rates: vec![RATE_FIRST; sets],
            selected: 0,
            p: 0,
        }
    }

    /// The weighted sum of `inputs` under set `selected`, on the logistic scale.
    #[inline]
    pub(super) fn mix(&mut self, scale: &Logistic, inputs: &[i32; N], selected: usize) -> i32 {
        self.selected = selected;
        let weights = &self.sets[selected];
        let mut sum = 0i32;
        for i in 0..N {
            sum += (inputs[i] * weights[i]) >> 8;
        }
        let x = sum >> (WEIGHT_BITS - 8);
        self.p = scale.squash(x);
        x
    }

    /// Moves the selected weights towards what would have predicted `truth` better.
    #[inline]
    pub(super) fn learn(&mut self, inputs: &[i32; N], truth: bool) {
        let rate = &mut self.rates[self.selected];
        let error =
            (((i32::from(truth) << PROBABILITY_BITS) - self.p as i32) * i32::from(*rate)) >> 10;
        if *rate > RATE_LAST {
            *rate -= 1 + (*rate - RATE_LAST) / 512;
        }
        // So small an error rounds to no change at all; most flags are that well foreseen.
        if error.abs() * STRETCH_MAX < 1 << 13 {
            return;
        }
        for (weight, &input) in self.sets[self.selected].iter_mut().zip(inputs) {
            *weight =
                (*weight + ((input * error + (1 << 13)) >> 14)).clamp(-WEIGHT_MAX, WEIGHT_MAX);
        }
    }
}
