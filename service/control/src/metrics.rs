use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use bellwether_store::Store;

use crate::uplink::Hub;

/// What is counted while the server runs.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    pub(crate) connections: Gauge,
    pub(crate) handshakes_failed: Counter,
    pub(crate) turned_away: Counter,
    pub(crate) waiting: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: Family::default(),
            // 0.25 ms to 4 s.
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_25, 2.0, 15))
            }),
            connections: Gauge::default(),
            handshakes_failed: Counter::default(),
            turned_away: Counter::default(),
            waiting: Gauge::default(),
        }
    }

    pub(crate) fn answered(&self, route: &'static str, status: u16, took: Duration) {
        self.requests
            .get_or_create(&Request { route, status })
            .inc();
        self.seconds
            .get_or_create(&Route { route })
            .observe(took.as_secs_f64());
    }

    /// What Prometheus reads.
    pub(crate) fn exposition(&self, store: &Store, hub: &Hub) -> String {
        let mut registry = Registry::with_prefix("bellwether_control");
        let all = self.clone();
        registry.register("requests", "Requests answered", all.requests);
        registry.register("request_seconds", "Time to answer", all.seconds);
        registry.register("connections", "Connections that are open", all.connections);
        let help = "Connections that ended before their handshake did";
        registry.register("handshakes_failed", help, all.handshakes_failed);
        let help = "Connections for which there was no place";
        registry.register("turned_away", help, all.turned_away);
        registry.register("waiting", "Requests that wait for events", all.waiting);
        for (name, help, value) in [
            (
                "applied",
                "Number up to which the log is applied",
                store.applied(),
            ),
            ("last_event", "Number of the last event", store.last_event()),
            (
                "leaders",
                "Segments whose leader is heard",
                hub.links() as u64,
            ),
        ] {
            registry.register(
                name,
                help,
                ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)),
            );
        }
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes everything");
        text
    }
}
