use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_store::{Actor, Command, Observation, Seen, StoreError};
use bellwether_types::{Name, NodeId};
use tokio::time::{Instant, sleep, sleep_until};

use super::fleet::Fleet;
use super::hub::{Place, SILENCE};
use crate::problem;
use crate::server::Server;

/// As often as who came and went is kept.
const OBSERVED_EVERY: Duration = Duration::from_secs(1);
/// A segment of which nothing was heard for so long since the start is silent.
const SETTLED: Duration = SILENCE.saturating_mul(2);
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the hub and the store in step, until the server ends.
pub(crate) async fn follow(server: Arc<Server>) {
    tokio::select! {
        () = server.ended() => {}
        () = keep_time(&server) => {}
        () = keep_enrolled(&server) => {}
        () = keep_observed(&server) => {}
    }
}

async fn keep_time(server: &Server) {
    loop {
        let changed = server.hub.due.notified();
        tokio::pin!(changed);
        // From now on no change is missed.
        changed.as_mut().enable();
        let span = server.hub.wake();
        tokio::select! {
            () = sleep(span) => {}
            () = changed => {}
        }
    }
}

async fn keep_enrolled(server: &Server) {
    loop {
        let applied = server.store.applied();
        if server.hub.fleet().defined < server.store.defined() {
            match Fleet::read(&server.store).await {
                Ok(fleet) => server.hub.enrolled(Arc::new(fleet)),
                Err(error) => {
                    problem::of_store(&error);
                    sleep(PAUSE).await;
                    continue;
                }
            }
        }
        if !server.store.applied_after(applied).await {
            return;
        }
    }
}

async fn keep_observed(server: &Server) {
    let mut observed = loop {
        match server.store.observed().await {
            Ok(observed) => break observed,
            Err(StoreError::Closing) => return,
            Err(_) => sleep(PAUSE).await,
        }
    };
    let settled = Instant::now() + SETTLED;
    loop {
        let next = Instant::now() + OBSERVED_EVERY;
        let changed = server.hub.news.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let is_settled = Instant::now() >= settled;
        if observe(server, &mut observed, is_settled).await {
            tokio::select! {
                () = changed => {}
                () = sleep_until(settled), if !is_settled => {}
            }
        }
        sleep_until(next).await;
    }
}

type Observed = (BTreeMap<NodeId, bool>, BTreeMap<Name, Option<NodeId>>);

/// Has what is not as it was observed last kept; false if there is more.
async fn observe(server: &Server, observed: &mut Observed, is_settled: bool) -> bool {
    let (nodes, segments) = observed;
    let places = server.hub.places();
    let left = server.hub.take_left();
    let mut news = Observation::default();
    let changed = places.iter().filter_map(|(node, place)| {
        let was = nodes.get(node).copied().unwrap_or(false);
        let seen = match place {
            Place::Up if !was => Seen::Present,
            Place::Down if was && left.contains(node) => Seen::Left,
            Place::Down if was => Seen::Lost,
            _ => return None,
        };
        Some((*node, seen))
    });
    news.nodes = changed.take(Observation::NODES_MAX).collect();
    let mut leaders = server.hub.leaders();
    if is_settled {
        for segment in segments.keys() {
            leaders.entry(segment.clone()).or_insert(None);
        }
    }
    for (segment, leader) in leaders {
        if segments.get(&segment) != Some(&leader) {
            news.segments.insert(segment, leader);
        }
    }
    if news.is_empty() {
        return true;
    }
    let more = news.nodes.len() == Observation::NODES_MAX;
    let command = Command::Observe(news.clone());
    if server.propose(Actor::Server, command).await.is_err() {
        return false;
    }
    let seen = news.nodes.into_iter();
    nodes.extend(seen.map(|(node, seen)| (node, seen == Seen::Present)));
    nodes.retain(|node, _| places.contains_key(node));
    segments.extend(news.segments);
    !more
}
