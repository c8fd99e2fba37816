//! Bytes and processor time of an update, for each pair of the corpus and for renames.

use anyhow::{Context, Result, ensure};

use super::cost::Cost;
use super::ours::sized;
use super::peers::{Case, Outcome, PEERS, ZSTD_3, ZSTD_19};
use super::spread::Spread;
use super::table::{Table, Target, number, print_targets};
use super::{Bench, shapes};
use crate::corpus::{self, Pair, model};
use crate::shell;

const EFFORTS: &[&str] = &["fast", "default", "max"];

pub(super) fn run(bench: &Bench) -> Result<()> {
    for pair in corpus::pairs(&[])? {
        if bench.wants(pair.name) {
            of_pair(bench, &pair).with_context(|| format!("pair {}", pair.name))?;
        }
    }
    if bench.wants("renames") {
        renames(bench)?;
    }
    Ok(())
}

struct Line {
    label: String,
    bytes: u64,
    cpu_s: Spread,
}

fn of_pair(bench: &Bench, pair: &Pair) -> Result<()> {
    let case = Case::new(pair, bench.empty(pair.name)?)?;
    let title = format!(
        "{}: {:.1} MB, {} files changed, {} added",
        pair.name,
        case.bytes as f64 / 1e6,
        case.changed.len(),
        case.added.len()
    );
    let mut ours = Vec::new();
    for effort in EFFORTS {
        ours.push(of_effort(bench, pair, effort)?);
    }
    let peers = of_peers(bench, &case)?;
    let best = &ours[EFFORTS.len() - 1];
    let mut table = Table::new(
        &title,
        &[
            "",
            "bytes",
            "of the tree",
            "× ours at max",
            "CPU s",
            "MB / CPU s",
        ],
    );
    for line in ours.iter().chain(&peers) {
        table.row(&[
            line.label.clone(),
            number(line.bytes as f64),
            format!("{:.3} %", 100.0 * line.bytes as f64 / case.bytes as f64),
            format!("{:.3}", line.bytes as f64 / best.bytes as f64),
            line.cpu_s.to_string(),
            number(case.bytes as f64 / 1e6 / line.cpu_s.median().max(1e-3)),
        ]);
    }
    table.print();
    print_targets(&targets(pair.name, &case, &ours, &peers));
    Ok(())
}

fn of_effort(bench: &Bench, pair: &Pair, effort: &str) -> Result<Line> {
    let folder = bench.empty("ours")?;
    let key = bench.ours.signing_key(&folder)?;
    let out = folder.join("assignment");
    let (mut bytes, mut cpu_s) = (None, Vec::new());
    for _ in 0..bench.runs {
        let _ = std::fs::remove_file(&out);
        let mut plan = bench.ours.plan(&pair.old, &pair.new, &out, effort);
        let (size, cost) = sized(plan.arg("--sign").arg(&key), &out)?;
        ensure!(
            bytes.is_none_or(|bytes| bytes == size),
            "two plans of the same trees differ in size"
        );
        bytes = Some(size);
        cpu_s.push(cost.cpu_s);
    }
    bench.ours.verify(&pair.old, &pair.new, &out, &folder)?;
    let bytes = bytes.context("at least one run")?;
    Ok(Line {
        label: format!("**bellwether {effort}**"),
        bytes,
        cpu_s: Spread::new(cpu_s),
    })
}

fn of_peers(bench: &Bench, case: &Case) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for peer in PEERS {
        if !peer.is_there() {
            eprintln!("xtask: left out, not installed: {}", peer.label);
            continue;
        }
        let (label, outcomes) = if peer.is_timed {
            let outcomes = (0..bench.runs)
                .map(|_| peer.measure(case))
                .collect::<Result<Vec<_>>>()?;
            (peer.label.to_owned(), outcomes)
        } else {
            let (outcome, is_cached) = bench.cache.get(&peer.key(case), || peer.measure(case))?;
            (
                format!("{}{}", peer.label, if is_cached { " (cached)" } else { "" }),
                vec![outcome],
            )
        };
        let cpu_s = outcomes
            .iter()
            .map(
                |Outcome {
                     cost: Cost { cpu_s, .. },
                     ..
                 }| *cpu_s,
            )
            .collect();
        lines.push(Line {
            label,
            bytes: outcomes[0].bytes,
            cpu_s: Spread::new(cpu_s),
        });
    }
    Ok(lines)
}

