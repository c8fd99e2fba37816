//! The last look at a prediction: what really happened when it was this high, in this context.

use super::counter::Counter;
use super::logistic::{Logistic, STRETCH_MAX};

/// Steps between the points at which each context keeps an answer, on the logistic scale.
const STEP: i32 = 128;
const POINTS: usize = (2 * STRETCH_MAX / STEP) as usize + 2;
/// Answers follow their last few hundred decisions.
const LIMIT: u32 = 255;

/// Maps (context, prediction) to a better prediction by interpolation between learned points.
#[derive(Debug)]
pub(super) struct Refiner {
    points: Vec<Counter>,
    nearest: usize,
}

impl Refiner {
    pub(super) fn new(scale: &Logistic, contexts: usize) -> Self {
        let row =
            (0..POINTS).map(|i| Counter::expecting(scale.squash(i as i32 * STEP - STRETCH_MAX), 6));
        let row: Vec<_> = row.collect();
        Self {
            points: row.repeat(contexts),
            nearest: 0,
        }
    }

    /// The refined 16-bit probability for a prediction `x` on the logistic scale.
    #[inline]
    pub(super) fn refine(&mut self, x: i32, context: usize) -> u32 {
        let x = x.clamp(-STRETCH_MAX, STRETCH_MAX) + STRETCH_MAX;
        let (point, part) = ((x / STEP) as usize, (x % STEP) as u32);
        let at = context * POINTS + point;
        self.nearest = at + usize::from(part >= STEP as u32 / 2);
        let (below, above) = (self.points[at].p() >> 6, self.points[at + 1].p() >> 6);
        (below * (STEP as u32 - part) + above * part) / STEP as u32
    }

    #[inline]
    pub(super) fn learn(&mut self, truth: bool) {
        self.points[self.nearest].learn(truth, LIMIT);
    }
}
