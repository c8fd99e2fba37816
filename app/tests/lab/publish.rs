//! Sites published to every server of every segment, whatever dies on the way.

use std::process::Command;

use anyhow::{Context, ensure};
use bellwether_lab::farm::PATIENCE;
use bellwether_lab::in_lab;

use crate::sites::{MIB, launch, over, site, slow, start, under_way};

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
