use std::io;
use std::os::fd::OwnedFd;

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
    Time::from_nanos(now.tv_sec as u64 * NANOS_PER_SECOND + now.tv_nsec as u64)
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
        let nanos = at.map_or(0, |at| at.as_nanos().max(1));
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
    use std::time::Duration;

    use super::*;

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
