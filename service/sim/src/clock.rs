use bellwether_types::Time;

/// A node's steady clock: it starts somewhere and runs a little too fast or too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    offset: u64,
    /// What it advances while 2^32 ns pass.
    rate: u64,
}

const UNIT: u32 = 32;

impl Clock {
    /// A clock that shows `offset` when the run begins, and gains so many millionths.
    pub(crate) fn new(offset: Time, gain_ppm: i32) -> Self {
        let gain = (i64::from(gain_ppm) << UNIT) / 1_000_000;
        Self {
            offset: offset.as_nanos(),
            rate: (1_u64 << UNIT).saturating_add_signed(gain),
        }
    }

    /// What the clock shows at `now`.
    pub(crate) fn shows(&self, now: Time) -> Time {
        let passed = (u128::from(now.as_nanos()) * u128::from(self.rate)) >> UNIT;
        Time::from_nanos(narrowed(passed).saturating_add(self.offset))
    }

    /// The first moment at which the clock shows `shown` or more.
    pub(crate) fn reaches(&self, shown: Time) -> Time {
        let passed = shown.as_nanos().saturating_sub(self.offset);
        if self.rate == 1 << UNIT {
            return Time::from_nanos(passed);
        }
        let now = (u128::from(passed) << UNIT).div_ceil(u128::from(self.rate));
        Time::from_nanos(narrowed(now))
    }
}

fn narrowed(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_clock_shows_a_moment_when_it_is_reached_and_not_before(
            offset in 0..1_u64 << 50, gain in -50_000..50_000_i32, ahead in 1..1_u64 << 55
        ) {
            let clock = Clock::new(Time::from_nanos(offset), gain);
            let shown = Time::from_nanos(offset + ahead);
            let now = clock.reaches(shown);
            prop_assert!(clock.shows(now) >= shown);
            prop_assert!(clock.shows(Time::from_nanos(now.as_nanos() - 1)) < shown);
        }
    }

    #[test]
    fn a_gain_is_in_millionths() {
        let second = Time::from_nanos(1_000_000_000);
        let fast = Clock::new(second, 50_000);
        assert_eq!(fast.shows(second).as_nanos(), 2_049_999_999);
        assert_eq!(Clock::new(Time::ZERO, 0).shows(second), second);
    }
}
