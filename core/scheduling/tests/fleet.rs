//! A control server that may die after every step, and nodes that die, return, fail, and whose reports are lost or come
//! twice; all from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_scheduling::{
    Base, CommitMode, Decision, Ending, Job, JobState, Kind, Moment, NodeView, Occupied, OrderKind,
    Partial, Phase, Plan, Policy, Presence, Quorum, Reported, Status, Step, View, behind, next,
};
use bellwether_types::{Hash, Incarnation, NodeId, Serial, Term, VersionId};
use bellwether_wire::uplink::{Failure, FailureKind, Outcome, Receipt, Served};
use proptest::prelude::*;

/// One tick of the world, in milliseconds.
const TICK: u64 = 500;
const TICKS_MAX: usize = 4_000;

fn id(number: usize) -> NodeId {
    NodeId::from_bytes([number as u8 + 1; 16])
}

fn version(number: u64) -> VersionId {
    VersionId(Hash([number as u8; 32]))
}

#[derive(Debug, Clone, Default)]
struct Node {
    up: bool,
    live: Option<VersionId>,
    staged: Option<VersionId>,
    held: BTreeSet<VersionId>,
    last_order: Serial,
    /// What it said last of each job; repeated by its leader as long as it is up.
    said: BTreeMap<usize, Outcome>,
    /// It fails whatever it is to stage.
    broken: bool,
    /// What it is staging: for which job, from which base, to what.
    staging: Option<(usize, Option<VersionId>, VersionId)>,
    /// What it is getting from others: for which job.
    gathering: Option<(usize, VersionId)>,
}

#[derive(Debug, Clone, Default)]
struct Volatile {
    began: Moment,
    /// Nodes that have registered since the server began.
    seen: BTreeSet<usize>,
    views: BTreeMap<usize, View>,
}

/// How much goes wrong, in percent of occasions.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    lost: u64,
    dies: u64,
    returns: u64,
    fails: u64,
    server: u64,
    plan: u64,
}

const CALM: Trouble = Trouble {
    lost: 0,
    dies: 0,
    returns: 100,
    fails: 0,
    server: 0,
    plan: 0,
};

