//! Looks at what can be seen of the nodes, after everything that happens, and judges.
//!
//! A look costs the same however many nodes there are.

mod segment;

use std::fmt;

use bellwether_types::{Epoch, Incarnation, NodeId, Time};
use serde::Serialize;

use self::segment::{Disturbance, Segment};
use crate::plan::Plan;
use crate::process::{Fact, Kind, View};
use crate::property::{Broken, Lack, Property};
use crate::scenario::Expect;
use crate::statistics::Statistics;

/// What a segment recovers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Everybody started.
    ColdStart,
    /// The leader was gone.
    LeaderLost,
    /// The leader was asked to step down.
    StepDown,
    /// What was cut off was connected again.
    Heal,
}

#[derive(Debug)]
pub(crate) struct Watch {
    expect: Expect,
    /// The number of the segment among those of the scenario.
    number: u32,
    segment: Segment,
    /// The last incarnation seen of each node.
    nodes: Vec<Option<(NodeId, Incarnation)>>,
    statistics: Statistics,
    broken: Option<Broken>,
    /// Nothing more is done to the nodes.
    quiet: bool,
    calm: Option<Calm>,
    /// The time to settle is over.
    late: bool,
    /// The end of `calm`, until somebody takes it.
    end: Option<Time>,
}

/// The time in which nothing may change.
#[derive(Debug, Clone, Copy)]
struct Calm {
    begin: Time,
    end: Time,
}

