//! What a transfer costs, in virtual time.

mod world;

use std::time::Duration;

use bellwether_multicast::{Finish, Outcome, Rate, Settings, Way};
use world::{Content, Network, World};

const S: u64 = 32 << 20;

struct Run {
    bytes: f64,
    makespan: f64,
    outcome: Outcome,
    world: World,
}

fn run(receivers: usize, size: u64, loss: u32, seed: u64) -> Run {
    let network = Network {
        loss,
        ..Network::default()
    };
    let settings = Settings {
        rate: Rate::Fixed(network.rate),
        finish: Finish::All { quorum: receivers },
        ..Settings::default()
    };
    let rate = network.rate;
    let mut world = World::new(receivers + 1, seed, network, settings);
    let content = world.add(Content::counted(size, 256 << 10, 1_432));
    world.lead(0);
    world.have(0, &content);
    let began = world.now;
    let job = world.job(&content, Way::Group);
    world.send(job);
    let outcome = world.run_to_end(Duration::from_secs(300));
    let took = world.now.since(began).as_secs_f64();
    Run {
        bytes: world.stats.bytes[&0] as f64 / size as f64,
        makespan: took / (size as f64 * 8.0 / rate as f64),
        outcome,
        world,
    }
}

/// Bytes at the sender, time and NACKs stay within these, for several seeds.
fn check(receivers: usize, loss: u32, bytes_max: f64, makespan_max: f64, nacks_max: f64) {
    for seed in 1..=3 {
        let run = run(receivers, S, loss, seed);
        let nacks = run.world.stats.nacks as f64 / f64::from(REPAIR_BLOCKS);
        let told = format!(
            "{receivers} receivers, {loss} millionths lost, seed {seed}: {:.4} x S sent in {:.4} x S/B, {nacks:.2} NACKs \
             for each repair block, {} other statuses",
            run.bytes, run.makespan, run.world.stats.statuses
        );
        println!("{told}");
        assert!(run.outcome.quorum, "{told}");
        assert!(
            run.bytes <= bytes_max && run.makespan <= makespan_max && nacks <= nacks_max,
            "{told}"
        );
        let control = run.world.stats.status_bytes as f64 / S as f64;
        assert!(control <= 0.005, "{told}: {control} x S of control traffic");
    }
}

/// Those of the head and of the data file.
const REPAIR_BLOCKS: u32 = 17;

#[test]
fn nothing_lost_costs_the_headers() {
    check(8, 0, 1.06, 1.07, 0.0);
}

#[test]
fn a_hundredth_lost_costs_little_more_than_a_hundredth() {
    check(8, 10_000, 1.08, 1.10, 3.0);
}

#[test]
fn a_twentieth_lost_costs_little_more_than_a_twentieth() {
    check(8, 50_000, 1.13, 1.17, 5.0);
}

#[test]
fn a_tenth_lost_costs_little_more_than_a_tenth() {
    check(8, 100_000, 1.22, 1.25, 8.0);
}

/// MCTP-14: one repair symbol mends what each of thirty lost.
#[test]
fn thirty_receivers_cost_hardly_more_than_eight() {
    check(30, 10_000, 1.10, 1.11, 3.0);
}

/// MCTP-12, ADV-05: NACKs of a thousand neither cost much nor come at once.
#[test]
fn a_thousand_receivers_do_not_drown_the_sender() {
    let run = run(1_000, S / 4, 10_000, 1);
    assert!(run.outcome.quorum);
    assert!(run.bytes <= 1.10, "{}", run.bytes);
    let nacks = &run.world.stats.nack_times;
    assert!(
        nacks.len() < 10 * (1 + REPAIR_BLOCKS as usize / 4),
        "{}",
        nacks.len()
    );
    let window = Duration::from_millis(100);
    let in_window = |(at, first): (usize, &bellwether_types::Time)| {
        nacks[at..]
            .iter()
            .take_while(|time| time.since(*first) < window)
            .count()
    };
    let most = nacks.iter().enumerate().map(in_window).max().unwrap();
    assert!(most <= 40, "{most} NACKs in {window:?}");
}
