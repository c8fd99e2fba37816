//! How far two steady clocks are apart, measured by questions and answers on one connection.

use std::collections::VecDeque;

/// One question and its answer, in microseconds: the first and last moment by one's own clock, those between by the
/// other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// When the question was sent.
    pub asked_us: u64,
    /// When it came there.
    pub received_us: u64,
    /// When the answer was sent there.
    pub answered_us: u64,
    /// When the answer came.
    pub back_us: u64,
}

/// What the other's steady clock shows, by one's own. Of the latest exchanges the one with the least round trip counts: it
/// waited least, and its error is at most half of that round trip.
#[derive(Debug, Clone, Default)]
pub struct Offset {
    /// Round trip and offset, both in microseconds, the latest last.
    exchanges: VecDeque<(u64, i128)>,
}

/// Enough to find a quiet moment, and few enough that clocks do not drift apart meanwhile.
const EXCHANGES_MAX: usize = 16;

impl Offset {
    /// Takes one more exchange into account; one that contradicts itself is ignored.
    pub fn observe(&mut self, exchange: Exchange) {
        let Exchange {
            asked_us,
            received_us,
            answered_us,
            back_us,
        } = exchange;
        let (Some(away), Some(there)) = (
            back_us.checked_sub(asked_us),
            answered_us.checked_sub(received_us),
        ) else {
            return;
        };
        let Some(round_trip) = away.checked_sub(there) else {
            return;
        };
        if self.exchanges.len() == EXCHANGES_MAX {
            self.exchanges.pop_front();
        }
        let (own, other) = (
            i128::from(asked_us) + i128::from(back_us),
            i128::from(received_us) + i128::from(answered_us),
        );
        self.exchanges.push_back((round_trip, (other - own) / 2));
    }

    /// The least round trip lately, in microseconds; `None` before the first exchange.
    pub fn round_trip_us(&self) -> Option<u64> {
        self.best().map(|(round_trip, _)| round_trip)
    }

    /// What the other's clock shows when one's own shows `own_us`; `None` before the first exchange.
    pub fn to_other_us(&self, own_us: u64) -> Option<u64> {
        let (_, offset) = self.best()?;
        Some(clamped(i128::from(own_us) + offset))
    }

    /// What one's own clock shows when the other's shows `other_us`; `None` before the first exchange.
    pub fn to_own_us(&self, other_us: u64) -> Option<u64> {
        let (_, offset) = self.best()?;
        Some(clamped(i128::from(other_us) - offset))
    }

    /// Of equal ones the latest.
    fn best(&self) -> Option<(u64, i128)> {
        let rev = self.exchanges.iter().rev();
        rev.copied().min_by_key(|(round_trip, _)| *round_trip)
    }
}

fn clamped(us: i128) -> u64 {
    u64::try_from(us.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other's clock is ahead by `ahead`; the way there and back takes so long, and the answer a while.
    fn exchange(asked_us: u64, ahead: i64, there: u64, back: u64) -> Exchange {
        let other = |own: u64| own.checked_add_signed(ahead).unwrap();
        Exchange {
            asked_us,
            received_us: other(asked_us + there),
            answered_us: other(asked_us + there + 700),
            back_us: asked_us + there + 700 + back,
        }
    }

    #[test]
    fn the_error_is_at_most_half_of_the_least_round_trip() {
        for ahead in [0, 3_600_000_000, -3_600_000_000_i64] {
            let mut offset = Offset::default();
            assert_eq!(offset.to_other_us(5), None);
            let start = 4_000_000_000;
            for (n, (there, back)) in [(90_000, 100), (100, 40_000), (300, 100), (5_000, 6_000)]
                .into_iter()
                .enumerate()
            {
                offset.observe(exchange(start + n as u64 * 1_000_000, ahead, there, back));
            }
            assert_eq!(offset.round_trip_us(), Some(400));
            let there = offset.to_other_us(start).unwrap();
            let error = there.abs_diff(start.checked_add_signed(ahead).unwrap());
            assert!(error <= 200, "{error} µs");
            assert_eq!(offset.to_own_us(there), Some(start));
        }
    }

    #[test]
    fn drift_is_followed_and_nonsense_is_not() {
        let mut offset = Offset::default();
        offset.observe(exchange(1_000_000, 10, 1, 1));
        for n in 2..40 {
            offset.observe(exchange(n * 1_000_000, 500_000, 50, 50));
        }
        assert_eq!(offset.to_other_us(0), Some(500_000));
        let before = offset.to_other_us(7);
        offset.observe(Exchange {
            asked_us: 9,
            received_us: 5,
            answered_us: 4,
            back_us: 8,
        });
        offset.observe(Exchange {
            asked_us: 0,
            received_us: 0,
            answered_us: u64::MAX,
            back_us: 1,
        });
        assert_eq!(offset.to_other_us(7), before);
        assert_eq!(offset.to_other_us(u64::MAX), Some(u64::MAX));
    }
}
