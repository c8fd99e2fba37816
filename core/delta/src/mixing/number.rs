//! Codes numbers as a size class and the bits below its leading one, every bit a decision.

use super::decision::Decider;
use super::hash::add;
use super::logistic::Logistic;
use super::range::Coin;

/// Codes one kind of number in `N` contexts.
#[derive(Debug)]
pub(super) struct Numbers<const N: usize, const M: usize> {
    decider: Decider<N, M>,
}

/// Numbers are below `1 << CLASS_MAX` - 1.
const CLASS_MAX: u32 = 33;
/// Bits that may be weighed apart: one for each class, then one for each place in a number.
const KINDS: usize = 2 * CLASS_MAX as usize + 2;

impl<const N: usize, const M: usize> Numbers<N, M> {
    pub(super) fn new(scale: &Logistic, bits: u32) -> Self {
        Self {
            decider: Decider::new(scale, bits, KINDS, 255),
        }
    }

    pub(super) fn code<C: Coin>(
        &mut self,
        scale: &Logistic,
        coin: &mut C,
        contexts: &[u32; N],
        truth: u64,
    ) -> u64 {
        let truth = truth + 1;
        let truth_class = 63 - truth.leading_zeros();
        let mut class = 0;
        while class < CLASS_MAX {
            let contexts = contexts.map(|context| add(context, class));
            if !self
                .decider
                .decide(scale, coin, &contexts, class as usize, truth_class > class)
            {
                break;
            }
            class += 1;
        }
        let mut value = 1u64;
        for place in (0..class).rev() {
            // All contexts but the last know every bit above; the last one counts places only.
            let mut nodes = contexts.map(|context| add(add(context, value as u32), class + 64));
            nodes[N - 1] = add(
                contexts[N - 1],
                (class * 64 + place) * 8
                    + if class - place < 4 {
                        value as u32 & 7
                    } else {
                        0
                    },
            );
            let kind = (CLASS_MAX + 1 + place) as usize;
            let bit = self
                .decider
                .decide(scale, coin, &nodes, kind, truth >> place & 1 == 1);
            value = value << 1 | u64::from(bit);
        }
        value - 1
    }
}
