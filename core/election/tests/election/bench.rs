//! Distributions over many seeds: a few in every run of the tests, many by
//! `cargo test -p bellwether-election -- --ignored --nocapture figures`.

use std::time::Duration;

use bellwether_election::{Event, Profile};
use bellwether_machine::Random;

use crate::network::Network;
use crate::one::{MS, fast};

#[derive(Default)]
struct Figures {
    spans: Vec<Duration>,
    multicasts: Vec<u64>,
    unicasts: Vec<u64>,
    claimants: Vec<u64>,
    strongest: u64,
    missed: u64,
}

impl Figures {
    fn sorted(mut self) -> Self {
        self.spans.sort();
        self.multicasts.sort();
        self.unicasts.sort();
        self.claimants.sort();
        self
    }

    fn at(&self, permille: usize) -> usize {
        let runs = self.spans.len();
        (runs * permille / 1_000).min(runs - 1)
    }

    fn print(&self, title: &str) {
        let runs = self.spans.len();
        let at = |permille| self.at(permille);
        let ms = |permille| self.spans[at(permille)].as_micros() as f64 / 1_000.0;
        let single = self.claimants.iter().filter(|count| **count == 1).count();
        println!(
            "{title:<34} {runs:>5} | {:>7.1} {:>7.1} {:>7.1} {:>7.1} | {:>6.2} % one claimant, worst {:>3} | multicasts {} {} {} worst {} | unicasts {} worst {} | strongest {:.2} % | missed {}",
            ms(500),
            ms(900),
            ms(990),
            ms(1_000),
            100.0 * single as f64 / runs as f64,
            self.claimants[runs - 1],
            self.multicasts[at(500)],
            self.multicasts[at(900)],
            self.multicasts[at(990)],
            self.multicasts[runs - 1],
            self.unicasts[at(500)],
            self.unicasts[runs - 1],
            100.0 * self.strongest as f64 / runs as f64,
            self.missed,
        );
    }
}

/// A common start and the death of the leader, for each seed.
fn measure(count: usize, seeds: u64, profile: Profile, loss_permille: u32) -> [Figures; 2] {
    let timing = fast();
    let (mut start, mut failover) = (Figures::default(), Figures::default());
    for seed in 0..seeds {
        let priority =
            |index: usize| Random::new(seed ^ (index as u64) << 20).below(1_000_001) as u32;
        let mut network = Network::new(seed, count, timing, priority);
        network.links.delay = MS / 5;
        network.links.jitter = MS * 28 / 10;
        network.links.loss_permille = loss_permille;
        for host in &mut network.nodes {
            host.settings.profile = profile;
        }
        network.ranks = false;
        network.start_all();
        let settle = |network: &mut Network, figures: &mut Figures, lost: Option<usize>| {
            let took = network.run_until(10_000 * MS, |network| {
                network.agreed().is_some_and(|leader| Some(leader) != lost)
            });
            figures.missed += u64::from(took.is_none());
            figures.spans.push(took.unwrap_or(10_000 * MS));
            figures.multicasts.push(network.multicasts);
            figures.unicasts.push(network.unicasts);
            figures.claimants.push(network.claimants.len() as u64);
            figures.strongest += u64::from(network.agreed() == Some(network.strongest()));
            (network.multicasts, network.unicasts) = (0, 0);
            network.claimants.clear();
        };
        settle(&mut network, &mut start, None);
        network.rank();
        network.run(300 * MS + Random::new(seed).span(100 * MS));
        let Some(leader) = network.agreed() else {
            failover.missed += 1;
            continue;
        };
        network.crash(leader);
        (network.multicasts, network.unicasts) = (0, 0);
        network.claimants.clear();
        settle(&mut network, &mut failover, Some(leader));
    }
    [start, failover].map(Figures::sorted)
}

/// The bounds of design §8 at H = 100 ms, with seeds enough to notice when they break.
#[test]
fn elections_cost_what_they_are_said_to_cost() {
    for (profile, usual) in [(Profile::Claim, 3), (Profile::Quiet, 2)] {
        for (count, seeds) in [(5, 300), (10, 300), (100, 30)] {
            for loss_permille in [0, 10] {
                let figures = measure(count, seeds, profile, loss_permille);
                let [start, failover] = &figures;
                for figures in [start, failover] {
                    let worst = figures.multicasts.last().copied().unwrap_or_default();
                    assert!(
                        worst <= 2 * count as u64,
                        "{count} nodes: {worst} multicasts"
                    );
                    assert_eq!(figures.missed, 0);
                }
                let longest = MS * if loss_permille == 0 { 400 } else { 600 };
                assert!(failover.spans[failover.at(990)] <= longest);
                assert_eq!(failover.multicasts[failover.at(500)], usual);
                let single = failover
                    .claimants
                    .iter()
                    .filter(|count| **count == 1)
                    .count();
                let wanted = if loss_permille == 0 { 97 } else { 90 };
                assert!(
                    single as u64 * 100 >= seeds * wanted,
                    "{count} nodes: {single}"
                );
            }
        }
    }
}

#[test]
#[ignore = "figures, not checks"]
fn figures_of_starts_and_failovers() {
    println!("fast, H = 100 ms; one-way 0.2 to 3 ms; ms at median, 90 %, 99 %, worst");
    let seeds = |count| if count > 200 { 1_000 } else { 3_000 };
    for loss in [0, 10] {
        for profile in [Profile::Claim, Profile::Quiet] {
            for count in [5, 10, 100, 500] {
                let title = |what| format!("{what} N={count} {profile:?} loss {loss} ‰");
                let [start, failover] = measure(count, seeds(count), profile, loss);
                start.print(&title("start"));
                failover.print(&title("failover"));
            }
        }
    }
}

/// Leader changes that nobody's death caused: pauses up to half the threshold, every ten seconds somewhere.
#[test]
#[ignore = "figures, not checks"]
fn figures_of_false_changes() {
    for (loss_permille, hours) in [(50, 100), (100, 20), (200, 10), (300, 4)] {
        let timing = fast();
        let mut network = Network::new(1, 5, timing, |index| index as u32);
        network.links.jitter = MS * 28 / 10;
        network.start_all();
        network.run(2_000 * MS);
        network.links.loss_permille = loss_permille;
        network.told.clear();
        let mut random = Random::new(2);
        for _ in 0..hours * 360 {
            network.run(random.span(20_000 * MS));
            network.pause(random.below(5) as usize, random.span(timing.silence() / 2));
        }
        let count = |wanted: fn(&Event) -> bool| {
            network
                .told
                .iter()
                .filter(|(_, _, event)| wanted(event))
                .count()
        };
        println!(
            "false changes: loss {loss_permille} ‰, {hours} h: silent {}, claims {}, leading {}, abstains {}; multicasts {}, unicasts {}",
            count(|event| matches!(event, Event::LeaderSilent { .. })),
            count(|event| matches!(event, Event::Claimed { .. })),
            count(|event| matches!(event, Event::Leading { .. })),
            count(|event| matches!(event, Event::Abstains { .. })),
            network.multicasts,
            network.unicasts,
        );
    }
}
