use std::sync::Arc;

use bellwether_api::Problem;
use bellwether_store::{Actor, Command, Entry, Store};
use bellwether_wire::SigningKey;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::clock::now_ms;
use crate::jobs::{self, Board};
use crate::keys::{self, Handed};
use crate::metrics::Metrics;
use crate::problem;
use crate::uplink::{self, Hub};
use crate::vault::Vault;
use crate::works::Works;

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) store: Arc<Store>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) signing: Arc<SigningKey>,
    pub(crate) works: Arc<Works>,
    pub(crate) metrics: Metrics,
    /// What leaders say.
    pub(crate) hub: Hub,
    /// What nodes reported of jobs.
    pub(crate) board: Arc<Board>,
    /// What nodes were told of their segments' keys.
    pub(crate) handed: Handed,
    /// Turns true when the server ends: whoever waits for something to happen waits no longer.
    pub(crate) ending: watch::Receiver<bool>,
    /// Places for those who wait.
    pub(crate) waiting: Arc<Semaphore>,
}

/// Streams of events and long polls at once.
pub(crate) const WAITING_MAX: usize = 1_000;

impl Server {
    /// Begins what goes on beside requests, until the server ends.
    pub(crate) fn work(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(uplink::follow(Arc::clone(self)));
        tasks.spawn(jobs::run(Arc::clone(self)));
        tasks.spawn(keys::run(Arc::clone(self)));
        tasks
    }

    /// Has a command carried out; its number in the log.
    pub(crate) async fn propose(&self, actor: Actor, command: Command) -> Result<u64, Problem> {
        let (action, target) = command.action();
        let who = actor.to_string();
        let outcome = self
            .store
            .propose(Entry::new(now_ms(), actor, command))
            .await;
        match outcome {
            Ok(Ok(number)) => {
                tracing::info!(number, action, target, who, "done");
                Ok(number)
            }
            Ok(Err(refused)) => {
                tracing::info!(action, target, who, %refused, "refused");
                Err(problem::of_refused(&refused))
            }
            Err(error) => Err(problem::of_store(&error)),
        }
    }

    /// Waits until the server ends.
    pub(crate) async fn ended(&self) {
        let mut ending = self.ending.clone();
        // Whoever would say so is gone: it has ended.
        let _ = ending.wait_for(|ending| *ending).await;
    }
}