/// The promises of this pair. Where a goal was set on other data of the same kind, its ratio to the best peer there
/// is carried over.
fn targets(pair: &str, case: &Case, ours: &[Line], peers: &[Line]) -> Vec<Target> {
    let [fast, default, max] = ours else {
        return Vec::new();
    };
    let mut targets = Vec::new();
    if let Some(smallest) = peers.iter().min_by_key(|line| line.bytes) {
        let (bytes, least) = (max.bytes as f64, smallest.bytes as f64);
        let room = 512.0 + 4.0 * (case.changed.len() + case.added.len()) as f64;
        targets.push(Target::new(
            format!(
                "max, bytes: smallest peer ({}) + 512 + 4 a file",
                smallest.label
            ),
            bytes,
            least + room,
        ));
        let (of_best, why) = match pair {
            "binaries" => (0.85, "executables"),
            "pages" => (80.0 / 89.7, "80 KB where the best peer has 89.7"),
            "database" => (62.0 / 68.1, "62 KB where the best peer has 68.1"),
            _ => (f64::INFINITY, ""),
        };
        if of_best.is_finite() {
            targets.push(Target::new(
                format!("max, bytes ÷ smallest peer ({why})"),
                bytes / least,
                of_best,
            ));
        }
    }
    match pair {
        "bundle" => targets.push(Target::new("max, bytes", max.bytes as f64, 38_000.0)),
        "model" => targets.push(Target::new(
            "max, bytes ÷ bound",
            max.bytes as f64 / model::BOUND_BYTES as f64,
            1.005,
        )),
        "database" => {
            // 6 CPU s for 185 MiB.
            let limit = 6.0 * case.bytes as f64 / (185.0 * 1024.0 * 1024.0);
            targets.push(Target::new(
                "max, CPU s at 6 s for 185 MiB",
                max.cpu_s.median(),
                limit,
            ));
        }
        _ => {}
    }
    for (line, peer, bytes_max, speed_min) in
        [(default, ZSTD_19, 1.05, 5.0), (fast, ZSTD_3, 1.0, 1.5)]
    {
        let Some(peer) = peers.iter().find(|line| line.label == peer) else {
            continue;
        };
        let name = line.label.replace("**", "");
        let bytes = line.bytes as f64 / peer.bytes as f64;
        targets.push(Target::new(
            format!("{name}, bytes ÷ {}", peer.label),
            bytes,
            bytes_max,
        ));
        let time = line.cpu_s.median() / peer.cpu_s.median();
        targets.push(Target::new(
            format!("{name}, CPU time ÷ {}", peer.label),
            time,
            1.0 / speed_min,
        ));
    }
    targets
}

/// A tree in which only names changed: a folder at once, or every file by itself.
fn renames(bench: &Bench) -> Result<()> {
    let folder = bench.empty("renames")?;
    let count = bench.scaled(10_000);
    let old = folder.join("old");
    let names: Vec<String> = (0..count)
        .map(|n| format!("{:03}/file-{n:06}.txt", n / 100))
        .collect();
    shapes::small_files(&old.join("before"), &names, 2048, 1)?;

    let moved = folder.join("moved");
    shapes::small_files(&moved.join("after"), &names, 2048, 1)?;
    let moved_bytes = plan_size(bench, &old, &moved)?;

    let shuffled = folder.join("shuffled");
    let random_names = shapes::random_names(count, 2);
    shapes::small_files(&shuffled.join("before"), &random_names, 2048, 1)?;
    let shuffled_bytes = plan_size(bench, &old, &shuffled)?;
    let list = folder.join("names");
    std::fs::write(&list, random_names.join("\n"))?;
    shell::read(shell::command(["zstd", "-qq", "-f", "-19"]).arg(&list))?;
    let names_bytes = folder.join("names.zst").metadata()?.len();

    let mut table = Table::new(&format!("renames of {count} files"), &["", "bytes"]);
    table.row(&["a directory".into(), number(moved_bytes as f64)]);
    table.row(&[
        "every file, unpredictably".into(),
        number(shuffled_bytes as f64),
    ]);
    table.row(&[
        "the new names under zstd -19".into(),
        number(names_bytes as f64),
    ]);
    table.print();
    print_targets(&[
        Target::new("a directory renamed, bytes", moved_bytes as f64, 4096.0),
        Target::new(
            "every file renamed, bytes: names + 1 KB per 100 files",
            shuffled_bytes as f64,
            names_bytes as f64 + 10.0 * count as f64,
        ),
    ]);
    Ok(())
}

fn plan_size(bench: &Bench, old: &std::path::Path, new: &std::path::Path) -> Result<u64> {
    let folder = bench.empty("ours")?;
    let out = folder.join("assignment");
    let (bytes, _) = sized(&mut bench.ours.plan(old, new, &out, "max"), &out)?;
    bench.ours.verify(old, new, &out, &folder)?;
    Ok(bytes)
}
