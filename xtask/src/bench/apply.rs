//! Staging beside the live tree, against unpacking and against linking and patching by script.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::cost::{self, Cost};
use super::ours::Site;
use super::spread::Spread;
use super::table::{Table, Target, print_targets};
use super::{Bench, shapes};
use crate::shell::{self, command};

pub(super) fn run(bench: &Bench) -> Result<()> {
    if bench.wants("new") {
        new_files(bench)?;
    }
    if bench.wants("few") {
        few_changes(bench)?;
    }
    Ok(())
}

/// Everything is new: against `tar x` and `sync`.
fn new_files(bench: &Bench) -> Result<()> {
    let folder = bench.empty("new")?;
    let count = bench.scaled(100_000);
    let tree = folder.join("tree");
    shapes::small_files(&tree, &shapes::plain_names(count), 4096, 1)?;
    let tar = folder.join("tree.tar");
    shell::read(
        command(["tar", "-cf"])
            .arg(&tar)
            .arg("-C")
            .arg(&tree)
            .arg("."),
    )?;
    let assignment = plan(bench, &folder, &folder.join("nothing"), &tree)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for run in 0..bench.runs {
        // Fresh folders each time, and nothing deleted in between: ext4 creates files slowly after a mass deletion.
        let site = Site::at(made(folder.join(format!("root-{run}")))?);
        settle()?;
        ours.push(cost::of(&mut bench.ours.stage(&assignment, &site))?);
        let unpacked = made(folder.join(format!("unpacked-{run}")))?;
        settle()?;
        let script = "tar xf \"$1\" -C \"$2\" && sync";
        peer.push(cost::of(
            command(["sh", "-c", script, "sh"]).args([&tar, &unpacked]),
        )?);
    }
    let title = format!("staging {count} new files of 4 KiB");
    report(
        &title,
        &ours,
        &[("tar x; sync", &peer)],
        "staging, wall time ÷ tar x; sync",
        1.0,
    );
    bench.empty("new")?;
    Ok(())
}

/// Ten files change: against links to everything, and ten patches.
fn few_changes(bench: &Bench) -> Result<()> {
    let folder = bench.empty("few")?;
    let count = bench.scaled(100_000);
    let names = shapes::plain_names(count);
    let (old, new) = (folder.join("old"), folder.join("new"));
    for tree in [&old, &new] {
        shapes::small_files(tree, &names, 4096, 1)?;
    }
    let changed: Vec<&String> = names
        .iter()
        .step_by((names.len() / 10).max(1))
        .take(10)
        .collect();
    let patches = made(folder.join("patches"))?;
    let mut list = String::new();
    for (number, name) in changed.into_iter().enumerate() {
        let file = new.join(name);
        let mut bytes = std::fs::read(&file)?;
        bytes.splice(1000..1010, *b"something else");
        std::fs::write(&file, bytes)?;
        let patch = patches.join(number.to_string());
        let mut base = std::ffi::OsString::from("--patch-from=");
        base.push(old.join(name));
        shell::read(
            command(["zstd", "-qq", "-19"])
                .arg(base)
                .arg(&file)
                .arg("-o")
                .arg(&patch),
        )?;
        list.push_str(&format!("{} {name}\n", patch.display()));
    }
    let list_file = folder.join("list");
    std::fs::write(&list_file, list)?;

    let assignment = plan(bench, &folder, &old, &new)?;
    // Each run begins with a site of its own that has the old tree live.
    let sites = (0..bench.runs).map(|run| {
        let site = Site::at(made(folder.join(format!("root-{run}")))?);
        bench.ours.publish(&old, &site, &folder)?;
        Ok(site)
    });
    let sites = sites.collect::<Result<Vec<_>>>()?;
    let script = r#"cp -al "$1" "$2" && while read -r patch name; do
        zstd -q -d --patch-from="$1/$name" "$patch" -o "$2/$name.next" && mv "$2/$name.next" "$2/$name" || exit 1
    done < "$3""#;
    let (mut ours, mut peer, mut synced) = (Vec::new(), Vec::new(), Vec::new());
    for (run, site) in sites.iter().enumerate() {
        settle()?;
        ours.push(cost::of(&mut bench.ours.stage(&assignment, site))?);
        for (with_sync, costs) in [(false, &mut peer), (true, &mut synced)] {
            let next = folder.join(format!("next-{run}-{with_sync}"));
            settle()?;
            let script = if with_sync {
                format!("{script}; sync")
            } else {
                script.to_owned()
            };
            costs.push(cost::of(
                command(["sh", "-c", &script, "sh"]).args([&old, &next, &list_file]),
            )?);
        }
    }
    let title = format!("a release that changes 10 of {count} files");
    let peers: &[(&str, &[Cost])] = &[
        ("cp -al; zstd -d --patch-from", &peer),
        ("the same; sync", &synced),
    ];
    report(
        &title,
        &ours,
        peers,
        "staging, wall time ÷ cp -al and patches",
        0.8,
    );
    bench.empty("few")?;
    Ok(())
}

/// The promise is against the first of the peers.
fn report(title: &str, ours: &[Cost], peers: &[(&str, &[Cost])], promise: &str, limit: f64) {
    let mut table = Table::new(title, &["", "wall s", "CPU s", "wall ÷ ours"]);
    let our_wall = wall(ours).median();
    for (label, costs) in std::iter::once(&("**bellwether stage**", ours)).chain(peers) {
        let cpu = Spread::new(costs.iter().map(|cost| cost.cpu_s).collect());
        let ratio = format!("{:.2}", wall(costs).median() / our_wall);
        table.row(&[
            (*label).to_owned(),
            wall(costs).to_string(),
            cpu.to_string(),
            ratio,
        ]);
    }
    table.print();
    print_targets(&[Target::new(
        promise,
        our_wall / wall(peers[0].1).median(),
        limit,
    )]);
}

fn wall(costs: &[Cost]) -> Spread {
    Spread::new(costs.iter().map(|cost| cost.wall_s).collect())
}

fn plan(bench: &Bench, folder: &Path, old: &Path, new: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(old)?;
    let assignment = folder.join("assignment");
    shell::read(&mut bench.ours.plan(old, new, &assignment, "default"))?;
    Ok(assignment)
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// What others wrote before must not be charged to whoever syncs next.
fn settle() -> Result<()> {
    shell::read(&mut command(["sync"])).map(|_| ())
}