struct World {
    random: u64,
    trouble: Trouble,
    now: Moment,
    nodes: Vec<Node>,
    /// All that is kept.
    jobs: Vec<JobState>,
    /// What each job is to bring.
    targets: Vec<VersionId>,
    site_live: Option<VersionId>,
    /// What each node last signed for.
    receipts: Vec<Option<VersionId>>,
    serial: u64,
    volatile: Volatile,
    /// After so many decisions the server dies once.
    dies_after: Option<usize>,
    decisions: usize,
    /// How often content left the control server.
    notices: usize,
    /// Nobody gives anybody anything.
    selfish: bool,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64, nodes: usize, trouble: Trouble) -> Self {
        let live = version(1);
        let node = Node {
            up: true,
            live: Some(live),
            held: BTreeSet::from([live]),
            ..Node::default()
        };
        Self {
            random: seed | 1,
            trouble,
            now: Moment(1_000_000),
            nodes: vec![node; nodes],
            jobs: Vec::new(),
            targets: Vec::new(),
            site_live: Some(live),
            receipts: vec![Some(live); nodes],
            serial: 1,
            volatile: Volatile::default(),
            dies_after: None,
            decisions: 0,
            notices: 0,
            selfish: false,
            trace: Vec::new(),
        }
    }

    fn ask(&mut self, kind: Kind, target: VersionId, policy: Policy) -> usize {
        let number = self.jobs.len();
        self.jobs.push(JobState::new(Job {
            name: format!("job-{number}").parse().unwrap(),
            kind,
            site: "shop".parse().unwrap(),
            group: "edge".parse().unwrap(),
            due: self.now,
            policy,
        }));
        self.targets.push(target);
        number
    }

    fn draw(&mut self, of: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % of
    }

    fn luck(&mut self, percent: u64) -> bool {
        self.draw(100) < percent
    }

    /// Runs until all jobs are over.
    fn run(&mut self) {
        for _ in 0..TICKS_MAX {
            if self.jobs.iter().all(|job| job.status.is_over()) {
                return;
            }
            self.tick();
        }
        panic!(
            "jobs do not end: {:?}\n{}",
            self.jobs,
            self.trace.join("\n")
        );
    }

    fn tick(&mut self) {
        self.now = self.now + Duration::from_millis(TICK);
        for number in 0..self.nodes.len() {
            let change = match self.nodes[number].up {
                true => self.trouble.dies,
                false => self.trouble.returns,
            };
            if self.luck(change) {
                self.nodes[number].up ^= true;
            }
            if self.nodes[number].up && !self.luck(self.trouble.lost) {
                self.volatile.seen.insert(number);
            }
            self.work(number);
            self.report(number);
        }
        if self.luck(self.trouble.server) {
            self.restart();
        }
        for job in 0..self.jobs.len() {
            // As many decisions as there are: but not without end.
            for _ in 0..50 {
                if !self.decide(job) {
                    break;
                }
            }
            self.check_apart();
        }
    }

    fn restart(&mut self) {
        self.trace.push("the server dies".into());
        self.volatile = Volatile {
            began: self.now,
            ..Volatile::default()
        };
    }

    /// A node's last words reach the server, or do not; perhaps again.
    fn report(&mut self, number: usize) {
        if !self.nodes[number].up || !self.volatile.seen.contains(&number) {
            return;
        }
        for (job, outcome) in self.nodes[number].said.clone() {
            if self.luck(self.trouble.lost) {
                continue;
            }
            let now = self.now;
            match &outcome {
                Outcome::Live(receipt) => self.receipts[number] = Some(receipt.served.version),
                Outcome::Removed => self.receipts[number] = None,
                _ => {}
            }
            let view = self.volatile.views.entry(job).or_default();
            let known = view.reported.get(&id(number));
            if known.is_none_or(|known| known.outcome != outcome) {
                let reported = Reported { outcome, at: now };
                view.reported.insert(id(number), reported);
            }
        }
    }

    fn view(&self, job: usize) -> View {
        let mut view = self.volatile.views.get(&job).cloned().unwrap_or_default();
        view.began = self.volatile.began;
        let node = |(number, node): (usize, &Node)| {
            let seen = self.volatile.seen.contains(&number);
            let known = NodeView {
                presence: match (seen, node.up) {
                    (false, _) => Presence::Unknown,
                    (true, true) => Presence::Up,
                    (true, false) => Presence::Down,
                },
                busy: false,
                free_bytes: 1_000,
                base: match seen {
                    true => Base::Known(node.live),
                    false => Base::Unknown,
                },
                signed: self.receipts[number],
                has_neighbour: self.has_neighbour(number, job),
            };
            (id(number), known)
        };
        view.nodes = self.nodes.iter().enumerate().map(node).collect();
        let others = self.jobs.iter().enumerate().filter(|(other, state)| {
            let waits = !state.status.is_over() && !state.occupies() && *other < job;
            *other != job && (state.occupies() || waits)
        });
        view.occupied = others
            .map(|(_, state)| Occupied {
                job: state.job.name.clone(),
                site: state.job.site.clone(),
                nodes: match state.occupies() {
                    true => state.nodes.clone(),
                    false => view.nodes.keys().copied().collect(),
                },
            })
            .collect();
        view
    }

    /// Whether another node that is up serves what a job brings.
    fn has_neighbour(&self, number: usize, job: usize) -> bool {
        let Some(target) = self.targets.get(job) else {
            return false;
        };
        let mut others = self.nodes.iter().enumerate();
        others.any(|(other, node)| {
            other != number
                && node.up
                && node.live == Some(*target)
                && self.volatile.seen.contains(&other)
        })
    }

    /// One decision of a job; false if it waits.
    fn decide(&mut self, job: usize) -> bool {
        let view = self.view(job);
        let decision = next(&self.jobs[job], &view, self.now);
        assert_eq!(
            decision,
            next(&self.jobs[job].clone(), &view, self.now),
            "asked twice it says the same"
        );
        let (until, waits) = match decision {
            Decision::Wait(until) => (until, true),
            _ => (None, false),
        };
        if waits {
            assert!(until.is_none_or(|until| until > self.now), "it would spin");
            return false;
        }
        self.trace
            .push(format!("{:?} {job}: {decision:?}", self.now));
        self.decisions += 1;
        let dies_here = self.dies_after == Some(self.decisions);
        let dies = dies_here || self.luck(self.trouble.server);
        // Before it is carried out, after it, or after it is kept.
        let when = if dies { self.draw(3) } else { 3 };
        if when == 0 {
            self.restart();
            return true;
        }
        let step = self.carry_out(job, decision);
        if when == 1 {
            self.restart();
            return true;
        }
        if let Some(step) = step {
            self.keep(job, &step);
        }
        if when == 2 {
            self.restart();
        }
        true
    }

    fn carry_out(&mut self, job: usize, decision: Decision) -> Option<Step> {
        let target = self.targets[job];
        match decision {
            Decision::Wait(_) => None,
            Decision::Keep(step) => Some(step),
            Decision::Plan(_) if self.luck(self.trouble.plan) => {
                Some(Step::PlanFailed(Failure::new(FailureKind::Machine, "no")))
            }
            Decision::Plan(bases) => {
                let serial = match &self.jobs[job].plan {
                    Some(plan) => plan.serial,
                    None => {
                        self.serial += 3;
                        Serial(self.serial)
                    }
                };
                let removes = self.jobs[job].job.kind == Kind::Remove;
                Some(Step::Planned(Plan {
                    target: (!removes).then_some(target),
                    previous: self.site_live,
                    serial,
                    order: Serial(serial.0 + 1),
                    undo: Serial(serial.0 + 2),
                    bytes: 10,
                    bases,
                }))
            }
            Decision::Notify(bases) => {
                self.notices += 1;
                for (base, nodes) in bases {
                    for node in nodes {
                        let number = usize::from(node.as_bytes()[0]) - 1;
                        let view = self.volatile.views.entry(job).or_default();
                        view.notified.insert(node, self.now);
                        if self.nodes[number].up && !self.luck(self.trouble.lost) {
                            self.nodes[number].staging = Some((job, base, target));
                            self.work(number);
                        }
                    }
                }
                None
            }
            Decision::Order {
                kind,
                serial,
                version,
                nodes,
                ..
            } => {
                let decided = self.jobs[job].is_decided();
                let each = self.jobs[job].job.policy.commit == CommitMode::EachWhenReady;
                let is_after = match kind {
                    OrderKind::Gather => each,
                    kind => kind != OrderKind::Abort,
                };
                assert_eq!(decided, is_after, "{kind:?}: {:?}", self.jobs[job]);
                for node in nodes {
                    let number = usize::from(node.as_bytes()[0]) - 1;
                    let view = self.volatile.views.entry(job).or_default();
                    let told = match kind {
                        OrderKind::Gather => &mut view.gathering,
                        _ => &mut view.ordered,
                    };
                    told.insert(node, self.now);
                    if self.nodes[number].up && !self.luck(self.trouble.lost) {
                        self.obey(job, number, kind, serial, version);
                    }
                }
                None
            }
        }
    }

    /// A node goes on with what it stages, and may be slow.
    fn work(&mut self, number: usize) {
        let slow = self.luck(self.trouble.fails * 3);
        if self.nodes[number].up
            && !slow
            && let Some((job, base, target)) = self.nodes[number].staging.take()
        {
            self.stage(job, number, base, target);
        }
        if self.nodes[number].up
            && !slow
            && let Some((job, target)) = self.nodes[number].gathering.take()
        {
            match self.selfish || !self.has_neighbour(number, job) || self.luck(self.trouble.fails)
            {
                true => {
                    let why = Failure::new(FailureKind::Neighbours, "nobody gives it");
                    self.nodes[number].said.insert(job, Outcome::Failed(why));
                }
                false => {
                    let base = self.nodes[number].live;
                    self.stage(job, number, base, target);
                }
            }
        }
    }

    fn stage(&mut self, job: usize, number: usize, base: Option<VersionId>, target: VersionId) {
        let fails = self.nodes[number].broken || self.luck(self.trouble.fails);
        let each = self.jobs[job].job.policy.commit == CommitMode::EachWhenReady;
        let node = &mut self.nodes[number];
        let outcome = if node.live == Some(target) {
            live(number, target)
        } else if node.live != base {
            Outcome::Failed(Failure::new(FailureKind::Base, "another base"))
        } else if fails {
            Outcome::Failed(Failure::new(FailureKind::Space, "no room"))
        } else if each {
            node.held.insert(target);
            node.live = Some(target);
            live(number, target)
        } else {
            node.held.insert(target);
            node.staged = Some(target);
            Outcome::Staged(target)
        };
        node.said.insert(job, outcome);
    }

    fn obey(
        &mut self,
        job: usize,
        number: usize,
        kind: OrderKind,
        serial: Serial,
        version: Option<VersionId>,
    ) {
        let node = &mut self.nodes[number];
        if serial < node.last_order {
            return;
        }
        if kind == OrderKind::Gather {
            node.gathering = version.map(|version| (job, version));
            return;
        }
        node.last_order = serial;
        if kind == OrderKind::Abort {
            node.staging.take_if(|(of, ..)| *of == job);
            node.gathering.take_if(|(of, ..)| *of == job);
        }
        if kind == OrderKind::Remove {
            node.live = None;
            node.said.insert(job, Outcome::Removed);
            return;
        }
        let version = version.expect("there is one");
        let outcome = match kind {
            OrderKind::Commit if node.staged == Some(version) || node.live == Some(version) => {
                node.staged = None;
                node.live = Some(version);
                live(number, version)
            }
            OrderKind::Rollback if node.held.contains(&version) => {
                node.live = Some(version);
                live(number, version)
            }
            OrderKind::Abort => {
                if node.staged == Some(version) {
                    node.staged = None;
                }
                Outcome::Aborted
            }
            _ => {
                let failure = Failure::new(FailureKind::NotStaged, "it is not here");
                Outcome::Behind(node.live, failure)
            }
        };
        node.said.insert(job, outcome);
    }

    fn keep(&mut self, job: usize, step: &Step) {
        let before = self.jobs[job].clone();
        let state = &mut self.jobs[job];
        state.apply(step, self.now).unwrap_or_else(|refused| {
            panic!("{step:?}: {refused}\n{before:?}\n{}", self.trace.join("\n"))
        });
        let (before, state) = (before, &self.jobs[job]);
        assert!(before.status == state.status || before.status.may_become(state.status));
        let bytes = minicbor::to_vec(state).unwrap();
        assert_eq!(minicbor::decode::<JobState>(&bytes).unwrap(), *state);
        let target = self.targets[job];
        let policy = &state.job.policy;
        if *step == Step::Decided
            && state.job.kind.distributes()
            && policy.commit != CommitMode::EachWhenReady
        {
            let has = |node: &&Node| node.staged == Some(target) || node.live == Some(target);
            let staged = self.nodes.iter().filter(has).count();
            assert!(staged >= policy.quorum_after.needed(state.nodes.len()));
        }
        if before.is_decided() {
            let dropped = matches!(state.phase, Phase::Dropping(..));
            assert!(!dropped && state.status != Status::Aborted, "{step:?}");
        }
        if let Step::Finished(status, endings) = step {
            self.check_end(job, *status, endings);
        }
    }

    fn check_end(&mut self, job: usize, status: Status, endings: &BTreeMap<NodeId, Ending>) {
        let removes = self.jobs[job].job.kind == Kind::Remove;
        let target = match status {
            Status::RolledBack => self.site_live,
            _ => (!removes).then_some(self.targets[job]),
        };
        for (node, ending) in endings {
            let number = usize::from(node.as_bytes()[0]) - 1;
            match ending {
                Ending::Done => assert_eq!(self.nodes[number].live, target, "node {number}"),
                Ending::Behind(why) => assert!(!why.reason.is_empty()),
            }
        }
        match status {
            Status::Completed | Status::CompletedMissing => {
                assert_eq!(endings.len(), self.jobs[job].nodes.len());
                self.site_live = target;
            }
            Status::Failed | Status::Aborted | Status::Cancelled | Status::RolledBack => {}
            _ => panic!("{status} is no end"),
        }
    }

    /// SCHED-03: no two jobs have one node of the site.
    fn check_apart(&self) {
        let running: Vec<_> = self.jobs.iter().filter(|job| job.occupies()).collect();
        for (index, one) in running.iter().enumerate() {
            for other in &running[index + 1..] {
                assert!(one.nodes.is_disjoint(&other.nodes), "{one:?}\n{other:?}");
            }
        }
    }

    /// Nothing goes wrong any more: who is behind is brought to live by jobs of their own.
    fn calm_down(&mut self) {
        self.trouble = CALM;
        self.dies_after = None;
        for node in &mut self.nodes {
            node.broken = false;
        }
        for _ in 0..5 {
            self.tick();
            let Some(live) = self.site_live else { return };
            let view = self.view(usize::MAX);
            let late = behind(&"shop".parse().unwrap(), live, &view);
            if late.is_empty() {
                break;
            }
            let policy = Policy {
                quorum_before: Quorum::Count(1),
                quorum_after: Quorum::Count(1),
                ..quick(CommitMode::Together)
            };
            self.ask(Kind::Synchronize, live, policy);
            self.run();
        }
        for (node, receipt) in self.nodes.iter().zip(&self.receipts) {
            assert_eq!(node.live, self.site_live, "{}", self.trace.join("\n"));
            assert_eq!(*receipt, node.live, "{}", self.trace.join("\n"));
        }
    }
}

