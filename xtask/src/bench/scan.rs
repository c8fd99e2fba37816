//! Reading a tree: an unchanged one by its fingerprints, a large one by its bytes.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::Result;

use super::cost::{self, Cost};
use super::spread::Spread;
use super::table::{Table, Target, print_targets};
use super::{Bench, shapes};
use crate::shell::command;

pub(super) fn run(bench: &Bench) -> Result<()> {
    if bench.wants("unchanged") {
        unchanged(bench)?;
    }
    if bench.wants("hash") {
        hash(bench)?;
    }
    Ok(())
}

fn unchanged(bench: &Bench) -> Result<()> {
    let folder = bench.empty("unchanged")?;
    let count = bench.scaled(100_000);
    let tree = folder.join("tree");
    shapes::small_files(&tree, &shapes::plain_names(count), 1024, 1)?;
    // What was changed a moment ago proves nothing by its times, and would rightly be hashed again.
    std::thread::sleep(Duration::from_secs(3));
    let cache = folder.join("scan-cache");
    let ours = || {
        cost::of(
            &mut bench
                .ours
                .scan(&tree, [OsStr::new("--cache"), cache.as_os_str()]),
        )
    };
    let peer = || {
        cost::of(
            command(["find"])
                .arg(&tree)
                .args(["-printf", "%s %T@ %i\n"]),
        )
    };
    // The first of each fills the caches: ours, and the kernel's.
    let _ = (ours()?, peer()?);
    let (mut our_costs, mut peer_costs) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs.max(5) {
        our_costs.push(ours()?);
        peer_costs.push(peer()?);
    }
    let ratio = report(
        &format!("an unchanged tree of {count} files"),
        &[
            ("**bellwether scan**", &our_costs),
            ("find -printf '%s %T@ %i'", &peer_costs),
        ],
    );
    print_targets(&[Target::new("scan, wall time ÷ find", ratio, 1.2)]);
    Ok(())
}

fn hash(bench: &Bench) -> Result<()> {
    let folder = bench.empty("hash")?;
    let bytes = bench.scaled(4 << 30);
    let tree = folder.join("tree");
    std::fs::create_dir(&tree)?;
    shapes::large_file(&tree.join("large"), bytes, 1, false)?;
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .to_string();
    let ours = || {
        cost::of(
            &mut bench
                .ours
                .scan(&tree, ["--no-cache", "--threads", &threads].map(OsStr::new)),
        )
    };
    // Reading, as we do: a map of the file saves the copy, and dies when the file shrinks. Both ways are shown.
    let read = || {
        cost::of(command(["b3sum", "--no-mmap", "--num-threads", &threads]).arg(tree.join("large")))
    };
    let mapped = || cost::of(command(["b3sum", "--num-threads", &threads]).arg(tree.join("large")));
    let _ = mapped()?;
    let mut costs = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..bench.runs {
        costs[0].push(ours()?);
        costs[1].push(mapped()?);
        costs[2].push(read()?);
    }
    let ratio = report(
        &format!(
            "hash of {:.2} GiB, {threads} threads",
            bytes as f64 / f64::from(1 << 30)
        ),
        &[
            ("**bellwether scan**", &costs[0]),
            ("b3sum", &costs[1]),
            ("b3sum --no-mmap", &costs[2]),
        ],
    );
    print_targets(&[Target::new("scan, wall time ÷ b3sum", ratio, 1.0 / 0.8)]);
    Ok(())
}

/// Prints, and returns the first line's wall time in terms of the second's.
fn report(title: &str, lines: &[(&str, &[Cost])]) -> f64 {
    let mut table = Table::new(title, &["", "wall s", "CPU s"]);
    let mut walls = Vec::new();
    for (label, costs) in lines {
        let wall = Spread::new(costs.iter().map(|cost| cost.wall_s).collect());
        let cpu = Spread::new(costs.iter().map(|cost| cost.cpu_s).collect());
        table.row(&[(*label).to_owned(), wall.to_string(), cpu.to_string()]);
        walls.push(wall.median());
    }
    table.print();
    walls[0] / walls[1]
}
