//! Sites published to every server of every segment, whatever dies on the way.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use bellwether_lab::farm::PATIENCE;
use bellwether_lab::in_lab;

use crate::sites::{MIB, job_is, launch, over, site, slow, start, under_way};

/// ARCH-01, CGRP-03, JOB-02, JOB-06, COMMIT-01: live everywhere, by changed bytes alone, and back in one step.
#[test]
fn a_site_is_published_updated_and_rolled_back_on_every_node_of_every_segment() {
    in_lab(|lab| {
        let farm = start(lab, 2, 3)?;
        farm.define(&[])?;
        let (first, second) = (
            site(farm.lab.folder(), 1, MIB)?,
            site(farm.lab.folder(), 2, 0)?,
        );
        farm.publish(&first)?;
        farm.serves(&first)?;
        farm.publish(&second)?;
        farm.serves(&second)?;
        farm.run(&["rollback", "shop"])?;
        farm.serves(&first)?;
        let status = farm.run(&["status"])?;
        let nodes = status["nodes"].as_array().context("nodes")?;
        let versions: Vec<&str> = nodes
            .iter()
            .filter_map(|node| node["serves"][0]["version"].as_str())
            .collect();
        ensure!(
            versions.len() == 6 && versions.windows(2).all(|pair| pair[0] == pair[1]),
            "{status:#}"
        );
        Ok(())
    });
}

/// JOB-02, COMMIT-01: this program's own sources, as they are, with modes and links; then some of everything changed.
#[test]
fn real_trees_are_served_as_they_are_and_come_back() {
    in_lab(|lab| {
        let farm = start(lab, 2, 2)?;
        farm.define(&[])?;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let [old, new] = ["old", "new"].map(|name| farm.lab.folder().join(name));
        for tree in [&old, &new] {
            fs::create_dir(tree)?;
            for part in ["core", "docs", "packaging"] {
                let mut copy = Command::new("cp");
                copy.arg("-a").arg(sources.join(part)).arg(tree);
                ensure!(copy.status()?.success(), "cp of {part}");
            }
            symlink("docs/mctp.md", tree.join("link"))?;
        }
        fs::remove_file(new.join("link"))?;
        symlink("docs", new.join("link"))?;
        fs::set_permissions(new.join("docs/mctp.md"), Permissions::from_mode(0o750))?;
        fs::rename(new.join("core/types"), new.join("core/values"))?;
        fs::remove_file(new.join("docs/glossary.md"))?;
        fs::create_dir(new.join("empty"))?;
        let glossary = fs::read(old.join("docs/glossary.md"))?;
        fs::write(
            new.join("docs/election.md"),
            [&glossary[..], b"more"].concat(),
        )?;
        for tree in [&old, &new] {
            farm.publish(tree)?;
            farm.serves(tree)?;
        }
        farm.run(&["rollback", "shop"])?;
        farm.serves(&old)
    });
}

/// What an operator sees while content is on its way: bytes that arrive, how long they take yet, and who lags.
#[test]
fn a_job_under_way_tells_its_pace_and_who_is_waited_for() {
    in_lab(|lab| {
        let farm = start(lab, 1, 3)?;
        farm.define(&[])?;
        slow(&farm)?;
        let tree = site(farm.lab.folder(), 1, 32 * MIB)?;
        let job = launch(&farm, &tree)?;
        job_is(&farm, &job, "members tell how far they are", |job| {
            let segment = &job["segments"][0];
            let member = &segment["slowest"][0];
            let is_on_its_way = member["received"].as_u64() > Some(0)
                && member["received"].as_u64() < member["needed"].as_u64();
            let moves = |what: &str| segment[what].as_u64() > Some(0);
            is_on_its_way && moves("rate") && moves("wire_rate") && moves("left_ms")
        })?;
        let ended = over(&farm, &job)?;
        ensure!(ended["status"] == "completed", "{ended:#}");
        Ok(())
    });
}

/// ARCH-11, TREE-24: a leader dies while content is on its way; the rest goes live without it, and it catches up by
/// itself.
#[test]
fn a_leader_killed_in_mid_publish_holds_up_nobody_and_catches_up() {
    in_lab(|lab| {
        let mut farm = start(lab, 2, 3)?;
        farm.define(&["--quorum-after", "60%"])?;
        let first = site(farm.lab.folder(), 1, 0)?;
        farm.publish(&first)?;
        farm.serves(&first)?;
        slow(&farm)?;
        let second = site(farm.lab.folder(), 2, 16 * MIB)?;
        let job = launch(&farm, &second)?;
        under_way(&farm, &job)?;
        let leader = farm.leader(0)?;
        farm.kill(leader)?;
        over(&farm, &job)?;
        farm.serves(&second)?;
        farm.start_node(leader)?;
        farm.serves(&second)
    });
}

/// ARCH-11, CCM-12: the control server dies while content is on its way, and goes on where it was.
#[test]
fn a_control_server_killed_in_mid_publish_goes_on() {
    in_lab(|lab| {
        let mut farm = start(lab, 2, 2)?;
        farm.define(&[])?;
        slow(&farm)?;
        let tree = site(farm.lab.folder(), 1, 24 * MIB)?;
        let job = launch(&farm, &tree)?;
        under_way(&farm, &job)?;
        farm.restart_server()?;
        farm.serves(&tree)?;
        let ended = over(&farm, &job)?;
        ensure!(ended["status"] == "completed", "{ended:#}");
        Ok(())
    });
}

/// JOB-04: who was away has what it missed soon after it is back.
#[test]
fn a_node_that_was_away_is_brought_to_what_is_live() {
    in_lab(|lab| {
        let mut farm = start(lab, 1, 4)?;
        farm.define(&["--quorum-after", "60%"])?;
        let (first, second) = (
            site(farm.lab.folder(), 1, 0)?,
            site(farm.lab.folder(), 2, 0)?,
        );
        farm.publish(&first)?;
        let away = (farm.leader(0)? + 1) % 4;
        farm.kill(away)?;
        farm.heard()?;
        // The exit code says that one is missing.
        let second_tree = second.to_str().context("UTF-8")?;
        let ended = farm.begin(&["publish", "shop", second_tree])?.wait()?;
        ensure!(ended.code() == Some(6), "{ended}");
        farm.serves(&second)?;
        farm.start_node(away)?;
        farm.serves(&second)
    });
}

/// ARCH-17: what README promises first.
#[test]
fn the_demonstration_tells_its_story_to_the_end() {
    in_lab(|lab| {
        let segment = lab.segment()?;
        let hosts = lab.hosts(1, segment)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command.args(["demo", "--exit", "--data"]);
        command.arg(lab.folder().join("demo"));
        let mut demo = hosts[0].start(command)?;
        let ended = demo.wait()?;
        ensure!(ended.success(), "{ended}");
        demo.transcript()
            .await_line(0, "rollback   ", PATIENCE)
            .map(drop)
    });
}
