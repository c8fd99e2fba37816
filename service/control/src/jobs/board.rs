use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bellwether_scheduling::{Moment, Reported, View};
use bellwether_store::{KeptJob, Store, StoreError};
use bellwether_types::{Name, NodeId, SitePart, VersionId};
use bellwether_wire::uplink::{NodeOutcome, Outcome, Progress, Receipt, Upward};
use tokio::sync::{Notify, watch};

use super::pace::{Pace, left_ms};

/// What nodes reported and were told, since the server began.
#[derive(Debug)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    /// Something was reported that a decision may depend on.
    pub(crate) reported: Notify,
    /// Rises with everything that is reported.
    revision: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The jobs that are not over.
    jobs: BTreeMap<Name, Seen>,
    /// Receipts that are not kept yet, the latest of each node, site and part.
    receipts: BTreeMap<(NodeId, SitePart), Receipt>,
    /// What nodes made live, and what they said of themselves when they did: until they say otherwise, that is behind.
    served: BTreeMap<(NodeId, SitePart), Made>,
    /// What nodes last signed for, whether that is kept yet or not.
    signed: BTreeMap<(NodeId, SitePart), VersionId>,
}

/// What was seen of a job.
#[derive(Debug)]
struct Seen {
    site: SitePart,
    reported: BTreeMap<NodeId, Reported>,
    notified: BTreeMap<NodeId, Moment>,
    gathering: BTreeMap<NodeId, Moment>,
    ordered: BTreeMap<NodeId, Moment>,
    going: BTreeMap<Name, Going>,
    revision: u64,
}

/// How a job gets on in a segment.
#[derive(Debug)]
struct Going {
    progress: Progress,
    fetched: Pace,
    received: Pace,
}

/// A node made this live while it said of itself that it serves `before`.
#[derive(Debug)]
struct Made {
    before: Option<VersionId>,
    now: Option<VersionId>,
    /// What it signed.
    receipt: Option<Receipt>,
}

/// Nodes that are read at once.
const NODES_AT_ONCE: u32 = 1_000;

/// What was seen of a job.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// What its nodes said last.
    pub(crate) outcomes: BTreeMap<NodeId, Outcome>,
    /// How far it is, by segment.
    pub(crate) segments: BTreeMap<Name, Reach>,
    /// Changes with both.
    pub(crate) revision: u64,
}

/// How far a job is in a segment.
#[derive(Debug)]
pub(crate) struct Reach {
    /// As its leader said last.
    pub(crate) progress: Progress,
    /// Bytes that members took in a second of late, all together.
    pub(crate) rate: u64,
    /// How long it takes at the present pace until all have it, in milliseconds; `None` if it stands.
    pub(crate) left_ms: Option<u64>,
}

/// Of nodes of the segment that speaks: what each says of itself that it serves; `None` of others.
pub(crate) type Holds<'h> = &'h dyn Fn(NodeId, &SitePart) -> Option<Option<VersionId>>;

impl Board {
    /// Nothing was reported yet of the jobs that are not over. They are known before any leader speaks: it may tell of
    /// them first.
    pub(crate) async fn open_on(store: &Store) -> Result<Self, StoreError> {
        let mut signed = BTreeMap::new();
        let mut after = String::new();
        loop {
            let nodes = store.serving(&after, NODES_AT_ONCE, None).await?;
            let Some(last) = nodes.last() else { break };
            after = last.node.to_string();
            let served = nodes.into_iter().filter_map(|row| {
                let (site, version, _) = row.served?;
                Some(((row.node, site), version))
            });
            signed.extend(served);
        }
        let inner = Inner {
            signed,
            ..Inner::default()
        };
        let board = Self {
            inner: Mutex::new(inner),
            reported: Notify::new(),
            revision: watch::Sender::new(0),
        };
        for KeptJob { state, .. } in store.open_jobs().await? {
            board.open(&state.job.name, &state.job.site);
        }
        Ok(board)
    }

