//! What a leader does for its members: it collects registrations and reports them after a quiet interval
//! (REG-04, REG-05), answers who missed something, and tells the control server (CLUSTER-05, CLUSTER-06).

use std::collections::{BTreeMap, BTreeSet};

use bellwether_machine::Outbox;
use bellwether_types::{Epoch, NodeId, Time};
use bellwether_wire::control::{Key, Record, StateVersion, Value};
use bellwether_wire::uplink::{
    ChangeKind, ClusterReport, MemberChange, Report, ReportNumber, SegmentReport,
};

use crate::coordinator::Coordinator;
use crate::membership::{Membership, Role, Timer};
use crate::output::{Event, Output, To};
use crate::state::Known;

/// A leader's work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    pub(crate) epoch: Epoch,
    /// News for the next report.
    pub(crate) changes: BTreeMap<Key, Option<Value>>,
    /// Members who said farewell.
    pub(crate) farewells: BTreeSet<NodeId>,
    /// Members heard in this window.
    pub(crate) heard: BTreeSet<NodeId>,
    /// Members not heard in the last one, and the inquiries sent to each since.
    pub(crate) suspects: BTreeMap<NodeId, u8>,
    /// Members that are behind, and what they hold.
    pub(crate) questions: BTreeMap<NodeId, Option<StateVersion>>,
    /// Nodes that hold a state of another line, and the registration of each.
    pub(crate) strangers: BTreeMap<NodeId, Stranger>,
    /// Members that registered without a state, and have not shown one since.
    pub(crate) newcomers: BTreeSet<NodeId>,
    /// Merges ordered in this reign.
    pub(crate) merges: u64,
    pub(crate) coordinator: Option<Coordinator>,
    /// Reports to the control server in this reign.
    pub(crate) reports: u64,
    /// Has the segment had a report in this reign?
    pub(crate) reported: bool,
}

/// A node that holds a state which is not in the leader's line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Stranger {
    pub(crate) held: StateVersion,
    pub(crate) record: Record,
}

/// Reigns remembered, as when subgroups merge.
const REIGNS_MAX: usize = 32;

impl Leader {
    /// Keys of the news for the next report.
    pub(crate) fn news(&self) -> impl Iterator<Item = &Key> {
        self.changes.keys()
    }

    pub(crate) const fn has_reported(&self) -> bool {
        self.reported
    }
}

impl Membership {
    pub(crate) fn lead(&mut self, now: Time, epoch: Epoch, out: &mut Outbox<Output>) {
        if self.epoch() == Some(epoch) || epoch.leader != self.node() {
            return;
        }
        if !self.state.trusted {
            self.state.segment = Default::default();
        }
        self.state.trusted = true;
        let before = self.state.segment.version();
        let mut leader = Leader {
            epoch,
            changes: BTreeMap::new(),
            farewells: BTreeSet::new(),
            heard: BTreeSet::new(),
            suspects: BTreeMap::new(),
            questions: BTreeMap::new(),
            strangers: BTreeMap::new(),
            newcomers: BTreeSet::new(),
            merges: 0,
            coordinator: None,
            reports: 0,
            reported: false,
        };
        if let Some(before) = before {
            self.end_reign(&mut leader.changes, before);
            // There would be no new leader if the old one were well.
            let old = before.epoch.leader;
            if old != epoch.leader && self.state.segment.record(old).is_some() {
                leader.suspects.insert(old, 0);
            }
        }
        self.change_role(Role::Leader(Box::new(leader)));
        let spans = &self.settings.spans;
        let window = spans.refresh(self.state.segment.member_count());
        self.deadlines.set(Timer::Report, now + spans.report_delay);
        self.deadlines.set(Timer::Sweep, now + window * 2);
        self.deadlines.set(Timer::Inquire, now);
        self.carry(out);
        self.note_own_record(now, out);
        self.note_control(now);
        self.remove_put_out(now, out);
        self.await_company(now);
    }

    /// The line goes on under a new leader from here.
    fn end_reign(&self, changes: &mut BTreeMap<Key, Option<Value>>, before: StateVersion) {
        let last = Value::Reign(before.sequence);
        changes.insert(Key::Reign(before.epoch), Some(last));
        let reigns = self.state.segment.entries().map(|(key, _)| key);
        let reigns: Vec<&Key> = reigns.filter(|key| matches!(key, Key::Reign(_))).collect();
        let excess = (reigns.len() + 1).saturating_sub(REIGNS_MAX);
        for key in reigns.into_iter().take(excess) {
            changes.insert(key.clone(), None);
        }
    }

    /// The leader's own record, for the next report.
    pub(crate) fn note_own_record(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Some(record) = self.state.record.clone() else {
            return;
        };
        let held = self.held();
        self.take_member(now, self.node(), held, record, out);
    }

    /// Members that an operator put out are none any more.
    pub(crate) fn remove_put_out(&mut self, now: Time, out: &mut Outbox<Output>) {
        let put_out = self.state.put_out.clone();
        for node in put_out {
            let Role::Leader(leader) = &mut self.state.role else {
                return;
            };
            leader.suspects.remove(&node);
            leader.strangers.remove(&node);
            let name = self.latest_record(node).map(|record| record.name.clone());
            if let Some(name) = name
                && self.note(now, Key::Member(node), None)
            {
                out.push(Output::Told(Event::PutOut(node, name)));
            }
        }
    }

