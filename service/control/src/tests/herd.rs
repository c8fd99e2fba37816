use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bellwether_content::assignment::{self, Action};
use bellwether_types::{Incarnation, Name, NodeId, Serial, SitePart, Term, VersionId};
use bellwether_wire::SigningKey;
use bellwether_wire::control::{Holding, Record};
use bellwether_wire::uplink::{
    ChangeKind, Downward, Failure, FailureKind, NodeOutcome, Outcome, Outcomes, Receipt, Served,
    Upward,
};

use super::kit::Bench;
use super::leader::{Enrolled, Leader, record};

/// The nodes of a segment, which do what their leader is told.
#[derive(Clone)]
pub(super) struct Herd(Arc<Mutex<BTreeMap<NodeId, Sheep>>>);

/// A node that does as it is told, unless it is broken.
pub(super) struct Sheep {
    enrolled: Enrolled,
    key: SigningKey,
    pub(super) live: Option<VersionId>,
    /// The order that made it live.
    by: (Term, Serial),
    pub(super) staged: Option<VersionId>,
    held: BTreeSet<VersionId>,
    /// How often something became live on it.
    pub(super) switches: u32,
    /// It cannot stage anything.
    pub(super) broken: bool,
    /// It cannot make anything live.
    pub(super) stuck: bool,
    /// Its leader counts it.
    pub(super) up: bool,
    said: BTreeMap<Name, Outcome>,
}

pub(super) fn shop() -> SitePart {
    "shop".parse().unwrap()
}

impl Herd {
    pub(super) fn new(nodes: &[Enrolled]) -> Self {
        let sheep = nodes.iter().map(|enrolled| {
            let sheep = Sheep {
                enrolled: *enrolled,
                key: SigningKey::from_seed([enrolled.id.as_bytes()[0]; 32]),
                live: None,
                by: (Term(0), Serial(0)),
                staged: None,
                held: BTreeSet::new(),
                switches: 0,
                broken: false,
                stuck: false,
                up: true,
                said: BTreeMap::new(),
            };
            (enrolled.id, sheep)
        });
        Self(Arc::new(Mutex::new(sheep.collect())))
    }

    /// Looks at each node.
    pub(super) fn each<T>(&self, look: impl FnMut(&mut Sheep) -> T) -> Vec<T> {
        self.0.lock().unwrap().values_mut().map(look).collect()
    }

    pub(super) fn with<T>(&self, node: NodeId, look: impl FnOnce(&mut Sheep) -> T) -> T {
        look(self.0.lock().unwrap().get_mut(&node).unwrap())
    }

    /// One of them leads from now on, in the reign of this number, until it is dismissed.
    pub(super) async fn lead(&self, bench: &Bench, node: NodeId, counter: u64) {
        let enrolled = self.with(node, |sheep| sheep.enrolled);
        let mut leader = Leader::open(bench, enrolled, counter).await;
        leader
            .until(|message| matches!(message, Downward::Ask(_)))
            .await;
        leader.tell_all(self.records()).await;
        let herd = self.clone();
        tokio::spawn(async move {
            while let Some(message) = leader.next().await {
                herd.follow(&mut leader, message).await;
            }
        });
        bench.until_up(node).await;
    }

    fn records(&self) -> Vec<Record> {
        let records = self.each(|sheep| sheep.up.then(|| sheep.record()));
        records.into_iter().flatten().collect()
    }

