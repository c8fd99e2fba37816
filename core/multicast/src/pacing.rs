use std::time::Duration;

use bellwether_types::Time;

/// Lets bytes go at a rate: what may go at once is bounded, and a late wake-up makes up for what it missed up to that
/// bound.
///
/// It counts when the link will have carried everything that was let go so far (the virtual finish time of a leaky
/// bucket), so no rounding is lost from one batch to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pacer {
    rate: u64,
    idle_from: Time,
}

/// What may be made up for after a late wake-up: as time on the link, and as bytes that every queue has room for.
const DEPTH: Duration = Duration::from_millis(10);
const DEPTH_BYTES: u64 = 256 << 10;
/// What goes at once, as time on the link.
const BATCH: Duration = Duration::from_millis(1);

impl Pacer {
    /// At so many bits in a second.
    pub(crate) const fn new(rate: u64) -> Self {
        Self {
            rate,
            idle_from: Time::ZERO,
        }
    }

    pub(crate) const fn rate(&self) -> u64 {
        self.rate
    }

    pub(crate) const fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    /// There was nothing to send until now: nothing is to be made up for.
    pub(crate) fn begin(&mut self, now: Time) {
        self.idle_from = self.idle_from.max(now);
    }

    /// May something go?
    pub(crate) fn is_open(&mut self, now: Time) -> bool {
        let depth = DEPTH.min(span_of(DEPTH_BYTES, self.rate));
        let made_up = Time::from_nanos(now.as_nanos().saturating_sub(depth.as_nanos() as u64));
        self.idle_from = self.idle_from.max(made_up);
        self.idle_from <= now
    }

    /// So many bytes went.
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.idle_from += span_of(bytes, self.rate);
    }

    /// When something may go again.
    pub(crate) const fn open_at(&self) -> Time {
        self.idle_from
    }

    /// How many frames of `bytes` go in one batch.
    pub(crate) fn batch(&self, bytes: u64) -> u16 {
        let nanos = span_of(bytes, self.rate).as_nanos().max(1);
        u16::try_from(BATCH.as_nanos() / nanos)
            .unwrap_or(u16::MAX)
            .clamp(FRAMES_MIN, FRAMES_MAX)
    }
}

/// Fewer are not worth a call to the kernel.
const FRAMES_MIN: u16 = 4;
/// More do not fit one call with segmentation offload: 64 segments, and 65,507 bytes.
const FRAMES_MAX: u16 = 44;

/// How long a link of `rate` bits in a second takes for `bytes`.
pub(crate) fn span_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_exactly_and_a_pause_is_made_up_for_only_a_little() {
        let mut pacer = Pacer::new(50_000_000);
        let mut now = Time::from_nanos(1_000_000_000);
        pacer.begin(now);
        let mut sent = 0;
        while now < Time::from_nanos(2_000_000_000) {
            while pacer.is_open(now) {
                let bytes = u64::from(pacer.batch(1_514)) * 1_514;
                pacer.spend(bytes);
                sent += bytes;
            }
            now = pacer.open_at();
        }
        let due = 50_000_000 / 8;
        assert!((due..due + 50_000).contains(&sent), "{sent}");
        let mut after_pause = 0;
        now += Duration::from_secs(5);
        while pacer.is_open(now) {
            pacer.spend(1_514);
            after_pause += 1_514;
        }
        assert!(
            after_pause <= 50_000_000 / 8 * 10 / 1_000 + 1_514,
            "{after_pause}"
        );
    }
}