    /// Puts news into the next report; whether it is any.
    pub(crate) fn note(&mut self, now: Time, key: Key, value: Option<Value>) -> bool {
        let spans = &self.settings.spans;
        let Role::Leader(leader) = &mut self.state.role else {
            return false;
        };
        let known = match leader.changes.get(&key) {
            Some(known) => known.as_ref(),
            None => self.state.segment.get(&key),
        };
        if known == value.as_ref() {
            return false;
        }
        leader.changes.insert(key, value);
        // News restart the quiet interval (REG-05), up to a bound, so that a trickle cannot starve the report.
        let pending = self.deadlines.get(Timer::ReportMax);
        let latest = pending.unwrap_or(now + spans.report_delay_max);
        self.deadlines.set(Timer::ReportMax, latest);
        self.deadlines.set(Timer::Report, now + spans.report_delay);
        true
    }

    pub(crate) fn latest_record(&self, node: NodeId) -> Option<&Record> {
        let key = Key::Member(node);
        let value = match &self.state.role {
            Role::Leader(leader) if leader.changes.contains_key(&key) => {
                leader.changes.get(&key)?.as_ref()
            }
            _ => self.state.segment.get(&key),
        };
        match value? {
            Value::Member(record) => Some(record),
            _ => None,
        }
    }

    /// Makes the news a new state, and tells all members.
    pub(crate) fn report(&mut self, now: Time, out: &mut Outbox<Output>) {
        self.deadlines.cancel(Timer::Report);
        self.deadlines.cancel(Timer::ReportMax);
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        if leader.coordinator.as_ref().is_some_and(Coordinator::runs) {
            // Nothing changes while a merge runs; its end calls for a report.
            return;
        }
        let segment = &self.state.segment;
        leader
            .changes
            .retain(|key, value| segment.get(key) != value.as_ref());
        if leader.changes.is_empty() && leader.reported {
            return;
        }
        let from = self.state.segment.version();
        let version = StateVersion {
            epoch: leader.epoch,
            sequence: from.map_or(0, |from| from.sequence) + 1,
        };
        let mut changes = Vec::new();
        for (key, mut value) in std::mem::take(&mut leader.changes) {
            if let (Key::Member(node), value) = (&key, &mut value) {
                let left = leader.farewells.remove(node);
                let known = self.state.segment.record(*node);
                changes.extend(change(*node, known, value, version.sequence, left));
            }
            let known = Known::new(&key, version.sequence, value);
            self.state.segment.put(key, known);
        }
        self.state.segment.become_version(version);
        let first = !leader.reported;
        leader.reported = true;
        self.send_pages(now, To::All, from);
        self.state_told(now, first || !changes.is_empty(), out);
        if first {
            self.tell_control_server(None, out);
        } else if !changes.is_empty() {
            self.tell_control_server(Some(changes), out);
        }
    }

    /// A state of this leader's own making is in force.
    pub(crate) fn state_told(&mut self, now: Time, members: bool, out: &mut Outbox<Output>) {
        let Some(version) = self.state.segment.version() else {
            return;
        };
        if members && self.state.common_formats().is_none() {
            out.push(Output::Told(Event::NoCommonFormat));
        }
        self.carry(out);
        let count = self.state.segment.member_count();
        out.push(Output::Told(Event::Reported(version, count)));
        self.state_changed(now, members, out);
        // Another part of the segment may not have known of them.
        self.remove_put_out(now, out);
    }

    /// The whole segment, or what changed in it.
    pub(crate) fn tell_control_server(
        &mut self,
        changes: Option<Vec<MemberChange>>,
        out: &mut Outbox<Output>,
    ) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        leader.reports += 1;
        let report = match changes {
            Some(changes) => self
                .report_number()
                .map(|number| Report::Change(SegmentReport { number, changes })),
            None => self.cluster_report().map(Report::Cluster),
        };
        if let Some(report) = report {
            out.push(Output::Report(report));
        }
    }

    /// The segment as the leader would report it to the control server now; `None` at other nodes.
    pub fn cluster_report(&self) -> Option<ClusterReport> {
        let number = self.report_number()?;
        let own = self.state.record.as_ref()?;
        let title = match self.state.segment.get(&Key::Title) {
            Some(Value::Title(title)) => Some(title.clone()),
            _ => None,
        };
        Some(ClusterReport {
            number,
            title,
            leader: own.name.clone(),
            address: own.address,
            location: own.location.clone(),
            members: self
                .members()
                .map(|(node, record)| (node, record.clone()))
                .collect(),
        })
    }

    fn report_number(&self) -> Option<ReportNumber> {
        let Role::Leader(leader) = &self.state.role else {
            return None;
        };
        Some(ReportNumber {
            segment: self.settings.segment.clone(),
            epoch: leader.epoch,
            sequence: leader.reports,
        })
    }
}

/// What happened to a member; fills in when it joined.
fn change(
    node: NodeId,
    known: Option<&Record>,
    value: &mut Option<Value>,
    sequence: u64,
    left: bool,
) -> Option<MemberChange> {
    let (kind, record) = match (known, value) {
        (known, Some(Value::Member(record))) => {
            let kind = match known {
                None => ChangeKind::Joined,
                Some(known) if known.incarnation != record.incarnation => ChangeKind::Restarted,
                Some(_) => ChangeKind::Changed,
            };
            if kind != ChangeKind::Changed {
                record.joined = sequence;
            }
            (kind, (**record).clone())
        }
        (Some(known), _) if left => (ChangeKind::Left, known.clone()),
        (Some(known), _) => (ChangeKind::Failed, known.clone()),
        (None, _) => return None,
    };
    Some(MemberChange { node, kind, record })
}
