//! A small change of a configuration, from the operator's command to all members.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bellwether_lab::farm::{Farm, PATIENCE};
use bellwether_lab::{Lab, until};

use super::trial::{Round, Trial, milliseconds};
use crate::bench::Bench;
use crate::bench::spread::Spread;
use crate::bench::table::{Table, Target};

const MEMBERS: usize = 8;
const CHANGED: usize = 10 << 10;

/// 1 × 8 with the default settings.
pub(super) fn run(bench: &Bench) -> Result<Vec<Target>> {
    let mut lab = Lab::open()?;
    let farm = Farm::set(&mut lab, bench.ours.program(), 1, MEMBERS, |_| {
        String::new()
    })?;
    let mut trial = Trial::new(farm, &[])?;
    trial.write("configuration", CHANGED)?;
    trial.publish()?;
    let switches = trial.switches()?;
    let sync = sync_cost(trial.farm.lab.folder())?;
    let (mut rounds, mut lives) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        trial.write("configuration", CHANGED)?;
        let round = trial.publish()?;
        let moments = switches.of_each(PATIENCE)?;
        let last = moments.last().context("somebody switched")?;
        lives.push(milliseconds(*last - round.began));
        rounds.push(round);
    }
    let title = format!(
        "a change of {} KiB, 1 × {MEMBERS}, default settings",
        CHANGED >> 10
    );
    let mut table = Table::new(&title, &["from … to", "runs", "ms", "p99 ms"]);
    let mut row = |what: &str, spread: &Spread| {
        table.row(&[
            what.to_owned(),
            spread.len().to_string(),
            spread.to_string(),
            format!("{:.1}", spread.percentile(99)),
        ]);
    };
    for (one, other, what) in [
        ("created", "planned", "job created … assignment ready"),
        ("planned", "sent", "ready … leaders told"),
        (
            "sent",
            "decided",
            "leaders told … all members staged and reported",
        ),
        ("decided", "finished", "decided … all live and reported"),
    ] {
        row(what, &spread(&rounds, one, other)?);
    }
    row("`publish` … live everywhere", &Spread::new(lives));
    row("floor: one fsync of this disk", &sync);
    table.print();
    let syncs = syncs_on_path(&mut trial)?;
    let staged = spread(&rounds, "sent", "decided")?;
    Ok(vec![
        Target::new(
            "10 KiB, 1 × 8, staged and reported, p99 ms",
            staged.percentile(99),
            250.0,
        ),
        Target::new("fsyncs on a node's path", syncs, 4.0),
    ])
}

fn spread(rounds: &[Round], one: &str, other: &str) -> Result<Spread> {
    let spans = rounds.iter().map(|round| round.between(one, other));
    Ok(Spread::new(spans.collect::<Result<_>>()?))
}

/// Milliseconds that a synced page takes where the nodes keep theirs.
fn sync_cost(folder: &Path) -> Result<Spread> {
    let mut file = File::create(folder.join("synced"))?;
    let mut spans = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_all()?;
        spans.push(milliseconds(began.elapsed()));
    }
    Ok(Spread::new(spans))
}

/// How often a member syncs from the announcement of a change until that is live, as the kernel sees it.
fn syncs_on_path(trial: &mut Trial<'_>) -> Result<f64> {
    let leader = trial.farm.leader(0)?;
    let member = (leader + 1) % MEMBERS;
    let program = trial.farm.nodes[member].program.as_ref();
    let id = program.context("it runs")?.id().to_string();
    let log = trial.farm.lab.folder().join("syncs");
    let mut tracer = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=fsync,fdatasync,syncfs,sync_file_range",
            "-p",
            &id,
            "-o",
        ])
        .arg(&log)
        .spawn()
        .context("strace counts what a node syncs")?;
    let threads = |id: &str| std::fs::read_dir(format!("/proc/{id}/task"));
    let traced = |thread: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        std::io::Result::Ok(!status.contains("TracerPid:\t0"))
    };
    until("all threads are traced", PATIENCE, || {
        let all =
            threads(&id).and_then(|mut all| all.try_fold(true, |so, one| Ok(so & traced(one)?)));
        all.unwrap_or(false)
    })?;
    trial.write("configuration", CHANGED)?;
    trial.publish()?;
    // SAFETY: it sends a signal to a process that was not waited for yet.
    unsafe { libc::kill(i32::try_from(tracer.id())?, libc::SIGINT) };
    tracer.wait()?;
    let text = std::fs::read_to_string(&log)?;
    let begun = text
        .lines()
        .filter(|line| line.contains("sync") && !line.contains("resumed"));
    let count = begun.count();
    ensure!(count > 0, "a node that syncs nothing keeps nothing");
    Ok(count as f64)
}