    /// What the leader of a segment says of a job. It is not heard on nodes of others.
    pub(crate) fn hear(&self, segment: &Name, message: Upward, at: Moment, holds: Holds<'_>) {
        let mut inner = self.lock();
        let changed = match message {
            Upward::Progress(progress) => match inner.jobs.get_mut(&progress.job) {
                None => return,
                Some(seen) => {
                    seen.revision += 1;
                    seen.get_on(segment, progress, at);
                    false
                }
            },
            Upward::Outcomes(outcomes) => {
                let mut changed = false;
                for node in outcomes.nodes {
                    changed |= inner.take(&outcomes.job, node, at, holds);
                }
                changed
            }
            Upward::Hello(_) | Upward::Segment(_) | Upward::Pong(_) => return,
        };
        drop(inner);
        self.revision.send_modify(|revision| *revision += 1);
        if changed {
            self.reported.notify_one();
        }
    }

    /// Somebody else speaks for these nodes, or anew: what they were told is told again. The jobs to ask for.
    pub(crate) fn begin_anew(&self, is_of: impl Fn(NodeId) -> bool) -> Vec<Name> {
        let mut inner = self.lock();
        for seen in inner.jobs.values_mut() {
            seen.notified.retain(|node, _| !is_of(*node));
            seen.gathering.retain(|node, _| !is_of(*node));
            seen.ordered.retain(|node, _| !is_of(*node));
        }
        let jobs = inner.jobs.keys().cloned().collect();
        drop(inner);
        self.reported.notify_one();
        jobs
    }

    /// A job is not over.
    pub(crate) fn open(&self, job: &Name, site: &SitePart) {
        let mut inner = self.lock();
        inner.jobs.entry(job.clone()).or_insert_with(|| Seen {
            site: site.clone(),
            reported: BTreeMap::new(),
            notified: BTreeMap::new(),
            gathering: BTreeMap::new(),
            ordered: BTreeMap::new(),
            going: BTreeMap::new(),
            revision: 0,
        });
    }

    /// A job took a step.
    pub(crate) fn step(&self, job: &Name, over: bool) {
        if over {
            self.lock().jobs.remove(job);
        }
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Fills in what was seen of a job.
    pub(crate) fn fill(&self, job: &Name, view: &mut View) {
        let inner = self.lock();
        if let Some(seen) = inner.jobs.get(job) {
            view.reported = seen.reported.clone();
            view.notified = seen.notified.clone();
            view.gathering = seen.gathering.clone();
            view.ordered = seen.ordered.clone();
        }
    }

    pub(crate) fn notified(&self, job: &Name, nodes: impl IntoIterator<Item = NodeId>, at: Moment) {
        if let Some(seen) = self.lock().jobs.get_mut(job) {
            let told = nodes.into_iter().map(|node| (node, at));
            seen.notified.extend(told);
        }
    }

    pub(crate) fn gathering(
        &self,
        job: &Name,
        nodes: impl IntoIterator<Item = NodeId>,
        at: Moment,
    ) {
        if let Some(seen) = self.lock().jobs.get_mut(job) {
            let told = nodes.into_iter().map(|node| (node, at));
            seen.gathering.extend(told);
        }
    }

    pub(crate) fn ordered(&self, job: &Name, nodes: impl IntoIterator<Item = NodeId>, at: Moment) {
        if let Some(seen) = self.lock().jobs.get_mut(job) {
            let told = nodes.into_iter().map(|node| (node, at));
            seen.ordered.extend(told);
        }
    }

    /// What a node serves, which says `held` of itself.
    pub(crate) fn serves(
        &self,
        node: NodeId,
        site: &SitePart,
        held: Option<VersionId>,
    ) -> Option<VersionId> {
        let inner = self.lock();
        match inner.served.get(&(node, site.clone())) {
            Some(made) if made.before == held => made.now,
            _ => held,
        }
    }

    /// What a node last signed for.
    pub(crate) fn signed(&self, node: NodeId, site: &SitePart) -> Option<VersionId> {
        self.lock().signed.get(&(node, site.clone())).copied()
    }

    /// Receipts that are not kept yet, at most so many.
    pub(crate) fn receipts(&self, limit: usize) -> Vec<Receipt> {
        self.lock().receipts.values().take(limit).cloned().collect()
    }

    /// These are kept.
    pub(crate) fn receipts_kept(&self, receipts: &[Receipt]) {
        let mut inner = self.lock();
        for receipt in receipts {
            let key = (receipt.served.node, receipt.served.site.clone());
            if inner.receipts.get(&key) == Some(receipt) {
                inner.receipts.remove(&key);
            }
        }
    }

    /// What was seen of a job; nothing of one that is over.
    pub(crate) fn seen(&self, job: &Name, now: Moment) -> Sight {
        let inner = self.lock();
        let Some(seen) = inner.jobs.get(job) else {
            return Sight::default();
        };
        let reported = seen.reported.iter();
        let outcomes = reported.map(|(node, reported)| (*node, reported.outcome.clone()));
        let going = seen.going.iter();
        let segments = going.map(|(segment, going)| (segment.clone(), going.reach(now)));
        Sight {
            outcomes: outcomes.collect(),
            segments: segments.collect(),
            revision: seen.revision,
        }
    }

    /// Whoever waits for something to be reported, or for a job's step.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn get_on(&mut self, segment: &Name, progress: Progress, at: Moment) {
        let (mut fetched, mut received) = match self.going.remove(segment) {
            Some(going) => (going.fetched, going.received),
            None => (Pace::default(), Pace::default()),
        };
        fetched.note(at, progress.fetched);
        received.note(at, progress.received);
        let going = Going {
            progress,
            fetched,
            received,
        };
        self.going.insert(segment.clone(), going);
    }
}

