//! How fast a cable is, and how long.

use std::time::Duration;

use anyhow::Result;

use crate::namespace::Namespace;

/// Both directions of a cable, each with a queue of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// None: as fast as the machine.
    pub rate_bits_per_s: Option<u64>,
    /// In each direction, so half of what it adds to a round trip. Only where [`crate::Lab::can_delay`].
    pub delay: Duration,
    /// What a port holds back before it drops, when there is a rate; 0: 50 ms at that rate, and at least 16 KiB.
    pub queue_bytes: u64,
}

impl Shape {
    pub fn rate(bits_per_s: u64) -> Self {
        Self {
            rate_bits_per_s: Some(bits_per_s),
            ..Self::default()
        }
    }

    pub fn delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// Lines for `tc -batch` that make the sending side of the interface so.
    pub(crate) fn lines(&self, interface: &str) -> String {
        let delay = format!("netem delay {}us limit 100000", self.delay.as_micros());
        let Some(rate) = self.rate_bits_per_s else {
            let root = if self.delay.is_zero() {
                "noqueue"
            } else {
                &delay
            };
            return format!("qdisc replace dev {interface} root {root}\n");
        };
        // What may go out in one piece: 10 ms' worth, lest the kernel's clock set the rate, and no less than a frame.
        let burst = (rate / 8 / 100).max(2048);
        let queue = match self.queue_bytes {
            0 => (rate / 8 / 20).max(16 * 1024),
            bytes => bytes,
        };
        let mut lines = format!(
            "qdisc replace dev {interface} root handle 1: tbf rate {rate}bit burst {burst} limit {queue}\n"
        );
        if !self.delay.is_zero() {
            lines += &format!("qdisc replace dev {interface} parent 1:1 {delay}\n");
        }
        lines
    }
}

/// Fails where the kernel cannot limit a rate.
pub(crate) fn probe_rate(switch: &Namespace) -> Result<()> {
    probe(switch, Shape::rate(1_000_000))
}

/// Fails where the kernel cannot delay.
pub(crate) fn probe_delay(switch: &Namespace) -> Result<()> {
    probe(switch, Shape::delay(Duration::from_millis(1)))
}

fn probe(switch: &Namespace, shape: Shape) -> Result<()> {
    let lines = shape.lines("lo") + &Shape::default().lines("lo");
    switch.run(&["tc", "-batch", "-"], &lines).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_goes_below_a_rate() {
        let shape = Shape {
            delay: Duration::from_micros(1500),
            ..Shape::rate(8_000_000)
        };
        assert_eq!(
            shape.lines("eth0"),
            "qdisc replace dev eth0 root handle 1: tbf rate 8000000bit burst 10000 limit 50000\n\
             qdisc replace dev eth0 parent 1:1 netem delay 1500us limit 100000\n"
        );
    }

    #[test]
    fn no_shape_takes_an_earlier_one_away() {
        assert_eq!(
            Shape::default().lines("eth0"),
            "qdisc replace dev eth0 root noqueue\n"
        );
    }
}
