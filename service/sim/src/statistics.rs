use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::process::Kind;
use crate::watch::Cause;

/// What runs had in common and in particular; of several runs together when they are merged.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Statistics {
    /// What the segments did about what happened to them.
    pub recoveries: BTreeMap<Cause, Recoveries>,
    /// Times that somebody began to lead.
    pub reigns: u64,
    /// Of these, while the leader before was well, could be heard, and had not been asked to step down.
    pub false_reigns: u64,
    /// Datagrams sent, by kind.
    pub sent: BTreeMap<Kind, Traffic>,
    /// The most registrations that one segment sent in a second of a run.
    pub registrations_second_max: u64,
    /// Bytes a second that a segment had on the wire when it was settled and calm, headers included.
    pub calm_rate: Distribution,
    /// Simulated time, in hours.
    pub simulated_hours: f64,
    /// What happened, in all.
    pub events: u64,
}

/// From a disturbance until the segment had come to terms with it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Recoveries {
    /// How long it took, in milliseconds.
    pub took_ms: Distribution,
    /// How many nodes claimed meanwhile.
    pub claimants: Distribution,
    /// How many heartbeats and claims were multicast meanwhile.
    pub multicasts: Distribution,
    /// How many registrations, reports and questions for them were sent meanwhile.
    pub registrations: Distribution,
}

/// Datagrams of a kind.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Traffic {
    /// How many.
    pub datagrams: u64,
    /// Bytes on the wire, headers included.
    pub wire_bytes: u64,
}

/// Samples of a quantity.
#[derive(Debug, Clone, Default)]
pub struct Distribution(Vec<f64>);

impl Statistics {
    pub(crate) fn count(&mut self, kind: Kind, wire_len: usize) {
        let traffic = self.sent.entry(kind).or_default();
        traffic.datagrams += 1;
        traffic.wire_bytes += wire_len as u64;
    }

    /// Adds what another run had.
    pub fn merge(&mut self, other: Self) {
        for (cause, recoveries) in other.recoveries {
            let ours = self.recoveries.entry(cause).or_default();
            ours.took_ms.0.extend(recoveries.took_ms.0);
            ours.claimants.0.extend(recoveries.claimants.0);
            ours.multicasts.0.extend(recoveries.multicasts.0);
            ours.registrations.0.extend(recoveries.registrations.0);
        }
        for (kind, traffic) in other.sent {
            let ours = self.sent.entry(kind).or_default();
            ours.datagrams += traffic.datagrams;
            ours.wire_bytes += traffic.wire_bytes;
        }
        self.reigns += other.reigns;
        self.false_reigns += other.false_reigns;
        self.registrations_second_max = self
            .registrations_second_max
            .max(other.registrations_second_max);
        self.calm_rate.0.extend(other.calm_rate.0);
        self.simulated_hours += other.simulated_hours;
        self.events += other.events;
    }
}

impl Recoveries {
    pub(crate) fn add(
        &mut self,
        took: Duration,
        claimants: usize,
        multicasts: u32,
        registrations: u32,
    ) {
        self.took_ms.add(took.as_secs_f64() * 1e3);
        self.claimants.add(claimants as f64);
        self.multicasts.add(multicasts.into());
        self.registrations.add(registrations.into());
    }
}

impl Distribution {
    pub(crate) fn add(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// How many samples there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The least of the samples that so much of them does not exceed; nothing without samples.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> Option<[f64; N]> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: f64| {
            ((share * sorted.len() as f64).ceil() as usize)
                .saturating_sub(1)
                .min(last)
        };
        Some(shares.map(|share| sorted[at(share)]))
    }

    /// How much of the samples is at most `limit`; nothing without samples.
    pub fn share_up_to(&self, limit: f64) -> Option<f64> {
        let within = self.0.iter().filter(|sample| **sample <= limit).count();
        (!self.0.is_empty()).then(|| within as f64 / self.0.len() as f64)
    }
}

const SHARES: [f64; 5] = [0.0, 0.5, 0.9, 0.99, 1.0];

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Distribution", 6)?;
        fields.serialize_field("count", &self.count())?;
        let quantiles = self.quantiles(SHARES);
        for (index, name) in ["min", "median", "p90", "p99", "max"]
            .into_iter()
            .enumerate()
        {
            fields.serialize_field(name, &quantiles.map(|values| values[index]))?;
        }
        fields.end()
    }
}

/// Least, median, p90, p99 and greatest.
impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(values) = self.quantiles(SHARES) else {
            return f.write_str("nothing");
        };
        write!(f, "{:>7}", self.count())?;
        values
            .into_iter()
            .try_for_each(|value| write!(f, " {value:>10.1}"))
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            simulated_hours,
            events,
            reigns,
            false_reigns,
            ..
        } = self;
        writeln!(
            f,
            "{simulated_hours:.2} h simulated, {events} events, {reigns} reigns, {false_reigns} of them without need"
        )?;
        write!(
            f,
            "{:<34} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "", "count", "min", "median", "p90", "p99", "max"
        )?;
        for (cause, recoveries) in &self.recoveries {
            write!(f, "\n{:<34} {}", format!("{cause}, ms"), recoveries.took_ms)?;
            write!(f, "\n{:<34} {}", "  claimants", recoveries.claimants)?;
            write!(
                f,
                "\n{:<34} {}",
                "  heartbeats and claims", recoveries.multicasts
            )?;
            write!(
                f,
                "\n{:<34} {}",
                "  registrations and reports", recoveries.registrations
            )?;
        }
        if self.calm_rate.count() > 0 {
            write!(
                f,
                "\n{:<34} {}",
                "bytes/s of a calm segment", self.calm_rate
            )?;
        }
        write!(
            f,
            "\n{:<34} {:>10} {:>14}",
            "sent", "datagrams", "wire bytes"
        )?;
        for (kind, traffic) in &self.sent {
            write!(
                f,
                "\n  {:<32} {:>10} {:>14}",
                kind.to_string(),
                traffic.datagrams,
                traffic.wire_bytes
            )?;
        }
        if self.registrations_second_max > 0 {
            write!(
                f,
                "\n{} registrations in a segment's busiest second",
                self.registrations_second_max
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_and_not_between_them() {
        let samples = Distribution((1..=100).rev().map(f64::from).collect());
        assert_eq!(
            samples.quantiles(SHARES),
            Some([1.0, 50.0, 90.0, 99.0, 100.0])
        );
        assert_eq!(Distribution(vec![7.0]).quantiles(SHARES), Some([7.0; 5]));
        assert_eq!(Distribution::default().quantiles(SHARES), None);
        assert_eq!(samples.share_up_to(25.0), Some(0.25));
    }
}
