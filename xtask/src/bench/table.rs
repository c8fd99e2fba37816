//! Tables as Markdown, and the targets below them.

use std::fmt::Write;

/// A table whose first column is text and whose others are figures.
#[derive(Debug)]
pub(super) struct Table(String);

impl Table {
    pub(super) fn new(title: &str, columns: &[&str]) -> Self {
        let rule = std::iter::once("---")
            .chain(std::iter::repeat_n("---:", columns.len() - 1))
            .collect::<Vec<_>>();
        Self(format!(
            "### {title}\n\n| {} |\n| {} |\n",
            columns.join(" | "),
            rule.join(" | ")
        ))
    }

    pub(super) fn row(&mut self, cells: &[String]) {
        let _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }

    pub(super) fn print(&self) {
        println!("{}", self.0);
    }
}

/// What was promised: a value that must not exceed its limit.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) promise: String,
    pub(super) value: f64,
    pub(super) limit: f64,
}

impl Target {
    pub(super) fn new(promise: impl Into<String>, value: f64, limit: f64) -> Self {
        Self {
            promise: promise.into(),
            value,
            limit,
        }
    }

    fn is_met(&self) -> bool {
        self.value <= self.limit
    }

    fn line(&self) -> String {
        let mark = if self.is_met() { "PASS" } else { "MISS" };
        format!(
            "- {mark} {}: {} against at most {}",
            self.promise,
            number(self.value),
            number(self.limit)
        )
    }
}

pub(super) fn print_targets(targets: &[Target]) {
    for target in targets {
        println!("{}", target.line());
    }
    println!();
}

/// With separators when it is large, with three significant digits when it is not.
pub(super) fn number(value: f64) -> String {
    if value >= 1000.0 {
        let digits = format!("{value:.0}");
        let groups: Vec<&str> = digits
            .as_bytes()
            .rchunks(3)
            .rev()
            .map(|d| std::str::from_utf8(d).unwrap_or(""))
            .collect();
        return groups.join(",");
    }
    let digits = if value >= 100.0 || value.fract() == 0.0 {
        0
    } else if value >= 10.0 {
        2
    } else {
        4
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_says_so() {
        assert_eq!(
            Target::new("a", 1.0, 1.0).line(),
            "- PASS a: 1 against at most 1"
        );
        assert_eq!(
            Target::new("a", 1.01, 1.0).line(),
            "- MISS a: 1.0100 against at most 1"
        );
        assert!(!Target::new("a", f64::NAN, 1.0).is_met());
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [1234567.0, 1000.0, 999.4, 12.345, 1.005, 0.01234].map(number),
            ["1,234,567", "1,000", "999", "12.35", "1.0050", "0.0123"]
        );
    }
}
