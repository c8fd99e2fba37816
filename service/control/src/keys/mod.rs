//! The keys of segments: replaced when somebody was put out who knows them, and when they are old (CRYPT-06).
//!
//! A key is announced, then sealed with, then the former one is retired; each step is a command, so that a server that
//! died goes on where it was. Between two steps all nodes that are there are waited for, by what they were handed; but
//! not for long when somebody was put out, and whoever missed it asks again.

mod handed;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_store::{Actor, Command, KeyPlace, NewKey, Rotation, StoreError};
use bellwether_types::Name;
use bellwether_wire::control::SegmentKey;
use tokio::time::{Instant, sleep};

use crate::clock::now_ms;
use crate::server::Server;
use crate::uplink::Place;
use crate::vault::{self, Vault, random};

pub(crate) use handed::Handed;
use rules::{Step, View, Waited};

/// A key is replaced when it has been sealed with for so long.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// From one look to the next while keys are being replaced.
const LOOK: Duration = Duration::from_millis(100);
/// The same while none are: keys grow old.
const LOOK_IDLE: Duration = Duration::from_secs(60);

/// Makes a segment's key, sealed as it is kept.
pub(crate) fn make(vault: &Vault) -> NewKey {
    let key = SegmentKey::from_bytes(random());
    let id = key.id().to_string();
    let sealed = vault.seal(&vault::segment_key(&id), key.to_text().as_bytes());
    NewKey { id, sealed }
}

/// Replaces keys, until the server ends.
pub(crate) async fn run(server: Arc<Server>) {
    tokio::select! {
        () = server.ended() => {}
        () = look_often(&server) => {}
    }
}

async fn look_often(server: &Server) {
    let mut stages = BTreeMap::new();
    loop {
        let defined = server.store.defined();
        match look(server, &mut stages).await {
            Ok(()) if stages.is_empty() => tokio::select! {
                () = redefined(server, defined) => {}
                () = sleep(LOOK_IDLE) => {}
            },
            Ok(()) => sleep(LOOK).await,
            Err(StoreError::Closing) => return,
            Err(error) => {
                tracing::error!(%error, "keys are not replaced");
                sleep(LOOK_IDLE).await;
            }
        }
    }
}

/// Waits until something is defined in another way.
async fn redefined(server: &Server, defined: u64) {
    let mut applied = server.store.applied();
    while server.store.defined() == defined && server.store.applied_after(applied).await {
        applied = server.store.applied();
    }
}

/// How long a step has been waited for.
struct Stage {
    /// The entry of the log that was the step before.
    placed: u64,
    since: Instant,
    /// Since when somebody speaks for the segment.
    heard: Option<Instant>,
}

/// Has each rotation go one step further that can.
async fn look(server: &Server, stages: &mut BTreeMap<Name, Stage>) -> Result<(), StoreError> {
    let age = i64::try_from(AGE_MAX.as_millis()).unwrap_or(i64::MAX);
    let old_ms = now_ms().saturating_sub(age);
    let rotations = server.store.rotations(old_ms).await?;
    let placed: BTreeMap<&Name, u64> = rotations
        .iter()
        .map(|rotation| (&rotation.segment, placed(rotation)))
        .collect();
    stages.retain(|segment, _| placed.contains_key(segment));
    let behind = behind(server, &placed);
    let now = Instant::now();
    for rotation in &rotations {
        let segment = &rotation.segment;
        let placed = placed.get(segment).copied().unwrap_or(0);
        let stage = stages.entry(segment.clone()).or_insert(Stage {
            placed,
            since: now,
            heard: None,
        });
        if stage.placed != placed {
            (stage.placed, stage.since, stage.heard) = (placed, now, None);
        }
        stage.heard = match server.hub.leader(segment) {
            Some(_) => stage.heard.or(Some(now)),
            None => None,
        };
        let key = |place| rotation.keys.iter().find(|key| key.place == place);
        let view = View {
            is_current_safe: key(KeyPlace::Current).is_none_or(|key| key.is_safe),
            is_current_old: key(KeyPlace::Current).is_some_and(|key| key.since_ms < old_ms),
            next_is_safe: key(KeyPlace::Next).map(|key| key.is_safe),
            has_previous: key(KeyPlace::Previous).is_some(),
            is_urgent: rotation.keys.iter().any(|key| !key.is_safe),
            all_told: stage.heard.is_some() && !behind.contains(segment),
            waited: Waited {
                in_all: now.duration_since(stage.since),
                heard: stage.heard.map(|since| now.duration_since(since)),
            },
        };
        let segment = segment.clone();
        let command = match view.next() {
            None => continue,
            Some(Step::Announce) => Command::AnnounceKey {
                segment,
                key: make(&server.vault),
            },
            Some(Step::Advance) => Command::AdvanceKey { segment },
            Some(Step::Retire) => Command::RetireKey { segment },
        };
        // Whatever is refused now is looked at again.
        let _ = server.propose(Actor::Server, command).await;
    }
    Ok(())
}

/// The entry of the log that moved a key last.
fn placed(rotation: &Rotation) -> u64 {
    let placed = rotation.keys.iter().map(|key| key.placed);
    placed.max().unwrap_or(0)
}

/// The segments of which a node is there, or may be, that was not handed what its segment's keys are now.
fn behind(server: &Server, placed: &BTreeMap<&Name, u64>) -> BTreeSet<Name> {
    if placed.is_empty() {
        return BTreeSet::new();
    }
    let fleet = server.hub.fleet();
    server.handed.keep(|node| fleet.nodes.contains_key(&node));
    let places = server.hub.places();
    let there = places.iter().filter(|(_, place)| **place != Place::Down);
    let behind = there.filter_map(|(node, _)| {
        let segment = &fleet.nodes.get(node)?.segment;
        let wanted = *placed.get(segment)?;
        (server.handed.number(*node) < wanted).then(|| segment.clone())
    });
    behind.collect()
}
