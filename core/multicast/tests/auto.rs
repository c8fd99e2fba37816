//! A rate that nobody gave, on links that nobody knows, in virtual time.

mod world;

use std::time::Duration;

use bellwether_multicast::{Finish, Outcome, Rate, Settings, Way};
use world::{Content, Network, World};

const MILLION: u64 = 1_000_000;

struct Run {
    /// The sender's bytes, as multiples of what was to be sent.
    bytes: f64,
    /// As multiples of what the slowest link takes for it.
    makespan: f64,
    outcome: Outcome,
}

/// Sends `size` bytes to 8 receivers, of which each takes `down` bits in a second, from one that sends `up`.
fn run(size: u64, up: u64, down: u64, loss: u32, seed: u64) -> Run {
    let network = Network {
        rate: up,
        loss,
        ..Network::default()
    };
    let settings = Settings {
        rate: Rate::Adaptive {
            floor: MILLION,
            // What the link at hand takes is never exceeded: its queue is the sender's own.
            ceiling: up,
        },
        finish: Finish::All { quorum: 8 },
        ..Settings::default()
    };
    let mut world = World::new(9, seed, network, settings);
    for receiver in 1..9 {
        world.nodes[receiver].down = Some(down);
    }
    let content = world.add(Content::counted(size, 256 << 10, 1_432));
    world.lead(0);
    world.have(0, &content);
    let began = world.now;
    let job = world.job(&content, Way::Group);
    world.send(job);
    let outcome = world.run_to_end(Duration::from_secs(600));
    let took = world.now.since(began).as_secs_f64();
    Run {
        bytes: world.stats.bytes[&0] as f64 / size as f64,
        makespan: took / (size as f64 * 8.0 / up.min(down) as f64),
        outcome,
    }
}

fn check(size: u64, up: u64, down: u64, loss: u32, bytes_max: f64, makespan_max: f64) {
    for seed in 1..=3 {
        let run = run(size, up, down, loss, seed);
        let told = format!(
            "{size} bytes, {up} up, {down} down, {loss} millionths lost, seed {seed}: {:.3} x S in {:.3} x S/B",
            run.bytes, run.makespan
        );
        println!("{told}");
        assert!(run.outcome.quorum, "{told}");
        assert!(
            run.bytes <= bytes_max && run.makespan <= makespan_max,
            "{told}"
        );
    }
}

/// MCTP-15.
#[test]
fn a_switch_that_drops_what_is_too_much_costs_little() {
    for (up, down, bytes_max, makespan_max) in [
        (100, 10, 1.2, 1.3),
        (100, 50, 1.15, 1.3),
        (1_000, 50, 1.15, 1.3),
        (1_000, 100, 1.2, 1.3),
        // Over before it is known.
        (1_000, 500, 1.35, 2.6),
    ] {
        check(
            32 << 20,
            up * MILLION,
            down * MILLION,
            0,
            bytes_max,
            makespan_max,
        );
    }
}

/// MCTP-15.
#[test]
fn a_hundredth_lost_at_random_costs_a_tenth_of_the_speed_at_most() {
    for (rate, size, makespan_max) in [(50, 32, 1.2), (100, 64, 1.2), (1_000, 256, 1.35)] {
        let rate = rate * MILLION;
        check(size << 20, rate, rate, 10_000, 1.08, makespan_max);
    }
}
