//! Several measurements of one thing.

use std::fmt;

/// Never empty; shown as `median (minimum–maximum)`, or as the one value there is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spread(Vec<f64>);

impl Spread {
    pub(super) fn new(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a spread is of measurements");
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(super) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 {
            self.0[middle]
        } else {
            f64::midpoint(self.0[middle - 1], self.0[middle])
        }
    }

    /// The least value that so many percent of all do not exceed.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        self.0[(self.0.len() * percent).div_ceil(100).max(1) - 1]
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough digits for three significant ones.
        let digits = if self.median() >= 100.0 {
            0
        } else if self.median() >= 1.0 {
            2
        } else {
            4
        };
        write!(f, "{:.digits$}", self.median())?;
        match self.0.as_slice() {
            [_] => Ok(()),
            [first, .., last] => write!(f, " ({first:.digits$}–{last:.digits$})"),
            [] => unreachable!("a spread is never empty"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let ten = Spread::new((1..=10).map(f64::from).collect());
        assert_eq!(
            [1, 90, 91, 100].map(|percent| ten.percentile(percent)),
            [1.0, 9.0, 10.0, 10.0]
        );
        assert_eq!(Spread::new(vec![7.0]).percentile(90), 7.0);
    }

    #[test]
    fn the_median_stands_before_minimum_and_maximum() {
        assert_eq!(
            Spread::new(vec![3.0, 1.0, 2.0]).to_string(),
            "2.00 (1.00–3.00)"
        );
        assert_eq!(
            Spread::new(vec![0.5, 0.25]).to_string(),
            "0.3750 (0.2500–0.5000)"
        );
        assert_eq!(Spread::new(vec![123.4]).to_string(), "123");
    }
}
