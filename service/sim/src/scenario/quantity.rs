use std::fmt;
use std::time::Duration;

use bellwether_machine::Random;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A span of time; in text a number and its unit: `150ms`, `0.2s`, `10h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

/// A span to be drawn; in text one span, or the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Between {
    /// The least.
    pub min: Span,
    /// The greatest.
    pub max: Span,
}

/// A share of a whole, 0 to 100 with up to four decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Percent(u32);

impl Span {
    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// So many microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(Duration::from_micros(micros))
    }
}

impl Between {
    /// One of the spans between, each as likely as another.
    pub fn draw(&self, random: &mut Random) -> Duration {
        self.min.0 + random.span(self.max.0 - self.min.0)
    }

    /// One of the spans between, short ones as likely as long ones: 1 to 2 ms as likely as 1 to 2 s.
    pub fn draw_evenly(&self, random: &mut Random) -> Duration {
        let min = self.min.0.max(Duration::from_nanos(1));
        let scale = self.max.0.as_nanos() / min.as_nanos();
        let octave = random.below(1 + u64::from(scale.max(1).ilog2()));
        let low = min.saturating_mul(1 << octave.min(31)).min(self.max.0);
        low + random.span((2 * low).min(self.max.0) - low)
    }
}

impl Percent {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many millionths.
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(ppm)
    }

    /// In millionths.
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

const UNITS: [(&str, f64); 6] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("min", 60.0),
    ("h", 3_600.0),
];

/// Longer than any run; the sum of a few fits into a [`Time`](bellwether_types::Time).
const SECS_MAX: f64 = 20.0 * 365.0 * 86_400.0;

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no span: a number and ns, us, ms, s, min or h, up to 20 years");
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, unit) = text.split_at(digits);
        let unit = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        let secs = number.parse::<f64>().map_err(|_| wrong())? * unit.1;
        if secs <= SECS_MAX {
            Ok(Self(Duration::from_secs_f64(secs)))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Between {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a span such as \"5s\", or two: [\"1s\", \"5s\"]"
        )]
        enum Form {
            One(String),
            Two(String, String),
        }
        let (min, max) = match Form::deserialize(deserializer)? {
            Form::One(one) => (one.clone(), one),
            Form::Two(min, max) => (min, max),
        };
        let min: Span = min.parse().map_err(D::Error::custom)?;
        let max: Span = max.parse().map_err(D::Error::custom)?;
        if min > max {
            return Err(D::Error::custom(format!("{min} is more than {max}")));
        }
        Ok(Self { min, max })
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        if (0.0..=100.0).contains(&percent) {
            Ok(Self((percent * 10_000.0).round() as u32))
        } else {
            Err(D::Error::custom(format!(
                "{percent} percent: it must be 0 to 100"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_units() {
        for (text, nanos) in [
            ("150ms", 150_000_000),
            ("0.2s", 200_000_000),
            ("1h", 3_600_000_000_000),
            ("7ns", 7),
        ] {
            assert_eq!(
                text.parse::<Span>().map(|span| span.0.as_nanos()),
                Ok(nanos),
                "{text}"
            );
        }
        for text in [
            "", "5", "s", "-1s", "1.2.3s", "1e9s", "1 s", "1000000h", "5d",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
