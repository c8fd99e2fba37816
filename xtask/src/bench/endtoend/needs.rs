//! Nodes that need different things, and nodes that missed some.

use anyhow::{Context, Result, ensure};
use bellwether_lab::farm::{Farm, PATIENCE, SITE};
use bellwether_lab::{Host, Lab, Shape, until};
use serde_json::Value;

use super::large::{RATE, sent_bytes};
use super::trial::Trial;
use crate::bench::Bench;
use crate::bench::table::{Table, Target};

const MEMBERS: usize = 8;
const FILM: usize = 16 << 20;
/// Of each version, what is new.
const SCENE: usize = 256 << 10;
const MIB: f64 = 1_048_576.0;

/// Half a segment on the version before, the rest on the one before that and on nothing; one job brings all to the same.
pub(super) fn variants(bench: &Bench) -> Result<Vec<Target>> {
    let mut lab = Lab::open()?;
    let farm = Farm::start(&mut lab, bench.ours.program(), 1, MEMBERS)?;
    // Without a limit of the links it is that of the receivers' processors, and how often they miss frames.
    for node in &farm.nodes {
        farm.lab.shape(&node.host, Shape::rate(RATE))?;
    }
    farm.run(&["site", "create", SITE, "--quorum-before", "100%"])?;
    farm.run(&[
        "group", "create", "in-it", "--site", SITE, "--label", "in=yes",
    ])?;
    let (older, nothing) = ([4, 5], [6, 7]);
    let mut trial = Trial::of(farm)?;
    trial.write("film", FILM)?;
    for place in (0..4).chain(older) {
        label(&trial.farm, place, "in=yes")?;
    }
    trial.publish()?;
    for place in older {
        label(&trial.farm, place, "in-")?;
    }
    trial.patch("film", 1 << 20, SCENE)?;
    trial.publish()?;
    // While they are away nothing is brought to them; the next job waits for them.
    for place in older.into_iter().chain(nothing) {
        trial.farm.kill(place)?;
    }
    trial.farm.heard()?;
    for place in older.into_iter().chain(nothing) {
        label(&trial.farm, place, "in=yes")?;
    }
    trial.patch("film", 3 << 20, SCENE)?;
    let tree = trial.tree.to_str().context("a name in UTF-8")?.to_owned();
    let job = trial.farm.run(&["publish", SITE, &tree, "--detach"])?;
    let job = job["jobs"][0]["name"].as_str().context("a job")?.to_owned();
    until("the job waits", PATIENCE, || {
        show(&trial.farm, &job)["status"] == "deferred"
    })?;
    for place in older.into_iter().chain(nothing) {
        trial.farm.start_node(place)?;
    }
    trial.farm.heard()?;
    let before = (sent_bytes(&trial.farm)?, sent(&trial.farm.control)?);
    trial.farm.serves(&trial.tree)?;
    let after = (sent_bytes(&trial.farm)?, sent(&trial.farm.control)?);
    let shown = show(&trial.farm, &job);
    ensure!(
        shown["live"] == MEMBERS || shown["done"] == MEMBERS,
        "one job for all: {shown:#}"
    );
    let whole = trial.len()? as f64;
    let (wire, uplink) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
    let mut table = Table::new(
        &format!(
            "1 × {MEMBERS}, links of {} Mbit/s: 4 nodes on the version before, 2 on the one before that, 2 on nothing",
            RATE / 1_000_000
        ),
        &["", "MiB", "× the largest single need"],
    );
    for (what, bytes) in [
        ("the largest single need: the whole site", whole),
        ("sent by all nodes", wire),
        ("sent by the control server", uplink),
    ] {
        let cells = [
            what.to_owned(),
            format!("{:.2}", bytes / MIB),
            format!("{:.3}", bytes / whole),
        ];
        table.row(&cells);
    }
    table.print();
    Ok(vec![Target::new(
        "mixed bases, bytes of the segment ÷ the largest need",
        wire / whole,
        1.15,
    )])
}

/// A node misses three versions, and comes back among others that have them.
pub(super) fn catch_up(bench: &Bench) -> Result<Vec<Target>> {
    const MISSED: usize = 3;
    let mut lab = Lab::open()?;
    let farm = Farm::start(&mut lab, bench.ours.program(), 1, 4)?;
    let mut trial = Trial::new(farm, &["--quorum-after", "60%"])?;
    trial.write("film", FILM)?;
    trial.publish()?;
    let away = (trial.farm.leader(0)? + 1) % 4;
    trial.farm.kill(away)?;
    trial.farm.heard()?;
    for version in 1..=MISSED {
        trial.patch("film", version * 2 * SCENE, SCENE)?;
        trial.publish_to_others()?;
    }
    let before = sent(&trial.farm.control)?;
    trial.farm.start_node(away)?;
    trial.farm.serves(&trial.tree)?;
    let uplink = (sent(&trial.farm.control)? - before) as f64;
    let needed = (MISSED * SCENE) as f64;
    let mut table = Table::new(
        &format!(
            "a node that missed {MISSED} versions of 256 KiB each, 3 neighbours that have them"
        ),
        &["", "MiB", "× what it missed"],
    );
    let cells = [
        "sent by the control server".to_owned(),
        format!("{:.3}", uplink / MIB),
        format!("{:.3}", uplink / needed),
    ];
    table.row(&cells);
    table.print();
    // What is left is words: certificates, notices, reports.
    Ok(vec![Target::new(
        "catching up, bytes of the control server ÷ what was missed",
        uplink / needed,
        0.05,
    )])
}

fn label(farm: &Farm<'_>, place: usize, label: &str) -> Result<()> {
    farm.run(&["node", "label", &farm.nodes[place].name, label])
        .map(drop)
}

fn show(farm: &Farm<'_>, job: &str) -> Value {
    farm.run(&["job", "show", job]).unwrap_or_default()["job"].clone()
}

fn sent(host: &Host) -> Result<u64> {
    Ok(host.counters()?.sent_bytes)
}
