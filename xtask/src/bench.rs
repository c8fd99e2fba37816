//! `cargo xtask bench NAME`: ours beside every peer, on the same machine in the same run, as Markdown on stdout.
//!
//! Ours is measured as its users run it, through the release binary's command line; peers likewise. What counts is
//! processor time, user and system, of the process and its children (`wait4`): other work on the machine disturbs it
//! least, and single-threaded peers are compared with all our threads added up. Where the promise is about waiting
//! (`apply`, `switch`, `scan`), the clock on the wall is shown as well and named as such.
//!
//! A benchmark library would repeat a function until its mean is steady. These are programs of seconds to minutes whose
//! size of output matters as much as their time, and few honest runs with their spread say more.

mod adaptive;
mod apply;
mod cache;
mod cost;
mod delta;
mod election;
mod endtoend;
mod memory;
mod multicast;
mod ours;
mod peers;
mod scan;
mod shapes;
mod simulated;
mod spread;
mod switch;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{packages, shell};
use ours::Ours;

/// How a benchmark is run.
struct Bench {
    /// Measurements of each cheap thing; dear ones are measured once.
    runs: usize,
    /// Fraction of the full size, for a first look.
    scale: f64,
    /// Only cases whose name is among these, if any are.
    only: Vec<String>,
    ours: Ours,
    /// Empty at the start, on the file system of the workspace; left for inspection until the next run.
    folder: PathBuf,
    cache: cache::Cache,
}

impl Bench {
    fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == case)
    }

    fn scaled(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(1)
    }

    /// A new empty folder below ours.
    fn empty(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

pub(crate) fn run(words: &[String]) -> Result<()> {
    let (name, options) = words
        .split_first()
        .context("which? delta apply switch scan memory election multicast endtoend")?;
    let benchmark = match name.as_str() {
        "delta" => delta::run,
        "apply" => apply::run,
        "switch" => switch::run,
        "scan" => scan::run,
        "memory" => memory::run,
        "election" => election::run,
        "multicast" => multicast::run,
        "endtoend" => endtoend::run,
        other => bail!("no such benchmark: {other}"),
    };
    let bench = parse(name, options)?;
    packages::ensure(packages::FOR_BENCH)?;
    println!("{}", heading(name, options)?);
    benchmark(&bench)
}

fn parse(name: &str, options: &[String]) -> Result<Bench> {
    let mut runs = match name {
        // Chance decides how old the last heartbeat is when a leader dies.
        "election" => 50,
        // Of what takes a second; promises are of 99 in a hundred.
        "endtoend" => 100,
        _ => 3,
    };
    let (mut scale, mut only, mut fresh, mut binary) = (1.0, Vec::new(), false, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut value = || {
            options
                .next()
                .with_context(|| format!("{option} wants a value"))
        };
        match option.as_str() {
            "--runs" => runs = value()?.parse()?,
            "--scale" => scale = value()?.parse()?,
            "--only" => only = value()?.split(',').map(str::to_owned).collect(),
            "--binary" => binary = Some(PathBuf::from(value()?)),
            "--fresh" => fresh = true,
            other => bail!("no such option: {other}"),
        }
    }
    if runs == 0 || !(scale > 0.0 && scale <= 1.0) {
        bail!("--runs is at least 1, --scale lies above 0 and at most at 1");
    }
    let target = shell::root().join("target");
    let ours = Ours::new(binary)?;
    let cache = cache::Cache::new(target.join("bench-cache"), fresh)?;
    let bench = Bench {
        runs,
        scale,
        only,
        ours,
        folder: target.join("bench").join(name),
        cache,
    };
    bench.empty("")?;
    Ok(bench)
}

/// Command, machine and versions: without them a figure means nothing.
fn heading(name: &str, options: &[String]) -> Result<String> {
    let words: String = options.iter().map(|word| format!(" {word}")).collect();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .unzip()
        .1;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = shell::read(&mut shell::command(["uname", "-r"]))?;
    let commit = shell::read(
        shell::command(["git", "describe", "--always", "--dirty"]).current_dir(shell::root()),
    );
    let versions = packages::versions(packages::FOR_BENCH).join(", ");
    Ok(format!(
        "`cargo xtask bench {name}{words}` at {}; {cores} × {}, Linux {}; {versions}.\n",
        commit.as_deref().unwrap_or("an unknown commit").trim(),
        processor.unwrap_or("unknown processor"),
        kernel.trim(),
    ))
}
