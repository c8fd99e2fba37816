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
    segments: Vec<Segment>,
    /// The segment of each node, and the last incarnation seen of it.
    nodes: Vec<(u32, Option<(NodeId, Incarnation)>)>,
    statistics: Statistics,
    broken: Option<Broken>,
    /// Segments that are not settled, once all is quiet.
    unsettled: Option<usize>,
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
        let mut nodes = vec![(0, None); plan.nodes.len()];
        for (number, segment) in plan.segments.iter().enumerate() {
            segment
                .clone()
                .for_each(|node| nodes[node as usize].0 = number as u32);
        }
        Self {
            expect: plan.scenario.expect,
            segments: plan
                .segments
                .iter()
                .map(|nodes| Segment::new(nodes, plan))
                .collect(),
            nodes,
            statistics: Statistics::default(),
            broken: None,
            unsettled: None,
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
            for segment in &self.segments {
                self.statistics
                    .calm_rate
                    .add(segment.calm_bytes as f64 / secs);
            }
        }
        (self.statistics, self.broken)
    }

    /// All who lead.
    pub(crate) fn leaders(&self, segment: u32) -> Vec<u32> {
        let leading = self.segments[segment as usize].leading.iter();
        leading.map(|(node, _)| *node).collect()
    }

    /// A leader is ordered to set up a content group.
    pub(crate) fn ordered_group(&mut self, segment: u32) {
        self.segments[segment as usize].groups += 1;
    }

    /// Who leads, in the highest of reigns if several do.
    pub(crate) fn leader(&self, segment: u32) -> Option<u32> {
        let leading = self.segments[segment as usize].leading.iter();
        leading
            .max_by_key(|(_, epoch)| *epoch)
            .map(|(node, _)| *node)
    }

    pub(crate) fn fail(&mut self, at: Time, node: u32, property: Property) {
        let segment = self.nodes[node as usize].0;
        self.report(Broken {
            at,
            segment,
            node: Some(node),
            property,
        });
    }

    fn report(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
    }

    pub(crate) fn started(&mut self, node: u32) {
        let segment = self.segment(node);
        segment.living.insert(node);
        // Nobody could have ranked it yet.
        segment.heir = None;
    }

    pub(crate) fn died(&mut self, now: Time, node: u32, view: Option<View>) {
        let number = self.nodes[node as usize].0;
        let expect = self.expect;
        let segment = self.segment(node);
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
            self.disturbed(now, number, Cause::LeaderLost);
        }
        self.look(now, number);
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
        let number = self.nodes[node as usize].0;
        let version = before
            .and_then(|before| before.state)
            .map(|state| state.version);
        if let Some(state) = view.state
            && version != Some(state.version)
        {
            if Some(state.version.epoch) != view.obeyed {
                self.fail(now, node, Property::ForeignState(state.version));
            }
            let known = &mut self.segment(node).digests;
            if *known.entry(state.version).or_insert(state.digest) != state.digest {
                self.fail(now, node, Property::SplitState(state.version));
            }
        }
        if let Some(before) = &before {
            self.segment(node).forget(node, before);
        }
        self.segment(node).learn(node, &view);
        if let Some(epoch) = view.leads()
            && before.and_then(|before| before.leads()) != Some(epoch)
        {
            self.crowned(now, node, epoch, &view);
        }
        self.look(now, number);
    }

    /// A node says something of itself.
    pub(crate) fn told(&mut self, now: Time, node: u32, view: &View, fact: Fact) {
        let segment = self.segment(node);
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
                let number = self.nodes[node as usize].0;
                let segment = self.segment(node);
                segment.server.take((epoch, sequence), whole, &came, &went);
                self.look(now, number);
                if sequence == last + 1 && (whole || last > 0) {
                    return;
                }
                Property::ReportOrder(epoch, sequence)
            }
            Fact::Amiss(what) => Property::Amiss(what),
        };
        self.fail(now, node, property);
    }

    fn check_incarnation(&mut self, now: Time, node: u32, started: bool, view: &View) {
        let last = self.nodes[node as usize]
            .1
            .replace((view.id, view.incarnation));
        if let Some((id, incarnation)) = last
            && started
            && id == view.id
            && incarnation >= view.incarnation
        {
            self.fail(now, node, Property::OldIncarnation);
        }
    }

    fn crowned(&mut self, now: Time, node: u32, epoch: Epoch, view: &View) {
        if epoch.leader != view.id {
            self.fail(now, node, Property::ForeignReign(epoch));
        }
        let segment = self.segment(node);
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
    }

    /// Something happened to a segment that it has to come to terms with.
    pub(crate) fn disturbed(&mut self, now: Time, number: u32, cause: Cause) {
        let expect = self.expect;
        let segment = &mut self.segments[number as usize];
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
    pub(crate) fn hindered(&mut self, segment: u32, more: i32) {
        self.segments[segment as usize].hindrances += more;
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
        let segment = self.segment(node);
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
    fn look(&mut self, now: Time, number: u32) {
        let expect = self.expect;
        let segment = &mut self.segments[number as usize];
        if segment.disturbance.is_none() && self.unsettled.is_none() {
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
        let Some(unsettled) = &mut self.unsettled else {
            return;
        };
        match lack {
            None if !segment.settled => {
                segment.settled = true;
                *unsettled -= 1;
                if *unsettled == 0 {
                    self.all_settled(now);
                }
            }
            Some(lack) if segment.settled => {
                // What came last may still have its consequences, until the deadline.
                segment.settled = false;
                *unsettled += 1;
                self.calm = None;
                if self.late {
                    let property = Property::Restless(lack);
                    self.report(Broken {
                        at: now,
                        segment: number,
                        node: None,
                        property,
                    });
                }
            }
            _ => {}
        }
    }

    fn all_settled(&mut self, now: Time) {
        let end = now + self.expect.calm.0;
        self.calm = Some(Calm { begin: now, end });
        self.end = Some(end);
        self.segments
            .iter_mut()
            .for_each(|segment| segment.calm_bytes = 0);
        if !self.expect.best {
            return;
        }
        for number in 0..self.segments.len() as u32 {
            let best = self.segments[number as usize].best;
            if let Some(leader) = self.leader(number).filter(|leader| *leader != best) {
                self.fail(now, leader, Property::NotTheBest { leader, best });
            }
        }
    }

    /// From now on nothing more is done to the nodes.
    pub(crate) fn quiet(&mut self, now: Time) {
        self.unsettled = Some(self.segments.len());
        (0..self.segments.len() as u32).for_each(|number| self.look(now, number));
    }

    /// By now all must have settled.
    pub(crate) fn deadline(&mut self, now: Time) {
        let expect = self.expect;
        self.late = true;
        let late = self.segments.iter().position(|segment| !segment.settled);
        if let Some(number) = late
            && let Some(lack) = self.segments[number].lack(expect)
        {
            let property = Property::Unsettled(lack);
            self.report(Broken {
                at: now,
                segment: number as u32,
                node: None,
                property,
            });
        }
    }

    fn segment(&mut self, node: u32) -> &mut Segment {
        &mut self.segments[self.nodes[node as usize].0 as usize]
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
