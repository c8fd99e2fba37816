//! Anonymous memory at its peak: planning large trees, staging a large file.

use std::path::Path;

use anyhow::Result;

use super::cost::{self, Cost};
use super::ours::Site;
use super::table::{Table, Target, print_targets};
use super::{Bench, shapes};
use crate::shell::{self, command};

const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn run(bench: &Bench) -> Result<()> {
    if bench.wants("large") {
        large_tree(bench)?;
    }
    if bench.wants("many") {
        many_files(bench)?;
    }
    if bench.wants("stage") {
        stage(bench)?;
    }
    Ok(())
}

/// 10 GiB: one file of 4, some of a quarter, many of 1 MiB.
fn large_tree(bench: &Bench) -> Result<()> {
    let folder = bench.empty("large")?;
    let trees = ["old", "new"].map(|name| folder.join(name));
    for (tree, is_new) in trees.iter().zip([false, true]) {
        std::fs::create_dir_all(tree)?;
        shapes::large_file(&tree.join("disk.img"), bench.scaled(4 << 30), 1, is_new)?;
        for number in 0..12 {
            let file = tree.join(format!("film-{number:02}.bin"));
            shapes::large_file(
                &file,
                bench.scaled(256 << 20),
                100 + number,
                is_new && number % 3 == 0,
            )?;
        }
        for number in 0..bench.scaled(3072) {
            let file = tree.join(format!("image-{number:04}.bin"));
            shapes::large_file(&file, 1 << 20, 1000 + number, is_new && number % 16 == 0)?;
        }
    }
    let mut lines = Vec::new();
    for (effort, limit) in [("default", 512.0), ("max", 2048.0)] {
        lines.push((
            format!("plan of 10 GiB × {}, {effort}", bench.scale),
            plan(bench, &folder, &trees, effort)?,
            limit,
        ));
    }
    report("planning a large tree", &lines);
    bench.empty("large")?;
    Ok(())
}

fn many_files(bench: &Bench) -> Result<()> {
    let folder = bench.empty("many")?;
    let count = bench.scaled(100_000);
    let names = shapes::plain_names(count);
    let trees = ["old", "new"].map(|name| folder.join(name));
    shapes::small_files(&trees[0], &names, 4096, 1)?;
    // Every tenth file is another one.
    shapes::small_files(&trees[1], &names, 4096, 1)?;
    let other: Vec<String> = names.iter().step_by(10).cloned().collect();
    shapes::small_files(&trees[1], &other, 4096, 2)?;
    let nothing = folder.join("nothing");
    std::fs::create_dir(&nothing)?;
    let update = plan(bench, &folder, &trees, "default")?;
    let whole = plan(bench, &folder, &[nothing, trees[1].clone()], "default")?;
    let lines = [
        (format!("{count} files, a tenth changed"), update, 200.0),
        (format!("{count} files, all new"), whole, 200.0),
    ];
    report("planning many files", &lines);
    bench.empty("many")?;
    Ok(())
}

/// One file, its patch encrypted: memory, and time against the decoder of zstd.
fn stage(bench: &Bench) -> Result<()> {
    let folder = bench.empty("stage")?;
    let (old, new) = (folder.join("old"), folder.join("new"));
    for (tree, is_new) in [(&old, false), (&new, true)] {
        std::fs::create_dir_all(tree)?;
        shapes::large_file(&tree.join("large"), bench.scaled(2 << 30), 1, is_new)?;
    }
    let key = bench.ours.encryption_key(&folder)?;
    let assignment = folder.join("assignment");
    let mut make = bench.ours.plan(&old, &new, &assignment, "default");
    shell::read(make.arg("--encrypt").arg(&key))?;

    // zstd holds the old file in memory and can take no more than 2 GiB of it.
    let (old_file, new_file) = (old.join("large"), new.join("large"));
    let patch = folder.join("patch.zst");
    let mut base = std::ffi::OsString::from("--patch-from=");
    base.push(&old_file);
    shell::read(
        command(["zstd", "-qq", "-3", "--long=31"])
            .arg(&base)
            .arg(&new_file)
            .arg("-o")
            .arg(&patch),
    )?;

    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for run in 0..bench.runs {
        let site = Site::at(folder.join(format!("root-{run}")));
        std::fs::create_dir_all(folder.join(format!("root-{run}")))?;
        bench.ours.publish(&old, &site, &folder)?;
        ours.push(cost::of_memory(
            bench
                .ours
                .stage(&assignment, &site)
                .arg("--decrypt")
                .arg(&key),
        )?);
        let out = folder.join(format!("out-{run}"));
        let words = ["zstd", "-qq", "-d", "--long=31", "--memory=2048MB"];
        peer.push(cost::of_memory(
            command(words).arg(&base).arg(&patch).arg("-o").arg(&out),
        )?);
    }
    let median =
        |costs: &[Cost]| super::spread::Spread::new(costs.iter().map(|cost| cost.cpu_s).collect());
    let worst = |costs: &[Cost]| {
        costs
            .iter()
            .fold(Cost::default(), |worst, next| worst + *next)
            .anon_bytes_max as f64
            / MIB
    };
    let size = new_file.metadata()?.len() as f64 / MIB;
    let mut table = Table::new(
        &format!("staging one file of {size:.0} MiB"),
        &["", "RssAnon MiB", "CPU s"],
    );
    let ours_label = "**bellwether stage**, decrypted, verified, synced";
    for (label, costs) in [(ours_label, &ours), ("zstd -d --patch-from", &peer)] {
        table.row(&[
            label.into(),
            format!("{:.1}", worst(costs)),
            median(costs).to_string(),
        ]);
    }
    table.print();
    print_targets(&[
        Target::new("staging, RssAnon MiB", worst(&ours), 64.0),
        Target::new(
            "staging, CPU time ÷ zstd -d --patch-from",
            median(&ours).median() / median(&peer).median(),
            1.0,
        ),
    ]);
    bench.empty("stage")?;
    Ok(())
}

fn plan(
    bench: &Bench,
    folder: &Path,
    [old, new]: &[std::path::PathBuf; 2],
    effort: &str,
) -> Result<Cost> {
    cost::of_memory(
        &mut bench
            .ours
            .plan(old, new, &folder.join("assignment"), effort),
    )
}

/// Lines of (what, cost, most MiB).
fn report(title: &str, lines: &[(String, Cost, f64)]) {
    let mut table = Table::new(title, &["", "RssAnon MiB", "CPU s"]);
    let mut targets = Vec::new();
    for (label, cost, limit) in lines {
        let mib = cost.anon_bytes_max as f64 / MIB;
        table.row(&[
            label.clone(),
            format!("{mib:.1}"),
            format!("{:.2}", cost.cpu_s),
        ]);
        targets.push(Target::new(format!("{label}, RssAnon MiB"), mib, *limit));
    }
    table.print();
    print_targets(&targets);
}
