use std::collections::VecDeque;
use std::time::Duration;

use bellwether_scheduling::Moment;

/// How fast something grows, by what it was lately.
#[derive(Debug, Default)]
pub(crate) struct Pace(VecDeque<(Moment, u64)>);

/// What was longer ago does not count.
const WINDOW: Duration = Duration::from_secs(5);
/// The latest two are no further apart than this: what comes sooner takes the place of the one before.
const APART: Duration = Duration::from_millis(200);

impl Pace {
    /// It is so much now.
    pub(crate) fn note(&mut self, now: Moment, amount: u64) {
        let samples = &mut self.0;
        // The clock was set, or what was there is gone: it begins anew.
        if samples
            .back()
            .is_some_and(|(at, before)| *at > now || *before > amount)
        {
            samples.clear();
        }
        if samples.len() > 1
            && let Some((before, _)) = samples.get(samples.len() - 2)
            && now < *before + APART
        {
            samples.pop_back();
        }
        samples.push_back((now, amount));
        // One from before the window says where it began.
        while samples.get(1).is_some_and(|(at, _)| *at + WINDOW <= now) {
            samples.pop_front();
        }
    }

    /// So much in a second; 0 if nothing is known, or it stands.
    pub(crate) fn rate(&self, now: Moment) -> u64 {
        let (Some((_, last)), Some((first_at, first))) = (self.0.back(), self.begin(now)) else {
            return 0;
        };
        let span = now.0.saturating_sub(first_at.0);
        let grown = u128::from(last.saturating_sub(*first)) * 1_000;
        let rate = grown.checked_div(span.into()).unwrap_or(0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// The last sample before the window, or the first in it.
    fn begin(&self, now: Moment) -> Option<&(Moment, u64)> {
        let before = self.0.iter().rev().find(|(at, _)| *at + WINDOW <= now);
        before.or_else(|| self.0.front())
    }
}

/// How long it takes until `done` is `all` at so much in a second; `None` if it stands.
pub(crate) fn left_ms(done: u64, all: u64, rate: u64) -> Option<u64> {
    let rest = u128::from(all.saturating_sub(done)) * 1_000;
    match rest {
        0 => Some(0),
        rest => {
            let left = rest.checked_div(rate.into())?;
            Some(u64::try_from(left).unwrap_or(u64::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(samples: &[(u64, u64)]) -> Pace {
        let mut pace = Pace::default();
        for (at, amount) in samples {
            pace.note(Moment(*at), *amount);
        }
        pace
    }

    #[test]
    fn a_pace_is_that_of_the_last_seconds() {
        let samples: Vec<(u64, u64)> = (0..=40).map(|n| (n * 250, n * 250)).collect();
        assert_eq!(noted(&samples).rate(Moment(10_000)), 1_000);
        // Twice as fast for the last five seconds.
        let faster = (1..=20).map(|n| (10_000 + n * 250, 10_000 + n * 500));
        let samples: Vec<(u64, u64)> = samples.into_iter().chain(faster).collect();
        assert_eq!(noted(&samples).rate(Moment(15_000)), 2_000);
        assert!(noted(&samples).0.len() <= 30);
    }

    #[test]
    fn what_stands_slows_down_and_then_has_no_pace() {
        let pace = noted(&[(0, 0), (1_000, 10_000)]);
        assert_eq!(pace.rate(Moment(1_000)), 10_000);
        assert_eq!(pace.rate(Moment(4_000)), 2_500);
        assert_eq!(pace.rate(Moment(6_000)), 0);
        assert_eq!(noted(&[]).rate(Moment(1)), 0);
        assert_eq!(noted(&[(5, 7)]).rate(Moment(5)), 0);
    }

    #[test]
    fn words_that_come_thick_and_fast_are_few_to_remember() {
        let samples: Vec<(u64, u64)> = (0..100_000).map(|n| (n, n * 3)).collect();
        let pace = noted(&samples);
        assert!(pace.0.len() <= 60, "{}", pace.0.len());
        assert_eq!(pace.rate(Moment(99_999)), 3_000);
    }

    #[test]
    fn less_than_before_begins_anew() {
        let pace = noted(&[(0, 0), (1_000, 9_000), (2_000, 100), (3_000, 300)]);
        assert_eq!(pace.rate(Moment(3_000)), 200);
        assert_eq!(noted(&[(9_000, 0), (1_000, 5)]).rate(Moment(1_000)), 0);
    }

    #[test]
    fn time_left_is_known_as_long_as_something_moves() {
        assert_eq!(left_ms(250, 1_000, 500), Some(1_500));
        assert_eq!(left_ms(250, 1_000, 0), None);
        assert_eq!(left_ms(1_000, 1_000, 0), Some(0));
        assert_eq!(left_ms(0, u64::MAX, 1), Some(u64::MAX));
    }
}
