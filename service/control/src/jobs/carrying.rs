//! What a decision needs to know, and what it makes happen.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_content::assignment::Action;
use bellwether_scheduling::{
    Base, Kind, Moment, NodeView, Occupied, OrderKind, Plan, Presence, View,
};
use bellwether_store::KeptJob;
use bellwether_types::{Name, NodeId, Serial, VersionId};
use bellwether_wire::uplink::{
    Abort, Downward, Failure, FailureKind, File, Notify, Order, Variant,
};
use tokio::task::{Id, JoinError};

use super::runner::Runner;
use crate::clock::{moment, steady};
use crate::uplink::TERM;
use crate::works::{Making, OrderMaking};

/// What was made for a job.
#[derive(Debug, Default)]
pub(super) struct Made {
    files: BTreeMap<Option<VersionId>, Vec<File>>,
    /// Bytes that a node needs room for.
    bytes: u64,
    /// More is being made, by this task.
    pub(super) busy: Option<Id>,
    /// The last try failed, and that is not kept yet.
    pub(super) failed: Option<Failure>,
}

/// What a making came to.
pub(super) struct Batch {
    pub(super) job: Name,
    pub(super) made: Result<(Variants, u64), Failure>,
}

type Variants = BTreeMap<Option<VersionId>, Vec<File>>;

/// An order that was decided.
pub(super) struct Decided {
    pub(super) kind: OrderKind,
    pub(super) serial: Serial,
    pub(super) version: Option<VersionId>,
    pub(super) nodes: BTreeSet<NodeId>,
    pub(super) lead: Option<Duration>,
}

impl Runner {
    /// What is known that a job's next step depends on.
    pub(super) fn view(&self, job: &KeptJob) -> View {
        let state = &job.state;
        let mut view = View {
            began: self.began,
            nodes: self.look(job),
            occupied: self.occupied(job),
            ..View::default()
        };
        self.server.board.fill(&state.job.name, &mut view);
        view
    }

    /// What is known of a job's nodes.
    fn look(&self, job: &KeptJob) -> BTreeMap<NodeId, NodeView> {
        let (hub, site) = (&self.server.hub, &job.state.job.site);
        let mut nodes = hub.look(self.selected(job), site);
        let (Kind::Synchronize, Some(target)) = (job.state.job.kind, job.target) else {
            return nodes;
        };
        let group = self.fleet.selected(&job.state.job.group);
        let holders = hub.look(group, site).into_iter().filter(|(_, known)| {
            known.presence == Presence::Up && known.base == Base::Known(Some(target))
        });
        let holders: BTreeSet<NodeId> = holders.map(|(node, _)| node).collect();
        let holders = self.fleet.by_segment(&holders);
        for (node, known) in &mut nodes {
            let segment = self.fleet.nodes.get(node).map(|known| &known.segment);
            let near = segment.and_then(|segment| holders.get(segment));
            known.has_neighbour = near.is_some_and(|near| near.iter().any(|other| other != node));
        }
        nodes
    }

    /// What others have for themselves that came before this job, or run.
    fn occupied(&self, job: &KeptJob) -> Vec<Occupied> {
        let others = self.jobs.values().filter(|other| {
            let same = other.state.job.site == job.state.job.site;
            let waits = !other.state.occupies() && other.number < job.number;
            same && other.number != job.number && (other.state.occupies() || waits)
        });
        others.map(|other| self.occupies(other)).collect()
    }

    /// The nodes of a job.
    pub(super) fn occupies(&self, job: &KeptJob) -> Occupied {
        Occupied {
            job: job.state.job.name.clone(),
            site: job.state.job.site.clone(),
            nodes: match job.state.occupies() {
                true => job.state.nodes.clone(),
                false => self.selected(job),
            },
        }
    }

    fn selected(&self, job: &KeptJob) -> BTreeSet<NodeId> {
        let mut nodes = self.fleet.selected(&job.state.job.group);
        if let Some(only) = &job.nodes {
            nodes.retain(|node| only.contains(node));
        }
        nodes
    }

    /// The plan of a job for these bases; `None` as long as it is being made.
    pub(super) fn plan(
        &mut self,
        job: &KeptJob,
        bases: BTreeSet<Option<VersionId>>,
    ) -> Option<Plan> {
        let target = job.target;
        if let (Some(target), false) = (target, bases.is_empty() || self.has_made(job, &bases)) {
            self.make(job, bases, target);
            return None;
        }
        let site = &job.state.job.site;
        let live = self.lives.iter().find(|live| {
            live.site == *site
                && live.group == job.state.job.group
                && live.job != job.state.job.name
        });
        let made = self.made.get(&job.state.job.name);
        Some(Plan {
            target,
            previous: live.and_then(|live| live.version),
            serial: job.content(),
            order: job.order(),
            undo: job.undo(),
            bytes: made.map_or(0, |made| made.bytes),
            bases,
        })
    }

    fn has_made(&self, job: &KeptJob, bases: &BTreeSet<Option<VersionId>>) -> bool {
        let made = self.made.get(&job.state.job.name);
        made.is_some_and(|made| bases.iter().all(|base| made.files.contains_key(base)))
    }

