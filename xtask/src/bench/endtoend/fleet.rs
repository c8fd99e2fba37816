//! Sixteen nodes in four segments, whose clocks have nothing to do with each other.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bellwether_lab::Lab;
use bellwether_lab::farm::{Farm, PATIENCE};

use super::trial::{Trial, milliseconds};
use crate::bench::Bench;
use crate::bench::spread::Spread;
use crate::bench::table::{Table, Target};
use crate::random::Random;

const SEGMENTS: usize = 4;
const NODES: usize = 4;
/// A node's steady clock is ahead by so many milliseconds at most.
const AHEAD_MS: u64 = 3_600_000;
/// And gains or loses so many millionths at most.
const DRIFT_PPM: u64 = 50;

/// 4 × 4: changes published and rolled back.
pub(super) fn run(bench: &Bench) -> Result<Vec<Target>> {
    let mut lab = Lab::open()?;
    let farm = Farm::set(&mut lab, bench.ours.program(), SEGMENTS, NODES, skewed)?;
    let mut trial = Trial::new(farm, &[])?;
    trial.publish()?;
    let switches = trial.switches()?;
    let (mut lives, mut skews, mut backs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        trial.write("configuration", 10 << 10)?;
        for (spans, back) in [(&mut lives, false), (&mut backs, true)] {
            let round = match back {
                true => trial.rollback()?,
                false => trial.publish()?,
            };
            let moments = switches.of_each(PATIENCE)?;
            let (first, last) = moments.first().zip(moments.last()).context("switches")?;
            spans.push(milliseconds(*last - round.began));
            skews.push(milliseconds(*last - *first));
        }
    }
    let (lives, skews, backs) = (Spread::new(lives), Spread::new(skews), Spread::new(backs));
    let floor = Spread::new((0..bench.runs).map(|_| waking()).collect());
    let title = format!("a change of 10 KiB, {SEGMENTS} × {NODES}, clocks up to an hour apart");
    let mut table = Table::new(&title, &["", "runs", "ms", "p99 ms"]);
    for (what, spread) in [
        ("`publish` … live everywhere", &lives),
        ("`rollback` … the former live everywhere", &backs),
        ("first switch … last switch", &skews),
        ("floor: 16 threads woken at one instant", &floor),
    ] {
        table.row(&[
            what.to_owned(),
            spread.len().to_string(),
            spread.to_string(),
            format!("{:.1}", spread.percentile(99)),
        ]);
    }
    table.print();
    Ok(vec![
        Target::new(
            "10 KiB, 4 × 4, live everywhere, p99 ms",
            lives.percentile(99),
            1_500.0,
        ),
        Target::new("commit skew, median ms", skews.median(), 5.0),
        Target::new("commit skew, p99 ms", skews.percentile(99), 50.0),
        Target::new("rollback of the fleet, p99 ms", backs.percentile(99), 500.0),
    ])
}

/// The same for each place in every run.
fn skewed(place: usize) -> String {
    let mut random = Random(place as u64);
    let ahead_ms = random.next() % AHEAD_MS;
    let drift_ppm = (random.next() % (2 * DRIFT_PPM + 1)).cast_signed() - DRIFT_PPM.cast_signed();
    format!(
        "[timing]\nahead_ms = {ahead_ms}\ndrift_ppm = {drift_ppm}\n[timing.fast]\nheartbeat_ms = 100\n"
    )
}

/// Milliseconds from the first of sixteen threads that this machine wakes to the last.
fn waking() -> f64 {
    let all = SEGMENTS * NODES;
    let barrier = Arc::new(Barrier::new(all));
    let at = Instant::now() + Duration::from_millis(50);
    let threads: Vec<_> = (0..all)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                barrier.wait();
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                Instant::now()
            })
        })
        .collect();
    let woken = threads.into_iter().filter_map(|thread| thread.join().ok());
    let woken: Vec<Instant> = woken.collect();
    let first = woken.iter().min().copied().unwrap_or(at);
    milliseconds(woken.iter().max().copied().unwrap_or(at) - first)
}
