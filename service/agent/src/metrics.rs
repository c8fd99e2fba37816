//! Counters and gauges, once for `status` and for Prometheus.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use bellwether_wire::control::Rejected;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::status::{Counters, Multicast, State, Status};

/// What is counted while the agent runs.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) leader_silent: Counter,
    pub(crate) claims: Counter,
    pub(crate) reigns: Counter,
    pub(crate) leaders: Counter,
    pub(crate) merges: Counter,
    pub(crate) reports: Counter,
    rejected: Family<Labels, Counter>,
}

type Labels = [(&'static str, &'static str); 1];

/// Every reason for which a datagram has no effect.
const REASONS: [&str; 12] = [
    "truncated",
    "oversized",
    "unknown-version",
    "unknown-key",
    "not-sealed",
    "replayed",
    "older-incarnation",
    "another-salt",
    "own-echo",
    "own-id-taken",
    "another-segment",
    "malformed",
];

const ANOTHER_NODE: &str = "another-node";

/// What a reason is called in counters and logs.
pub(crate) const fn reason(rejected: &Rejected) -> &'static str {
    match rejected {
        Rejected::Truncated { .. } => "truncated",
        Rejected::Oversized { .. } => "oversized",
        Rejected::UnknownVersion(_) => "unknown-version",
        Rejected::UnknownKey(_) => "unknown-key",
        Rejected::NotSealed { .. } => "not-sealed",
        Rejected::Replayed { .. } => "replayed",
        Rejected::OlderIncarnation { .. } => "older-incarnation",
        Rejected::AnotherSalt { .. } => "another-salt",
        Rejected::OwnEcho => "own-echo",
        Rejected::OwnIdTaken { .. } => "own-id-taken",
        Rejected::AnotherSegment { .. } => "another-segment",
        Rejected::PutOut { .. } => "put-out",
        Rejected::AnotherNode { .. } => ANOTHER_NODE,
        Rejected::Malformed { .. } => "malformed",
    }
}

impl Metrics {
    /// A datagram had no effect; how many had none for the same reason.
    pub(crate) fn reject(&self, reason: &'static str) -> u64 {
        self.rejected.get_or_create(&[("reason", reason)]).inc() + 1
    }

    /// All that was counted, with what the network counted.
    pub(crate) fn counters(&self, network: bellwether_net::Counters) -> Counters {
        let mut rejected: BTreeMap<String, u64> = REASONS
            .into_iter()
            .chain([ANOTHER_NODE])
            .map(|reason| {
                let counter = self.rejected.get_or_create(&[("reason", reason)]);
                (reason.to_owned(), counter.get())
            })
            .collect();
        // Those are dropped by the channel, which does not read them.
        *rejected.entry("oversized".to_owned()).or_default() += network.oversized;
        Counters {
            datagrams_sent: network.sent,
            datagrams_sent_bytes: network.sent_bytes,
            send_errors: network.send_errors,
            datagrams_received: network.received,
            datagrams_received_bytes: network.received_bytes,
            rejected,
            leader_silent: self.leader_silent.get(),
            claims: self.claims.get(),
            reigns: self.reigns.get(),
            leaders: self.leaders.get(),
            merges: self.merges.get(),
            reports: self.reports.get(),
        }
    }
}

/// What Prometheus reads.
pub(crate) fn exposition(status: &Status) -> String {
    let mut registry = Registry::with_prefix("bellwether_agent");
    let counters = &status.counters;
    for (name, help, value) in [
        (
            "datagrams_sent",
            "Control datagrams sent",
            counters.datagrams_sent,
        ),
        (
            "datagrams_sent_bytes",
            "Bytes of control datagrams sent",
            counters.datagrams_sent_bytes,
        ),
        (
            "send_errors",
            "Datagrams that the network did not take",
            counters.send_errors,
        ),
        (
            "datagrams_received",
            "Datagrams received",
            counters.datagrams_received,
        ),
        (
            "datagrams_received_bytes",
            "Bytes of datagrams received",
            counters.datagrams_received_bytes,
        ),
        (
            "leader_silent",
            "Times the leader fell silent",
            counters.leader_silent,
        ),
        ("claims", "Claims this node sent", counters.claims),
        ("reigns", "Times this node took office", counters.reigns),
        (
            "leaders",
            "Times this node obeyed another leader than before",
            counters.leaders,
        ),
        ("merges", "Merges that came into force", counters.merges),
        (
            "reports",
            "Reports for the control server",
            counters.reports,
        ),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    let rejected = Family::<[(String, String); 1], Counter<u64, AtomicU64>>::default();
    for (reason, count) in &counters.rejected {
        let labels = [("reason".to_owned(), reason.clone())];
        rejected.get_or_create(&labels).inc_by(*count);
    }
    registry.register(
        "datagrams_rejected",
        "Datagrams without an effect",
        rejected,
    );
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let sequence = status
        .segment_state
        .as_ref()
        .map_or(0, |state| state.sequence);
    for (name, help, value) in [
        (
            "leading",
            "Does this node lead?",
            i64::from(status.state == State::Leading),
        ),
        (
            "leader_known",
            "Does anybody lead?",
            i64::from(status.leader.is_some()),
        ),
        (
            "registered",
            "Is this node in the leader's report?",
            i64::from(status.registered),
        ),
        (
            "members",
            "Members of the segment, as far as known",
            number(status.members.len() as u64),
        ),
        (
            "priority",
            "This node's priority",
            i64::from(status.priority.value),
        ),
        (
            "segment_state_sequence",
            "Sequence of the segment state held",
            number(sequence),
        ),
        (
            "multicast_lost",
            "Do multicasts not come through?",
            i64::from(status.multicast == Multicast::Lost),
        ),
        (
            "interface_up",
            "Is the interface up?",
            i64::from(status.interface_up),
        ),
    ] {
        registry.register(name, help, ConstGauge::new(value));
    }
    let parts = Family::<[(String, String); 1], Gauge>::default();
    for part in &status.priority.parts {
        let labels = [("parameter".to_owned(), part.parameter.clone())];
        parts.get_or_create(&labels).set(part.points.into());
    }
    registry.register(
        "priority_points",
        "What each parameter adds to the priority",
        parts,
    );
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_has_every_counter_and_names_why_datagrams_were_rejected() {
        let text = exposition(&crate::status::tests::full());
        for line in [
            "bellwether_agent_claims_total 7",
            "bellwether_agent_datagrams_rejected_total{reason=\"not-sealed\"} 8",
            "bellwether_agent_leading 1",
            "bellwether_agent_members 1",
            "bellwether_agent_segment_state_sequence 6",
            "bellwether_agent_multicast_lost 1",
            "bellwether_agent_priority_points{parameter=\"free storage\"} 5",
            "# EOF",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}:\n{text}");
        }
    }

    #[test]
    fn a_datagram_that_the_channel_dropped_counts_with_those_that_the_seal_refused() {
        let metrics = Metrics::default();
        assert_eq!(metrics.reject("oversized"), 1);
        assert_eq!(metrics.reject("oversized"), 2);
        let network = bellwether_net::Counters {
            oversized: 40,
            ..Default::default()
        };
        let counters = metrics.counters(network);
        assert_eq!(counters.rejected["oversized"], 42);
        assert_eq!(counters.rejected.len(), 13);
    }
}
