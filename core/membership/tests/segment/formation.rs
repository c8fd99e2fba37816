//! A segment forms: registrations, reports, and what they cost.

use std::time::Duration;

use crate::network::{Network, classic, fast};
use bellwether_membership::Spans;

fn formation(count: usize, spans: Spans, loss_per_million: u32, seed: u64, limit: Duration) {
    let mut network = Network::new(count, spans, loss_per_million, seed);
    network.appoint(0);
    let took = network.run_to(limit, |network| network.agrees(0));
    network.assert_equal_states(0);
    let registrations = network.count("register");
    println!(
        "{count} nodes, loss {loss_per_million}: {took:?}, {:?}, {} bytes",
        network.sent, network.bytes
    );
    assert!(
        registrations <= 3 * count as u64,
        "{registrations} registrations"
    );
}

/// REG-02, REG-04, REG-08.
#[test]
fn everybody_is_in_the_report_and_few_registrations_lead_there() {
    for (count, limit) in [(5, 5), (50, 5), (500, 10)] {
        for loss in [0, 50_000] {
            formation(count, fast(), loss, 1, Duration::from_secs(limit));
        }
    }
}

/// However many start together, their leader has a bounded rate of registrations to bear.
#[test]
fn two_thousand_nodes_register_at_less_than_two_thousand_a_second() {
    for (first, seed) in [(classic(), 1), (fast(), 2)] {
        // No report, whose cost is not at issue here.
        let later = Duration::from_secs(60);
        let spans = Spans {
            report_delay: later,
            report_delay_max: later,
            resend: later,
            ..first
        };
        let mut network = Network::new(2_000, spans, 0, seed);
        network.appoint(0);
        network.run_for(Duration::from_secs(3));
        assert_eq!(network.count("register"), 1_999);
        let peak = network
            .registrations
            .windows(1_000)
            .map(|second| second.iter().sum::<u64>());
        let peak = peak.max().unwrap();
        println!("at most {peak} registrations in a second");
        assert!(peak <= 2_000);
    }
}
