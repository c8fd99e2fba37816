//! A segment forms: registrations, reports, and what they cost.

use std::time::Duration;

use crate::network::{Network, fast};
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