    async fn follow(&self, leader: &mut Leader, message: Downward) {
        match message {
            Downward::Notify(notify) => {
                for variant in &notify.variants {
                    let stage = |sheep: &mut Sheep| sheep.stage(variant.base, notify.target);
                    self.ask(leader, &notify.job, &variant.nodes, stage).await;
                }
            }
            Downward::Gather(order) => {
                let header = assignment::peek(order.assignment.as_slice()).unwrap();
                let gather = |sheep: &mut Sheep| sheep.stage(sheep.live, header.target.unwrap());
                self.ask(leader, &order.job, &order.nodes, gather).await;
            }
            Downward::Order(order) => {
                let header = assignment::peek(order.assignment.as_slice()).unwrap();
                let by = (header.term, header.serial);
                let obey = |sheep: &mut Sheep| sheep.obey(header.action, header.target, by);
                self.ask(leader, &order.job, &order.nodes, obey).await;
                for record in self.records() {
                    leader.tell_of(ChangeKind::Changed, record).await;
                }
            }
            Downward::Abort(abort) => {
                let header = assignment::peek(abort.assignment.as_slice()).unwrap();
                let by = (header.term, header.serial);
                let obey = |sheep: &mut Sheep| sheep.obey(header.action, header.target, by);
                self.ask(leader, &abort.job, &abort.nodes, obey).await;
            }
            Downward::Ask(ask) => {
                if ask.segment {
                    leader.tell_all(self.records()).await;
                }
                for job in ask.jobs {
                    self.report(leader, &job).await;
                }
            }
            _ => {}
        }
    }

    async fn ask(
        &self,
        leader: &mut Leader,
        job: &Name,
        nodes: &[NodeId],
        act: impl Fn(&mut Sheep) -> Outcome,
    ) {
        for node in nodes {
            self.with(*node, |sheep| {
                if sheep.up {
                    let outcome = act(sheep);
                    sheep.said.insert(job.clone(), outcome);
                }
            });
        }
        self.report(leader, job).await;
    }

    async fn report(&self, leader: &mut Leader, job: &Name) {
        let said = self.each(|sheep| {
            let outcome = sheep.said.get(job).cloned()?;
            let node = sheep.enrolled.id;
            Some(NodeOutcome { node, outcome })
        });
        let nodes: Vec<NodeOutcome> = said.into_iter().flatten().collect();
        let job = job.clone();
        leader.say(&Upward::Outcomes(Outcomes { job, nodes })).await;
    }
}

impl Sheep {
    fn record(&self) -> Record {
        let mut record = record(self.enrolled.id);
        let place = shop();
        record.holdings.extend(self.live.map(|version| Holding {
            site: place.site,
            part: place.part,
            version,
        }));
        record
    }

    fn stage(&mut self, base: Option<VersionId>, target: VersionId) -> Outcome {
        if self.broken {
            return Outcome::Failed(Failure::new(FailureKind::Space, "no room on the disk"));
        }
        if self.live == Some(target) {
            return self.serves();
        }
        if self.live != base {
            return Outcome::Failed(Failure::new(FailureKind::Base, "another base"));
        }
        self.staged = Some(target);
        Outcome::Staged(target)
    }

    fn obey(&mut self, action: Action, target: Option<VersionId>, by: (Term, Serial)) -> Outcome {
        let Some(version) = target else {
            self.live = None;
            return Outcome::Removed;
        };
        let staged = self.staged == Some(version);
        match action {
            Action::Abort => {
                self.staged.take_if(|_| staged);
                Outcome::Aborted
            }
            _ if self.live == Some(version) => self.serves(),
            Action::Commit if self.stuck => {
                let why = Failure::new(FailureKind::Hook, "the hook says no");
                Outcome::Behind(self.live, why)
            }
            Action::Commit if staged => {
                self.staged = None;
                self.switch(version, by)
            }
            Action::Rollback if self.held.contains(&version) => self.switch(version, by),
            _ => {
                let why = Failure::new(FailureKind::NotStaged, "it is not held");
                Outcome::Behind(self.live, why)
            }
        }
    }

    fn switch(&mut self, version: VersionId, by: (Term, Serial)) -> Outcome {
        self.live = Some(version);
        self.by = by;
        self.held.insert(version);
        self.switches += 1;
        self.serves()
    }

    fn serves(&self) -> Outcome {
        let (term, serial) = self.by;
        let served = Served {
            node: self.enrolled.id,
            incarnation: Incarnation(1),
            site: shop(),
            version: self.live.expect("it serves something"),
            term,
            serial,
            seconds: 1_700_000_000,
            nanoseconds: 0,
        };
        Outcome::Live(Receipt::sign(served, &self.key))
    }
}
