//! Sites published to every server of every segment, whatever dies on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bellwether_kit::farm::noise;
use bellwether_lab::farm::{Farm, PATIENCE};
use bellwether_lab::{Lab, Shape, in_lab, until};

/// Bits a second of nodes' links: what is sent takes a while then, and faults find it under way.
const RATE: u64 = 50_000_000;
const MIB: usize = 1 << 20;

/// A small site, of which each version changes a part; the last one is large.
fn site(folder: &Path, version: u64, film: usize) -> Result<PathBuf> {
    let root = folder.join(format!("site-{version}"));
    fs::create_dir_all(root.join("pages/deep"))?;
    for page in 0..40 {
        let of = if page % 8 == 0 { version } else { 0 };
        fs::write(
            root.join(format!("pages/{page}.html")),
            format!("page {page} of {of}\n").repeat(40),
        )?;
    }
    fs::write(root.join("pages/deep/logo.png"), noise(7, 64 << 10))?;
    if film > 0 {
        fs::write(root.join("film.mp4"), noise(version, film))?;
    }
    std::os::unix::fs::symlink("pages/0.html", root.join("index.html"))?;
    Ok(root)
}

/// JOB-02, JOB-06, COMMIT-01: live everywhere, by changed bytes alone, and back in one step.
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

/// ARCH-09: a leader dies while content is on its way; the rest goes live without it, and it catches up by itself.
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
        let mut publish = farm.begin(&[
            "publish",
            "shop",
            second.to_str().context("UTF-8")?,
            "--wait",
        ])?;
        under_way(&farm)?;
        let leader = farm.leader(0)?;
        farm.kill(leader)?;
        publish.wait()?;
        farm.serves(&second)?;
        farm.start_node(leader)?;
        farm.serves(&second)
    });
}

/// DB-02: the control server dies while content is on its way, and goes on where it was.
#[test]
fn a_control_server_killed_in_mid_publish_goes_on() {
    in_lab(|lab| {
        let mut farm = start(lab, 2, 2)?;
        farm.define(&[])?;
        slow(&farm)?;
        let tree = site(farm.lab.folder(), 1, 24 * MIB)?;
        farm.begin(&[
            "publish",
            "shop",
            tree.to_str().context("UTF-8")?,
            "--detach",
        ])?
        .wait()?;
        under_way(&farm)?;
        farm.restart_server()?;
        farm.serves(&tree)?;
        let over = until("the job is over", PATIENCE, || {
            let jobs = farm.run(&["job", "list"]).unwrap_or_default();
            jobs["items"][0]["status"] == "completed"
        });
        over.with_context(|| format!("{:#}", farm.run(&["job", "list"]).unwrap_or_default()))
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

fn start(lab: &mut Lab, segments: usize, nodes: usize) -> Result<Farm<'_>> {
    let program = Path::new(env!("CARGO_BIN_EXE_bellwether"));
    Farm::start(lab, program, segments, nodes)
}

/// What README promises first.
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

fn slow(farm: &Farm<'_>) -> Result<()> {
    for node in &farm.nodes {
        farm.lab.shape(&node.host, Shape::rate(RATE))?;
    }
    Ok(())
}

/// Waits until bytes of a job are on their way.
fn under_way(farm: &Farm<'_>) -> Result<()> {
    until("bytes are on their way", PATIENCE, || {
        let jobs = farm.run(&["job", "list", "--open"]).unwrap_or_default();
        let Some(name) = jobs["items"][0]["name"].as_str() else {
            return false;
        };
        let job = farm.run(&["job", "show", name]).unwrap_or_default();
        let segments = job["job"]["segments"].as_array();
        segments.is_some_and(|all| all.iter().any(|one| one["fetched"].as_u64() > Some(0)))
    })
}
