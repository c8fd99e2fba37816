use crate::job::Rate;

/// How fast a session sends (MCTP-15).
///
/// Loss alone says nothing: on many links some is always there. So a loss that is more than usual lowers the rate to
/// what came through; if that does not lower the loss, the rate was not its cause: it counts as usual from then on, and
/// the rate is restored. This keeps the speed on links that lose at random, and yields where a queue overflows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateControl {
    settings: Rate,
    rate: u64,
    /// Loss that does not come from the rate, in millionths.
    usual: u64,
    /// Since the last tick: the greatest loss that was told.
    worst: Option<u64>,
    /// The loss that was told last.
    latest: u64,
    /// Frames from here on were sent at the present rate.
    since: u64,
    /// The rate and loss that led to the last cut, until it is known what it brought.
    cut: Option<(u64, u64)>,
    /// What came through at the last cut that helped.
    capacity: Option<u64>,
}

const LOSS_MARGIN: u64 = 20_000;
const MILLION: u64 = 1_000_000;

impl RateControl {
    pub(crate) const fn new(settings: Rate) -> Self {
        Self {
            settings,
            rate: settings.ceiling(),
            usual: 0,
            worst: None,
            latest: 0,
            since: 0,
            cut: None,
            capacity: None,
        }
    }

    pub(crate) const fn rate(&self) -> u64 {
        self.rate
    }

    /// Loss to reckon with, in millionths.
    pub(crate) fn usual_loss(&self) -> u64 {
        self.usual.max(self.latest)
    }

    /// Another ceiling: a session more or less shares the link.
    pub(crate) fn set_ceiling(&mut self, new: u64) {
        match &mut self.settings {
            Rate::Fixed(rate) => *rate = new,
            Rate::Adaptive { ceiling, floor } => {
                *ceiling = new;
                *floor = (*floor).min(new);
            }
        }
        self.rate = match self.settings {
            Rate::Fixed(rate) => rate,
            Rate::Adaptive { .. } => self.rate.min(new),
        };
    }

    /// A participant lost so many millionths of the frames from `from` on.
    pub(crate) fn lost(&mut self, from: u64, loss: u64) {
        self.latest = loss;
        if from >= self.since {
            self.worst = Some(self.worst.map_or(loss, |worst| worst.max(loss)));
        }
    }

    /// Some time has passed; the next frame will be `sequence`.
    pub(crate) fn tick(&mut self, sequence: u64) {
        let Rate::Adaptive { floor, ceiling } = self.settings else {
            return;
        };
        let Some(loss) = self.worst.take() else {
            // Nobody has anything to say, or nobody was heard yet since the last change.
            if self.cut.is_none() {
                self.rise(ceiling);
            }
            return;
        };
        if let Some((rate, before)) = self.cut.take() {
            if loss * 4 > before * 3 {
                self.usual = loss;
                self.rate = rate.min(ceiling);
                self.capacity = None;
                self.since = sequence;
                return;
            }
            self.capacity = Some(through(rate, before));
        }
        if loss > self.usual + LOSS_MARGIN {
            self.cut = Some((self.rate, loss));
            let excess = loss.saturating_sub(self.usual);
            self.rate = (through(self.rate, excess) * 98 / 100).clamp(floor, ceiling);
            self.since = sequence;
        } else {
            self.usual = self.usual.min(loss);
            self.rise(ceiling);
        }
    }

    fn rise(&mut self, ceiling: u64) {
        let near = self
            .capacity
            .is_some_and(|capacity| self.rate * 100 > capacity * 95);
        let step = if near {
            self.rate / 500
        } else {
            self.rate / 20
        };
        self.rate = (self.rate + step.max(1)).min(ceiling);
    }
}

const fn through(rate: u64, loss: u64) -> u64 {
    let kept = MILLION.saturating_sub(loss);
    ((rate as u128 * kept as u128) / MILLION as u128) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: u64 = 100_000_000;

    fn adaptive() -> RateControl {
        RateControl::new(Rate::Adaptive {
            floor: 1_000_000,
            ceiling: CEILING,
        })
    }

    /// Rates of 400 ticks over a link that loses so much at random, and everything beyond its capacity.
    fn run(mut control: RateControl, random: u64, capacity: u64) -> Vec<u64> {
        let mut rates = Vec::new();
        for tick in 0..400 {
            let beyond = control.rate.saturating_sub(capacity) * MILLION / control.rate;
            let loss = beyond + (MILLION - beyond) * random / MILLION;
            if loss > 0 {
                control.lost(tick * 100, loss);
            }
            control.tick(tick * 100 + 50);
            rates.push(control.rate);
        }
        rates
    }

    /// MCTP-15, and the collapse of other protocols at random loss does not happen.
    #[test]
    fn random_loss_costs_no_speed() {
        for random in [10_000, 50_000, 100_000] {
            let rates = run(adaptive(), random, u64::MAX);
            let mean = rates.iter().sum::<u64>() / rates.len() as u64;
            assert!(mean > CEILING / 100 * 97, "{random}: {mean}");
        }
    }

    /// MCTP-15.
    #[test]
    fn a_full_queue_lowers_the_rate_to_what_comes_through_and_a_free_link_raises_it_again() {
        let rates = run(adaptive(), 0, CEILING / 2);
        let mean = rates[20..].iter().sum::<u64>() / 380;
        assert!((45..=53).contains(&(mean * 100 / CEILING)), "{mean}");
        let worst = rates[20..].iter().max().unwrap();
        assert!(*worst < CEILING * 56 / 100, "{worst}");
        let mut control = adaptive();
        control.lost(0, 500_000);
        control.tick(1);
        control.lost(1, 0);
        assert!(control.rate < CEILING / 2);
        for tick in 0..400 {
            control.tick(tick);
        }
        assert_eq!(control.rate, CEILING);
    }

    #[test]
    fn the_rate_never_leaves_its_bounds_and_a_fixed_one_never_changes() {
        let mut control = adaptive();
        for tick in 0..100 {
            control.lost(tick, 999_999 - tick * 9_000);
            control.tick(tick);
            assert!((1_000_000..=CEILING).contains(&control.rate));
        }
        let mut fixed = RateControl::new(Rate::Fixed(7));
        fixed.lost(0, 900_000);
        fixed.tick(1);
        assert_eq!(fixed.rate(), 7);
    }
}
