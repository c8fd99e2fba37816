//! How far the leader's steady clock is from this node's, as its heartbeats tell.

use std::collections::VecDeque;

use bellwether_types::Time;

/// Each heartbeat says what the leader's clock showed when it was sent. The one that waited least says it best: its error
/// is how long it took, at least.
#[derive(Debug, Default)]
pub(super) struct Offset {
    /// What is to be added to the leader's clock, in microseconds, by each of the latest heartbeats.
    heard: VecDeque<i128>,
}

/// Enough to find a quiet moment, and few enough that clocks do not drift apart meanwhile.
const HEARD_MAX: usize = 32;

impl Offset {
    /// Another leader, another clock.
    pub(super) fn forget(&mut self) {
        self.heard.clear();
    }

    /// A heartbeat came.
    pub(super) fn heard(&mut self, came: Time, sent_us: u64) {
        if self.heard.len() == HEARD_MAX {
            self.heard.pop_front();
        }
        let came_us = i128::from(came.as_nanos() / 1_000);
        self.heard.push_back(came_us - i128::from(sent_us));
    }

    /// That moment of the leader's clock by this node's; `None` before the first heartbeat.
    pub(super) fn to_own(&self, leader_us: u64) -> Option<Time> {
        let least = self.heard.iter().min()?;
        let own_us = (i128::from(leader_us) + least).max(0);
        let own_us = u64::try_from(own_us).unwrap_or(u64::MAX);
        Some(Time::from_nanos(own_us.saturating_mul(1_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(us: u64) -> Time {
        Time::from_nanos(us * 1_000)
    }

    /// COMMIT-01: whatever the clocks show, the error is the way of the quickest heartbeat.
    #[test]
    fn the_quickest_heartbeat_tells_the_clock() {
        for (ahead, start) in [(3_600_000_000, 0), (0, 3_600_000_000)] {
            let mut offset = Offset::default();
            assert_eq!(offset.to_own(5), None);
            for (n, way) in [9_000, 120, 400, 60_000].into_iter().enumerate() {
                let at = n as u64 * 500_000;
                offset.heard(micros(ahead + at + way), start + at);
            }
            let own = offset.to_own(start + 2_000_000).unwrap();
            assert_eq!(own, micros(ahead + 2_000_000 + 120));
            // A new reign is another clock.
            offset.forget();
            assert_eq!(offset.to_own(5), None);
        }
    }

    #[test]
    fn a_clock_that_drifts_is_followed_and_no_number_is_too_large() {
        let mut offset = Offset::default();
        offset.heard(micros(10), 0);
        (0..40).for_each(|_| offset.heard(micros(500), 0));
        assert_eq!(offset.to_own(0), Some(micros(500)));
        offset.heard(micros(0), u64::MAX);
        assert_eq!(offset.to_own(0), Some(Time::ZERO));
        let _ = offset.to_own(u64::MAX);
    }
}