fn live(number: usize, version: VersionId) -> Outcome {
    let served = Served {
        node: id(number),
        incarnation: Incarnation(1),
        site: "shop".parse().unwrap(),
        version,
        term: Term(1),
        serial: Serial(1),
        seconds: 0,
        nanoseconds: 0,
    };
    // Signing each would take longer than all the rest.
    Outcome::Live(Receipt {
        served,
        signature: [0; bellwether_wire::SIGNATURE_LEN],
    })
}

fn quick(commit: CommitMode) -> Policy {
    Policy {
        commit,
        quorum_before: Quorum::Percent(51),
        quorum_after: Quorum::Percent(51),
        retries: 3,
        retry_after: Duration::from_secs(5),
        patience: Duration::from_secs(3),
        distribute_max: Duration::from_secs(30),
        commit_max: Duration::from_secs(10),
        repeat: Duration::from_secs(1),
        renew: Duration::from_secs(1),
        ..Policy::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// CCM-11, CCM-12, COMMIT-01, COMMIT-02, COMMIT-13, JOB-12, SCHED-02 to SCHED-05, SCHED-08. Whatever goes wrong: no
    /// commit before the quorum has staged, no abort after it was decided, no two jobs at one site on one node, every node
    /// ends done or behind with a reason, every job ends, and who is behind catches up.
    #[test]
    fn every_job_ends_as_it_may_whatever_goes_wrong(
        seed in any::<u64>(),
        nodes in 1_usize..7,
        lost in 0_u64..40,
        dies in 0_u64..8,
        fails in 0_u64..30,
        server in 0_u64..8,
        plan in 0_u64..20,
        mode in 0_usize..4,
        roll_back in any::<bool>(),
        broken in 0_usize..3,
        abort_at in 0_usize..60,
    ) {
        let trouble = Trouble { lost, dies, returns: 30, fails, server, plan };
        let mut world = World::new(seed, nodes, trouble);
        for number in 0..broken.min(nodes) {
            world.nodes[number].broken = true;
        }
        let mode = [CommitMode::Together, CommitMode::EachWhenReady, CommitMode::ByHand, CommitMode::Together][mode];
        let mut policy = quick(mode);
        if roll_back {
            policy.partial = Partial::RollBack;
        }
        let first = world.ask(Kind::Publish, version(2), policy.clone());
        world.ask(Kind::Publish, version(3), policy.clone());
        for tick in 0..80 {
            world.tick();
            if tick == abort_at {
                let now = world.now;
                let decided = world.jobs[first].is_decided();
                let over = world.jobs[first].status.is_over();
                let asked = world.jobs[first].apply(&Step::AbortAsked, now);
                prop_assert_eq!(asked.is_ok(), !decided && !over);
            }
            if tick % 20 == 19 {
                let now = world.now;
                for job in &mut world.jobs {
                    let _ = job.apply(&Step::CommitAsked, now);
                }
            }
        }
        let now = world.now;
        for job in &mut world.jobs {
            let _ = job.apply(&Step::CommitAsked, now);
        }
        world.run();
        if world.jobs[first].is_decided() {
            prop_assert!(world.jobs[first].status != Status::Aborted);
        }
        world.calm_down();
    }
}

/// CCM-12, DB-07, JOB-15. The server dies once, after any decision, before it is carried out, before it is kept, and
/// after.
#[test]
fn a_run_that_is_cut_anywhere_and_resumed_ends_the_same() {
    for kind in Kind::ALL {
        for mode in [CommitMode::Together, CommitMode::EachWhenReady] {
            let run = |dies_after, seed| {
                let mut world = World::new(seed, 5, CALM);
                world.dies_after = dies_after;
                let target = match kind {
                    Kind::Rollback | Kind::Switch => version(9),
                    _ => version(2),
                };
                for node in &mut world.nodes {
                    node.held.insert(version(9));
                }
                world.ask(kind, target, quick(mode));
                world.run();
                let nodes: Vec<_> = world.nodes.iter().map(|node| node.live).collect();
                let job = world.jobs.remove(0);
                (job.status, job.endings, nodes, world.decisions)
            };
            let whole = run(None, 3);
            assert_eq!(whole.0, Status::Completed, "{kind:?}");
            for cut in 1..=whole.3 {
                for seed in 1..9 {
                    let cut_run = run(Some(cut), seed);
                    assert_eq!(
                        (&cut_run.0, &cut_run.1, &cut_run.2),
                        (&whole.0, &whole.1, &whole.2),
                        "{kind:?}, cut after {cut}"
                    );
                }
            }
        }
    }
}

/// JOB-04: nodes that missed something, or have nothing, get it from those who serve it, and nothing leaves the control
/// server; whoever gets nothing there, has it from the control server. However often the server dies.
#[test]
fn who_missed_something_has_it_from_neighbours_and_from_the_control_server_if_they_fail() {
    for mode in [CommitMode::Together, CommitMode::EachWhenReady] {
        for selfish in [false, true] {
            let run = |dies_after, seed| {
                let mut world = World::new(seed, 5, CALM);
                world.dies_after = dies_after;
                world.selfish = selfish;
                for number in 0..2 {
                    world.nodes[number].live = Some(version(2));
                    world.nodes[number].held.insert(version(2));
                    world.receipts[number] = Some(version(2));
                }
                world.nodes[4].live = None;
                world.site_live = Some(version(2));
                world.ask(Kind::Synchronize, version(2), quick(mode));
                world.run();
                assert_eq!(world.jobs[0].status, Status::Completed, "{:?}", world.trace);
                assert!(world.nodes.iter().all(|node| node.live == Some(version(2))));
                (world.decisions, world.notices)
            };
            let (decisions, notices) = run(None, 3);
            assert_eq!(notices > 0, selfish, "{mode:?}");
            for cut in 1..=decisions {
                for seed in 1..9 {
                    let (_, notices) = run(Some(cut), seed);
                    assert!(selfish || notices == 0, "{mode:?}, cut after {cut}");
                }
            }
        }
    }
}

/// The model is worth something only if it comes everywhere.
#[test]
fn every_way_to_end_is_reached() {
    let mut ways = BTreeMap::new();
    for seed in 1..1_200 {
        let trouble = Trouble {
            lost: seed % 37,
            dies: seed % 7,
            returns: 30,
            fails: seed % 29,
            server: seed % 5,
            plan: seed % 19,
        };
        let mut world = World::new(seed * 0x9e37_79b9, 5, trouble);
        let mut policy = quick(CommitMode::Together);
        if seed % 2 == 0 {
            policy.partial = Partial::RollBack;
        }
        for broken in 0..seed % 4 {
            world.nodes[broken as usize].broken = true;
        }
        let job = world.ask(Kind::Publish, version(2), policy);
        for _ in 0..seed % 11 {
            world.tick();
        }
        if seed % 3 == 0 {
            let now = world.now;
            let _ = world.jobs[job].apply(&Step::AbortAsked, now);
        }
        world.run();
        *ways.entry(world.jobs[job].status).or_insert(0) += 1;
    }
    for (status, _) in Status::ALL {
        assert_eq!(ways.contains_key(&status), status.is_over(), "{ways:?}");
    }
    println!("{ways:?}");
}
