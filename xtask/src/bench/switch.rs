//! The switch: what the call costs, and what readers see.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::cost::{self, Cost};
use super::ours::Site;
use super::spread::Spread;
use super::table::{Table, Target, number, print_targets};
use super::{Bench, shapes};
use crate::shell;

/// Calls a size, for the spread of a call of some milliseconds.
const CALLS: usize = 20;

pub(super) fn run(bench: &Bench) -> Result<()> {
    if bench.wants("call") {
        call(bench)?;
    }
    if bench.wants("readers") {
        readers(bench)?;
    }
    Ok(())
}

/// Commits back and forth between two versions; each is planned and staged anew, which is not measured.
fn call(bench: &Bench) -> Result<()> {
    let mut table = Table::new(
        "the commit call, as a whole process",
        &["files", "wall ms", "CPU ms"],
    );
    let mut medians = Vec::new();
    for count in [100, bench.scaled(100_000)] {
        let folder = bench.empty(&format!("call-{count}"))?;
        let Releases { site, trees, .. } = two_releases(bench, &folder, count)?;
        let assignment = folder.join("assignment");
        let mut costs = Vec::new();
        for call in 0..CALLS {
            let (old, new) = (&trees[(call + 1) % 2], &trees[call % 2]);
            shell::read(&mut bench.ours.plan(old, new, &assignment, "fast"))?;
            bench.ours.staged(&assignment, &site)?;
            costs.push(cost::of(&mut bench.ours.commit(&site, None))?);
        }
        let wall_ms = milliseconds(&costs, |cost| cost.wall_s);
        table.row(&[
            count.to_string(),
            wall_ms.to_string(),
            milliseconds(&costs, |cost| cost.cpu_s).to_string(),
        ]);
        medians.push(wall_ms.median());
    }
    table.print();
    print_targets(&[Target::new(
        "wall time of the call, many files ÷ 100 files",
        medians[1] / medians[0],
        1.5,
    )]);
    Ok(())
}

fn milliseconds(costs: &[Cost], of: fn(&Cost) -> f64) -> Spread {
    Spread::new(costs.iter().map(|cost| of(cost) * 1e3).collect())
}

/// A site with two releases, the second live.
struct Releases {
    site: Site,
    trees: [PathBuf; 2],
    versions: [String; 2],
}

/// They differ in a mark that two files of each bear.
fn two_releases(bench: &Bench, folder: &Path, count: u64) -> Result<Releases> {
    let names = shapes::plain_names(count);
    let trees = ["one", "two"].map(|mark| folder.join(mark));
    for tree in &trees {
        shapes::small_files(tree, &names, 1024, 1)?;
        for file in MARKED {
            std::fs::write(tree.join(file), tree.as_os_str().as_encoded_bytes())?;
        }
    }
    let root = folder.join("root");
    std::fs::create_dir_all(&root)?;
    let site = Site::at(root);
    let first = bench.ours.publish(&trees[0], &site, folder)?;
    let assignment = folder.join("assignment");
    shell::read(&mut bench.ours.plan(&trees[0], &trees[1], &assignment, "fast"))?;
    let second = bench.ours.staged(&assignment, &site)?;
    shell::read(&mut bench.ours.commit(&site, None))?;
    Ok(Releases {
        site,
        trees,
        versions: [first, second],
    })
}

/// Read one after the other: a page and what it refers to.
const MARKED: [&str; 2] = ["page.html", "style.css"];

#[derive(Default)]
struct Seen {
    reads: u64,
    missing: u64,
    mixed: u64,
}

/// 10,000 switches, while one reader opens `live` once a request and another follows the path for every file.
fn readers(bench: &Bench) -> Result<()> {
    let folder = bench.empty("readers")?;
    let Releases { site, versions, .. } = two_releases(bench, &folder, 100)?;
    let switches = bench.scaled(10_000);
    let live = site.live();
    let is_over = AtomicBool::new(false);
    let (pinned, loose) = std::thread::scope(|scope| -> Result<_> {
        let pinned = scope.spawn(|| watch(&is_over, || pinned_request(&live)));
        let loose = scope.spawn(|| watch(&is_over, || request(&live)));
        let mut outcome = Ok(());
        for switch in 0..switches {
            outcome = cost::of(&mut bench.ours.rollback(&site, &versions[switch as usize % 2]))
                .map(|_| ());
            if outcome.is_err() {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        outcome?;
        Ok((
            pinned.join().ok().context("a reader died")?,
            loose.join().ok().context("a reader died")?,
        ))
    })?;
    let title = format!("{switches} switches under two readers");
    let mut table = Table::new(
        &title,
        &["reader", "requests of two files", "missing", "mixed"],
    );
    for (label, seen) in [
        ("opens `live` once a request", &pinned),
        ("follows the path for each file", &loose),
    ] {
        let figures = [seen.reads, seen.missing, seen.mixed].map(|figure| number(figure as f64));
        table.row(
            &[label.to_owned()]
                .into_iter()
                .chain(figures)
                .collect::<Vec<_>>(),
        );
    }
    table.print();
    print_targets(&[
        Target::new(
            "missing, either reader",
            (pinned.missing + loose.missing) as f64,
            0.0,
        ),
        Target::new(
            "mixed, reader that opens `live` once",
            pinned.mixed as f64,
            0.0,
        ),
    ]);
    Ok(())
}

/// Repeats a request until the switching is over.
fn watch(is_over: &AtomicBool, request: impl Fn() -> std::io::Result<[String; 2]>) -> Seen {
    let mut seen = Seen::default();
    while !is_over.load(Ordering::Relaxed) {
        seen.reads += 1;
        match request() {
            Ok([page, style]) if page == style => {}
            Ok(_) => seen.mixed += 1,
            Err(_) => seen.missing += 1,
        }
    }
    seen
}

/// The directory is opened once, and everything is read beneath what was opened.
fn pinned_request(live: &Path) -> std::io::Result<[String; 2]> {
    let release = File::open(live)?;
    // The same as openat(release, …), which std does not have.
    request(Path::new(&format!("/proc/self/fd/{}", release.as_raw_fd())))
}

fn request(folder: &Path) -> std::io::Result<[String; 2]> {
    let [page, style] = MARKED.map(|file| std::fs::read_to_string(folder.join(file)));
    Ok([page?, style?])
}
