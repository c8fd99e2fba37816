//! A large change, over links that are the limit.

use anyhow::{Context, Result};
use bellwether_lab::farm::{Farm, PATIENCE};
use bellwether_lab::{Lab, Shape};

use super::trial::Trial;
use crate::bench::Bench;
use crate::bench::spread::Spread;
use crate::bench::table::{Table, Target};

const MEMBERS: usize = 8;
/// Bits in a second.
pub(super) const RATE: u64 = 50_000_000;
const MIB: u64 = 32;
/// The dear things are not done a hundred times.
const SHARE: usize = 20;

/// 1 × 8, new content that cannot be compressed.
pub(super) fn run(bench: &Bench) -> Result<Vec<Target>> {
    let size = bench.scaled(MIB << 20);
    let floor = size as f64 * 8.0 / RATE as f64;
    let (mut ready, mut whole, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    let mut lab = Lab::open()?;
    let farm = Farm::start(&mut lab, bench.ours.program(), 1, MEMBERS)?;
    for node in &farm.nodes {
        farm.lab.shape(&node.host, Shape::rate(RATE))?;
    }
    let mut trial = Trial::new(farm, &[])?;
    trial.publish()?;
    let switches = trial.switches()?;
    for _ in 0..bench.runs.div_ceil(SHARE) {
        trial.write("film", usize::try_from(size)?)?;
        let before = sent_bytes(&trial.farm)?;
        let round = trial.publish()?;
        let last = *switches.of_each(PATIENCE)?.last().context("switches")?;
        ready.push(round.until("planned", last)? / 1e3 / floor);
        whole.push((last - round.began).as_secs_f64() / floor);
        sent.push((sent_bytes(&trial.farm)? - before) as f64 / size as f64);
    }
    let (ready, whole, sent) = (Spread::new(ready), Spread::new(whole), Spread::new(sent));
    let title = format!(
        "{:.0} MiB of new content, 1 × {MEMBERS}, links of {} Mbit/s: S/B is {floor:.2} s",
        size as f64 / 1_048_576.0,
        RATE / 1_000_000
    );
    let mut table = Table::new(&title, &["", "runs", "×"]);
    for (what, spread) in [
        ("job ready … live everywhere, × S/B", &ready),
        ("`publish` … live everywhere, × S/B", &whole),
        ("bytes that nodes sent, × S", &sent),
    ] {
        table.row(&[
            what.to_owned(),
            spread.len().to_string(),
            spread.to_string(),
        ]);
    }
    table.print();
    Ok(vec![
        Target::new("32 MiB, 1 × 8, ready to live ÷ S/B", ready.median(), 1.25),
        Target::new("32 MiB, 1 × 8, publish to live ÷ S/B", whole.median(), 1.6),
    ])
}

/// By all nodes, as frames on their wires.
pub(super) fn sent_bytes(farm: &Farm<'_>) -> Result<u64> {
    let counters = farm.nodes.iter().map(|node| node.host.counters());
    counters.map(|counters| Ok(counters?.sent_bytes)).sum()
}
