use std::time::{SystemTime, UNIX_EPOCH};

use bellwether_scheduling::Moment;
use bellwether_types::Time;
use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970, by this machine's clock.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The same, as jobs count it.
pub(crate) fn moment() -> Moment {
    Moment(u64::try_from(now_ms()).unwrap_or(0))
}

/// This machine's steady clock, which goes on while it is suspended, as those of nodes do.
pub(crate) fn steady() -> Time {
    let now = clock_gettime(ClockId::Boottime);
    Time::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
