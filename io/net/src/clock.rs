use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use bellwether_types::Time;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
};
use tokio::io::unix::AsyncFd;

use crate::readiness::watched;

/// This machine's steady clock: no one sets it, and it goes on while the machine is suspended, so that a leader that
/// slept through its own deposition knows how long it was away.
pub fn now() -> Time {
    let now = rustix::time::clock_gettime(ClockId::Boottime);
    let nanos = now.tv_sec as u64 * NANOS_PER_SECOND + now.tv_nsec as u64;
    Time::from_nanos(SKEW.get().map_or(nanos, |skew| skew.shown(nanos)))
}

/// How the steady clock of one process differs from its machine's: on one machine, tests show so that clocks need not
/// agree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skew {
    /// It shows so much more.
    pub ahead: Duration,
    /// And gains so many millionths.
    pub drift_ppm: i16,
}

static SKEW: OnceLock<Skew> = OnceLock::new();

/// Skews this process's clock, once, and before it is looked at.
pub fn skew(skew: Skew) {
    let _ = SKEW.set(skew);
}

impl Skew {
    /// What it shows when the machine's shows that.
    fn shown(self, nanos: u64) -> u64 {
        let ahead = i128::try_from(self.ahead.as_nanos()).unwrap_or(i128::MAX);
        let gained = i128::from(nanos) * i128::from(self.drift_ppm) / MILLION;
        u64::try_from(
            i128::from(nanos)
                .saturating_add(gained)
                .saturating_add(ahead),
        )
        .unwrap_or(0)
    }

    /// What the machine's shows when it shows that, or a little later.
    fn machine(self, nanos: u64) -> u64 {
        let ahead = i128::try_from(self.ahead.as_nanos()).unwrap_or(i128::MAX);
        let rest = i128::from(nanos).saturating_sub(ahead);
        let rate = MILLION + i128::from(self.drift_ppm);
        u64::try_from(rest.saturating_mul(MILLION) / rate + 1).unwrap_or(0)
    }
}

/// Rings at one moment of that clock.
///
/// A timer of the runtime would count in whole milliseconds, and not while the machine is suspended.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set: Option<Time>,
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const MILLION: i128 = 1_000_000;

impl Alarm {
    /// One that is not set.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self {
            timer: watched(timer)?,
            set: None,
        })
    }

    /// Rings at `at` and at no other time.
    pub fn set(&mut self, at: Option<Time>) -> io::Result<()> {
        if self.set == at {
            return Ok(());
        }
        // All zeros would disarm the timer, and no deadline lies at the origin: the machine has run since.
        let machine = |nanos: u64| SKEW.get().map_or(nanos, |skew| skew.machine(nanos));
        let nanos = at.map_or(0, |at| machine(at.as_nanos()).max(1));
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: (nanos / NANOS_PER_SECOND) as i64,
                tv_nsec: (nanos % NANOS_PER_SECOND) as i64,
            },
        };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        self.set = at;
        Ok(())
    }

    /// Waits until it rings.
    pub async fn ring(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            let mut count = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?)) {
                Ok(rung) => {
                    self.set = None;
                    return rung.map(drop);
                }
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_clock_rings_when_it_shows_the_time_and_hardly_later() {
        for drift_ppm in [-50, 0, 50, i16::MAX, i16::MIN] {
            let skew = Skew {
                ahead: Duration::from_secs(3_600),
                drift_ppm,
            };
            for machine in [
                1,
                86_400 * NANOS_PER_SECOND,
                900 * 86_400 * NANOS_PER_SECOND,
            ] {
                let shown = skew.shown(machine);
                let rings = skew.machine(shown);
                assert!(skew.shown(rings) >= shown, "{skew:?} {machine}");
                assert!(rings.abs_diff(machine) <= 2, "{skew:?} {machine}");
            }
        }
        let slow = Skew {
            ahead: Duration::ZERO,
            drift_ppm: -50,
        };
        assert_eq!(slow.shown(20_000_000), 19_999_000);
    }

    #[tokio::test]
    async fn an_alarm_rings_at_its_time_and_not_before() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(now() + Duration::from_secs(3_600))).unwrap();
        let at = now() + Duration::from_millis(3);
        alarm.set(Some(at)).unwrap();
        alarm.ring().await.unwrap();
        assert!(now() >= at);
        // The past rings at once, and the same moment again.
        for _ in 0..2 {
            alarm.set(Some(at)).unwrap();
            alarm.ring().await.unwrap();
        }
    }
}