impl Watch {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            expect: plan.scenario.expect,
            number: plan.number,
            segment: Segment::new(plan),
            nodes: vec![None; plan.nodes.len()],
            statistics: Statistics::default(),
            broken: None,
            quiet: false,
            calm: None,
            late: false,
            end: None,
        }
    }

    pub(crate) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// All has been calm for long enough.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.calm.is_some_and(|calm| calm.end <= now)
    }

    /// When to ask whether the run is over, told once.
    pub(crate) fn take_end(&mut self) -> Option<Time> {
        self.end.take()
    }

    pub(crate) fn finish(mut self, now: Time, events: u64) -> (Statistics, Option<Broken>) {
        let hours = now.since(Time::ZERO).as_secs_f64() / 3_600.0;
        self.statistics.simulated_hours = hours;
        self.statistics.events = events;
        if let Some(calm) = self
            .calm
            .filter(|calm| calm.begin < calm.end && calm.end <= now)
        {
            let secs = calm.end.since(calm.begin).as_secs_f64();
            let rate = self.segment.calm_bytes as f64 / secs;
            self.statistics.calm_rate.add(rate);
        }
        (self.statistics, self.broken)
    }

    /// All who lead.
    pub(crate) fn leaders(&self) -> Vec<u32> {
        let leading = self.segment.leading.iter();
        leading.map(|(node, _)| *node).collect()
    }

    /// A leader is ordered to set up a content group.
    pub(crate) fn ordered_group(&mut self) {
        self.segment.groups += 1;
    }

    /// Who leads, in the highest of reigns if several do.
    pub(crate) fn leader(&self) -> Option<u32> {
        let leading = self.segment.leading.iter();
        leading
            .max_by_key(|(_, epoch)| *epoch)
            .map(|(node, _)| *node)
    }

    pub(crate) fn fail(&mut self, at: Time, node: u32, property: Property) {
        self.report(at, Some(node), property);
    }

    fn report(&mut self, at: Time, node: Option<u32>, property: Property) {
        let segment = self.number;
        self.broken.get_or_insert(Broken {
            at,
            segment,
            node,
            property,
        });
    }

    pub(crate) fn started(&mut self, node: u32) {
        let segment = &mut self.segment;
        segment.living.insert(node);
        // Nobody could have ranked it yet.
        segment.heir = None;
    }

    pub(crate) fn died(&mut self, now: Time, node: u32, view: Option<View>) {
        let expect = self.expect;
        let segment = &mut self.segment;
        let settled = segment.lack(expect).is_none();
        segment.living.remove(&node);
        segment.heir = None;
        if let Some(view) = view {
            segment.forget(node, &view);
        }
        if segment.leader == Some(node) {
            segment.leader = None;
            if settled && expect.heir && segment.hindrances == 0 {
                segment.heir = segment.best_living();
            }
            self.disturbed(now, Cause::LeaderLost);
        }
        self.look(now);
    }

    /// A node looks otherwise than before.
    pub(crate) fn changed(&mut self, now: Time, node: u32, before: Option<View>, view: View) {
        self.check_incarnation(now, node, before.is_none(), &view);
        if let Some(before) = before
            && before.obeyed > view.obeyed
            && let Some(from) = before.obeyed
        {
            self.fail(
                now,
                node,
                Property::ReignFell {
                    from,
                    to: view.obeyed,
                },
            );
        }
        let version = before
            .and_then(|before| before.state)
            .map(|state| state.version);
        if let Some(state) = view.state
            && version != Some(state.version)
        {
            if Some(state.version.epoch) != view.obeyed {
                self.fail(now, node, Property::ForeignState(state.version));
            }
            let known = &mut self.segment.digests;
            if *known.entry(state.version).or_insert(state.digest) != state.digest {
                self.fail(now, node, Property::SplitState(state.version));
            }
        }
        if let Some(before) = &before {
            self.segment.forget(node, before);
        }
        self.segment.learn(node, &view);
        self.look(now);
    }

    /// A node says something of itself.
    pub(crate) fn told(&mut self, now: Time, node: u32, view: &View, fact: Fact) {
        let segment = &mut self.segment;
        let property = match fact {
            Fact::Merged { merge, version } => {
                let who = (merge, view.id, view.incarnation);
                let agreed = *segment.merges.entry(merge).or_insert(version) == version;
                match segment.merged.insert(who) {
                    false => Property::MergedTwice(merge),
                    true if !agreed => Property::MergedOtherwise(merge),
                    true => return,
                }
            }
            Fact::Reported {
                epoch,
                sequence,
                whole,
                came,
                went,
            } => {
                let last = segment.reports.insert(epoch, sequence).unwrap_or(0);
                let segment = &mut self.segment;
                segment.server.take((epoch, sequence), whole, &came, &went);
                self.look(now);
                if sequence == last + 1 && (whole || last > 0) {
                    return;
                }
                Property::ReportOrder(epoch, sequence)
            }
            Fact::Amiss(what) => Property::Amiss(what),
            Fact::Noted(_) => return,
        };
        self.fail(now, node, property);
    }

    fn check_incarnation(&mut self, now: Time, node: u32, started: bool, view: &View) {
        let last = self.nodes[node as usize].replace((view.id, view.incarnation));
        if let Some((id, incarnation)) = last
            && started
            && id == view.id
            && incarnation >= view.incarnation
        {
            self.fail(now, node, Property::OldIncarnation);
        }
    }

    /// A node leads, and has kept that it does.
    pub(crate) fn crowned(&mut self, now: Time, node: u32, epoch: Epoch, view: &View) {
        if epoch.leader != view.id {
            self.fail(now, node, Property::ForeignReign(epoch));
        }
        let segment = &mut self.segment;
        let holder = *segment
            .held
            .entry(epoch)
            .or_insert((node, view.incarnation));
        let needless =
            segment.leader.is_some() && segment.disturbance.is_none() && segment.hindrances == 0;
        segment.leader = Some(node);
        if holder != (node, view.incarnation) {
            self.fail(now, node, Property::SharedReign(epoch));
        }
        self.statistics.reigns += 1;
        self.statistics.false_reigns += u64::from(needless);
        self.look(now);
    }

    /// Something happened to a segment that it has to come to terms with.
    pub(crate) fn disturbed(&mut self, now: Time, cause: Cause) {
        let expect = self.expect;
        let segment = &mut self.segment;
        if cause == Cause::Heal && (segment.hindrances > 0 || segment.lack(expect).is_none()) {
            return;
        }
        let heals = segment
            .disturbance
            .as_ref()
            .map(|disturbance| disturbance.cause);
        if heals == Some(Cause::Heal) && cause == Cause::LeaderLost {
            return;
        }
        // A reign can be as old as a split that has just healed: it may well go on.
        let before = segment
            .leading
            .first()
            .map(|(_, epoch)| *epoch)
            .filter(|_| cause == Cause::StepDown);
        segment.disturbance = Some(Disturbance::new(cause, now, before));
    }

    /// Something more, or one thing less, keeps the nodes of a segment from hearing each other.
    pub(crate) fn hindered(&mut self, more: i32) {
        self.segment.hindrances += more;
    }

    pub(crate) fn sent(
        &mut self,
        now: Time,
        node: u32,
        kind: Kind,
        multicast: bool,
        wire_len: usize,
    ) {
        self.statistics.count(kind, wire_len);
        let calm = self.calm.is_some();
        let segment = &mut self.segment;
        if calm {
            segment.calm_bytes += wire_len as u64;
        }
        if let Some(disturbance) = &mut segment.disturbance {
            if kind == Kind::Claim {
                disturbance.claimants.insert(node);
            }
            let counts = multicast && matches!(kind, Kind::Claim | Kind::Alive);
            disturbance.multicasts += u32::from(counts);
            let counts = matches!(kind, Kind::Registration | Kind::Report);
            disturbance.registrations += u32::from(counts);
        }
        if kind == Kind::Registration {
            let second = now.as_nanos() / 1_000_000_000;
            if segment.registrations.0 != second {
                segment.registrations = (second, 0);
            }
            segment.registrations.1 += 1;
            let most = segment.registrations.1;
            let max = &mut self.statistics.registrations_second_max;
            *max = most.max(*max);
        }
    }

    /// Has the segment come to terms with what happened, or lost what it had?
    fn look(&mut self, now: Time) {
        let expect = self.expect;
        let segment = &mut self.segment;
        if segment.disturbance.is_none() && !self.quiet {
            return;
        }
        let lack = segment.lack(expect);
        if let Some(disturbance) = segment.disturbance.take_if(|disturbance| {
            let leads = segment.leading.first().map(|(_, epoch)| *epoch);
            let reached = match disturbance.cause {
                Cause::LeaderLost | Cause::StepDown => {
                    !matches!(lack, Some(Lack::Leader | Lack::OneLeader | Lack::Obedience))
                }
                Cause::ColdStart => lack.is_none(),
                // Whoever died meanwhile is missed later.
                Cause::Heal => matches!(lack, None | Some(Lack::Members | Lack::ControlServer)),
            };
            reached && leads.is_some() && leads != disturbance.before
        }) {
            let took = now.since(disturbance.at);
            let recoveries = self
                .statistics
                .recoveries
                .entry(disturbance.cause)
                .or_default();
            recoveries.add(
                took,
                disturbance.claimants.len(),
                disturbance.multicasts,
                disturbance.registrations,
            );
            let heir = segment.heir.take();
            if disturbance.cause == Cause::LeaderLost
                && let Some(best) = heir
                && let Some((leader, _)) = segment.leading.first().copied()
                && leader != best
            {
                self.fail(now, leader, Property::NotTheBest { leader, best });
                return;
            }
        }
        if !self.quiet {
            return;
        }
        match lack {
            None if !segment.settled => {
                segment.settled = true;
                self.settled(now);
            }
            Some(lack) if segment.settled => {
                // What came last may still have its consequences, until the deadline.
                segment.settled = false;
                self.calm = None;
                if self.late {
                    self.report(now, None, Property::Restless(lack));
                }
            }
            _ => {}
        }
    }

    fn settled(&mut self, now: Time) {
        let end = now + self.expect.calm.0;
        self.calm = Some(Calm { begin: now, end });
        self.end = Some(end);
        self.segment.calm_bytes = 0;
        let best = self.segment.best;
        if self.expect.best
            && let Some(leader) = self.leader().filter(|leader| *leader != best)
        {
            self.fail(now, leader, Property::NotTheBest { leader, best });
        }
    }

    /// From now on nothing more is done to the nodes.
    pub(crate) fn quiet(&mut self, now: Time) {
        self.quiet = true;
        self.look(now);
    }

    /// By now all must have settled.
    pub(crate) fn deadline(&mut self, now: Time) {
        self.late = true;
        let lack = self.segment.lack(self.expect);
        if let Some(lack) = lack.filter(|_| !self.segment.settled) {
            self.report(now, None, Property::Unsettled(lack));
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ColdStart => "cold start to settled",
            Self::LeaderLost => "leader lost to new one obeyed",
            Self::StepDown => "step-down to new one obeyed",
            Self::Heal => "healed to settled",
        })
    }
}