    fn make(&mut self, job: &KeptJob, bases: BTreeSet<Option<VersionId>>, target: VersionId) {
        let name = job.state.job.name.clone();
        let made = self.made.entry(name.clone()).or_default();
        if made.busy.is_some() {
            return;
        }
        let works = Arc::clone(&self.server.works);
        let making = |base| Making {
            job: name.clone(),
            site: job.state.job.site.clone(),
            group: job.state.job.group.clone(),
            term: TERM,
            serial: job.content(),
            base,
            target,
        };
        let makings: Vec<Making> = bases.into_iter().map(making).collect();
        let job = name.clone();
        let task = self.makings.spawn(async move {
            let made = async {
                let (mut variants, mut bytes) = (Variants::new(), 0);
                for making in makings {
                    let base = making.base;
                    let files = works.make(making).await?;
                    bytes = bytes.max(works.room(&files).await?);
                    variants.insert(base, files);
                }
                Ok((variants, bytes))
            };
            Batch {
                job,
                made: made.await,
            }
        });
        made.busy = Some(task.id());
    }

    /// A making ended with a panic: a fault of this program, of which the job must not hang.
    pub(super) fn take_panic(&mut self, error: JoinError) {
        let mut made = self.made.iter();
        let job = made.find(|(_, made)| made.busy == Some(error.id()));
        let Some(job) = job.map(|(job, _)| job.clone()) else {
            return;
        };
        let text = match error.try_into_panic() {
            Ok(panic) => panic_text(panic.as_ref()),
            Err(error) => error.to_string(),
        };
        let why = format!("the assignment was not made, by a fault of the control server: {text}");
        self.take(Batch {
            job,
            made: Err(Failure::new(FailureKind::Machine, why)),
        });
    }

    pub(super) fn take(&mut self, batch: Batch) {
        let Some(known) = self.made.get_mut(&batch.job) else {
            // It is over meanwhile, and nobody needs what was made since.
            return self.forget(&batch.job);
        };
        known.busy = None;
        match batch.made {
            Ok((files, bytes)) => {
                known.files.extend(files);
                known.bytes = known.bytes.max(bytes);
            }
            Err(failure) => {
                tracing::warn!(job = %batch.job, %failure, "an assignment cannot be made");
                known.failed = Some(failure);
            }
        }
    }

    /// Tells leaders of a job's content; false as long as that has to be made first.
    pub(super) fn notify(
        &mut self,
        job: &KeptJob,
        bases: BTreeMap<Option<VersionId>, BTreeSet<NodeId>>,
    ) -> bool {
        let Some(target) = job.target else {
            return true;
        };
        let wanted: BTreeSet<Option<VersionId>> = bases.keys().copied().collect();
        if !self.has_made(job, &wanted) {
            // The server began anew since it was made: it lies there still.
            self.make(job, wanted, target);
            return false;
        }
        let policy = &job.state.job.policy;
        let name = &job.state.job.name;
        let now = moment();
        let mut segments: BTreeMap<Name, Vec<Variant>> = BTreeMap::new();
        for (base, nodes) in bases {
            let files = &self.made[name].files[&base];
            self.server.board.notified(name, nodes.iter().copied(), now);
            for (segment, nodes) in self.fleet.by_segment(&nodes) {
                segments.entry(segment).or_default().push(Variant {
                    base,
                    files: files.clone(),
                    nodes,
                });
            }
        }
        for (segment, variants) in segments {
            let nodes: usize = variants.iter().map(|variant| variant.nodes.len()).sum();
            let notify = Notify {
                job: name.clone(),
                site: job.state.job.site.clone(),
                group: None,
                term: TERM,
                serial: job.content(),
                target,
                variants,
                sources: Vec::new(),
                quorum: u32::try_from(policy.quorum_after.needed(nodes)).unwrap_or(u32::MAX),
                patience_ms: u32::try_from(policy.patience.as_millis()).unwrap_or(u32::MAX),
            };
            self.server.hub.tell(segment, Downward::Notify(notify));
        }
        true
    }

    /// Gives an order to nodes, at an instant that is the same for all.
    pub(super) fn order(&self, job: &KeptJob, decided: &Decided) {
        let name = &job.state.job.name;
        let action = match decided.kind {
            OrderKind::Commit => Action::Commit,
            OrderKind::Rollback => Action::Rollback,
            OrderKind::Remove => Action::Remove,
            OrderKind::Abort => Action::Abort,
            OrderKind::Gather => Action::Gather,
        };
        let gathers = decided.kind == OrderKind::Gather;
        let assignment = self.server.works.order(OrderMaking {
            job: name.clone(),
            site: job.state.job.site.clone(),
            term: TERM,
            serial: decided.serial,
            action,
            version: decided.version,
            group: gathers.then(|| job.state.job.group.clone()),
        });
        let at_us = decided
            .lead
            .map(|lead| (steady() + lead).as_nanos() / 1_000);
        let told = decided.nodes.iter().copied();
        match gathers {
            true => self.server.board.gathering(name, told, moment()),
            false => self.server.board.ordered(name, told, moment()),
        }
        for (segment, nodes) in self.fleet.by_segment(&decided.nodes) {
            let (job, assignment) = (name.clone(), assignment.clone());
            let message = match decided.kind {
                OrderKind::Abort => Downward::Abort(Abort {
                    job,
                    assignment,
                    nodes,
                }),
                OrderKind::Gather => Downward::Gather(Order {
                    job,
                    assignment,
                    nodes,
                    at_us: None,
                }),
                _ => Downward::Order(Order {
                    job,
                    assignment,
                    nodes,
                    at_us,
                }),
            };
            self.server.hub.tell(segment, message);
        }
    }

    /// What was made for a job that is over is not needed any more.
    pub(super) fn forget(&mut self, job: &Name) {
        self.made.remove(job);
        let (works, job) = (Arc::clone(&self.server.works), job.clone());
        tokio::spawn(async move {
            if let Err(failure) = works.forget(job).await {
                tracing::warn!(%failure, "the files of a job that is over stay");
            }
        });
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked".to_owned())
}

/// The earlier of two moments to wake at.
pub(super) fn earlier(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
