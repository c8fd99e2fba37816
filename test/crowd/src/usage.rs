use std::time::Duration;

use anyhow::{Context, Result};

/// What a process used.
pub(crate) struct Usage {
    pub(crate) processor: Duration,
    pub(crate) resident_bytes: u64,
}

/// Ticks of the kernel in a second, as it shows them to programs everywhere.
const TICKS: f64 = 100.0;

impl Usage {
    pub(crate) fn of(pid: &str) -> Result<Self> {
        let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        let (stat, status) = (read("stat")?, read("status")?);
        let (_, fields) = stat.rsplit_once(')').context("its name")?;
        // User and system time are the 14th and 15th field of all.
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident
            .context("its memory")?
            .trim()
            .trim_end_matches(" kB");
        Ok(Self {
            processor: Duration::from_secs_f64(ticks / TICKS),
            resident_bytes: kilobytes.parse::<u64>()? << 10,
        })
    }
}