impl Going {
    /// The leader fetches while members take: whichever takes longer.
    fn reach(&self, now: Moment) -> Reach {
        let Self {
            progress,
            fetched,
            received,
        } = self;
        let rate = received.rate(now);
        let until_fetched = left_ms(progress.fetched, progress.bytes, fetched.rate(now));
        let until_received = left_ms(progress.received, progress.needed, rate);
        Reach {
            progress: progress.clone(),
            rate,
            left_ms: until_fetched
                .zip(until_received)
                .map(|(one, other)| one.max(other)),
        }
    }
}

impl Inner {
    /// Takes a node's word; whether it is another than before.
    fn take(
        &mut self,
        job: &Name,
        NodeOutcome { node, outcome }: NodeOutcome,
        at: Moment,
        holds: Holds<'_>,
    ) -> bool {
        let mut signed = false;
        if let Outcome::Live(receipt) = &outcome {
            let site = receipt.served.site.clone();
            let Some(before) = holds(node, &site) else {
                return false;
            };
            let now = Some(receipt.served.version);
            let key = (node, site);
            let known = self.served.get(&key).and_then(|made| made.receipt.as_ref());
            // Repeats need not be kept again.
            if known != Some(receipt) {
                signed = true;
                let made = Made {
                    before,
                    now,
                    receipt: Some(receipt.clone()),
                };
                self.served.insert(key.clone(), made);
                self.signed.insert(key.clone(), receipt.served.version);
                self.receipts.insert(key, receipt.clone());
            }
        }
        let Some(seen) = self.jobs.get_mut(job) else {
            return signed;
        };
        let Some(before) = holds(node, &seen.site) else {
            return signed;
        };
        if outcome == Outcome::Removed {
            let key = (node, seen.site.clone());
            let made = Made {
                before,
                now: None,
                receipt: None,
            };
            self.signed.remove(&key);
            self.served.insert(key, made);
        }
        let known = seen.reported.get(&node);
        // The same once more is a repeat, unless the node was asked to try again in between.
        let asked = seen.notified.get(&node).max(seen.ordered.get(&node));
        let again = |known: &Reported| {
            let failed = matches!(known.outcome, Outcome::Failed(_) | Outcome::Behind(..));
            failed && asked.is_some_and(|asked| *asked > known.at)
        };
        if known.is_some_and(|known| known.outcome == outcome && !again(known)) {
            return signed;
        }
        seen.revision += 1;
        seen.reported.insert(node, Reported { outcome, at });
        true
    }
}
