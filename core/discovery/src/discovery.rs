use core::time::Duration;
use std::collections::BTreeMap;

use bellwether_machine::{Machine, Outbox};
use bellwether_types::{Name, NodeId, Time};
use bellwether_wire::control::Record;
use bellwether_wire::uplink::{
    Ask, ChangeKind, ClusterReport, Dismiss, Downward, Hello, Reason, Report, SegmentReport,
    Upward, Welcome,
};

use crate::segment::Nodes;
use crate::{
    Event, Farewell, Input, Leader, Link, LinkId, Output, Presence, Segment, Settings, Standing,
};

/// What is known of segments and nodes.
#[derive(Debug)]
pub struct Discovery {
    settings: Settings,
    links: BTreeMap<LinkId, Link>,
    segments: BTreeMap<Name, Segment>,
    nodes: Nodes,
}

/// Pings in a silence.
const PINGS: u32 = 4;
/// Of more nodes, those that are gone are forgotten.
const NODES_MAX: usize = 1 << 18;

impl Discovery {
    /// Nobody was heard yet.
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            links: BTreeMap::new(),
            segments: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// The segments that were heard of since the start.
    pub fn segments(&self) -> impl Iterator<Item = (&Name, &Segment)> {
        self.segments.iter()
    }

    /// One of them.
    pub fn segment(&self, segment: &Name) -> Option<&Segment> {
        self.segments.get(segment)
    }

    /// The nodes that were heard of since the start.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Presence)> {
        self.nodes.iter().map(|(node, presence)| (*node, presence))
    }

    /// One of them.
    pub fn node(&self, node: NodeId) -> Option<&Presence> {
        self.nodes.get(&node)
    }

    /// Whether a node is there.
    pub fn standing(&self, node: NodeId) -> Standing {
        match self.nodes.get(&node) {
            Some(presence) if self.link(&presence.segment).is_none() => Standing::Unknown,
            Some(presence) if presence.present => Standing::Present,
            Some(_) => Standing::Absent,
            None => Standing::Unknown,
        }
    }

    /// The link through which a segment is heard.
    pub fn link(&self, segment: &Name) -> Option<(LinkId, &Link)> {
        let id = self.segments.get(segment)?.link?;
        Some((id, self.links.get(&id)?))
    }
}

impl Machine for Discovery {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        match input {
            Input::Wake => self.wake(now, out),
            Input::Opened {
                link,
                node,
                hello,
                title,
                settings,
            } => {
                let welcome = Welcome {
                    term: self.settings.term,
                    title,
                    settings,
                    silence_ms: u32::try_from(self.settings.silence.as_millis())
                        .unwrap_or(u32::MAX),
                };
                self.open(now, link, node, hello, welcome, out);
            }
            Input::Said { link, message } => self.hear(now, link, message, out),
            Input::Closed(link) => self.lose(now, link),
            Input::Tell { segment, message } => self.tell(segment, message, out),
            Input::Expelled(node) => self.expel(now, node, out),
        }
    }

    fn wake_at(&self) -> Option<Time> {
        let links = self
            .links
            .values()
            .map(|link| link.ping_at.min(self.dead_at(link)));
        let segments = self
            .segments
            .values()
            .filter_map(|segment| self.silent_at(segment));
        links.chain(segments).min()
    }
}

impl Discovery {
    fn wake(&mut self, now: Time, out: &mut Outbox<Output>) {
        let every = self.ping_every();
        let mut dead = Vec::new();
        for (&id, link) in &mut self.links {
            if link.heard_at + self.settings.silence <= now {
                dead.push(id);
            } else if link.ping_at <= now {
                link.ping_at = now + every;
                out.push(Output::Send {
                    link: id,
                    message: link.ping(now),
                });
            }
        }
        for link in dead {
            dismiss(
                link,
                Reason::Later,
                "nothing was heard on this connection",
                out,
            );
            self.lose(now, link);
        }
        let silence = self.settings.silence;
        for (name, segment) in &mut self.segments {
            if segment.lost_at.is_some_and(|at| at + silence <= now) && !segment.told_silent {
                segment.told_silent = true;
                out.push(Output::Told(Event::Silent {
                    segment: name.clone(),
                }));
            }
        }
    }

    fn ping_every(&self) -> Duration {
        self.settings.silence / PINGS
    }

    fn dead_at(&self, link: &Link) -> Time {
        link.heard_at + self.settings.silence
    }

    fn silent_at(&self, segment: &Segment) -> Option<Time> {
        let lost_at = segment.lost_at.filter(|_| !segment.told_silent)?;
        Some(lost_at + self.settings.silence)
    }

    /// Takes a link as the one of its segment, unless a later reign is heard, or was a moment ago: a deposed leader may
    /// be quicker than its successor.
    fn open(
        &mut self,
        now: Time,
        id: LinkId,
        node: NodeId,
        hello: Hello,
        welcome: Welcome,
        out: &mut Outbox<Output>,
    ) {
        let Hello {
            segment: name,
            epoch,
            settings,
            jobs,
            ..
        } = hello;
        if epoch.leader != node {
            return dismiss(id, Reason::NotAllowed, "a reign of another node", out);
        }
        let silence = self.settings.silence;
        let segment = self.segments.entry(name.clone()).or_default();
        let counts = segment.link.is_some() || segment.lost_at.is_some_and(|at| now < at + silence);
        if let Some(later) = segment.epoch.filter(|known| counts && *known > epoch) {
            return dismiss(
                id,
                Reason::Superseded(later),
                "another leads this segment",
                out,
            );
        }
        if let Some(former) = segment.link.replace(id)
            && let Some(link) = self.links.remove(&former)
        {
            let reason = match link.epoch < epoch {
                true => Reason::Superseded(epoch),
                false => Reason::Later,
            };
            dismiss(
                former,
                reason,
                "there is a later connection for this segment",
                out,
            );
        }
        if segment.epoch != Some(epoch) {
            // Numbers begin anew with each reign.
            segment.number = None;
        }
        segment.epoch = Some(epoch);
        segment.lost_at = None;
        segment.told_silent = false;
        segment.asked = true;
        self.links
            .insert(id, Link::new(now, node, name.clone(), epoch));
        out.push(Output::Send {
            link: id,
            message: Downward::Welcome(welcome),
        });
        out.push(Output::Send {
            link: id,
            message: ask_for_segment(),
        });
        out.push(Output::Told(Event::Heard {
            segment: name,
            epoch,
            settings,
            jobs,
        }));
        self.wake(now, out);
    }

    fn hear(&mut self, now: Time, id: LinkId, message: Upward, out: &mut Outbox<Output>) {
        // Whoever was dismissed may still be speaking.
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.heard_at = now;
        match message {
            Upward::Pong(pong) => link.pong(now, pong),
            Upward::Hello(_) => {
                dismiss(
                    id,
                    Reason::Fault,
                    "a second greeting on one connection",
                    out,
                );
                self.lose(now, id);
            }
            Upward::Progress(_) | Upward::Outcomes(_) => {
                let segment = link.segment.clone();
                out.push(Output::Heard { segment, message });
            }
            Upward::Segment(report) => {
                let number = report.number();
                if number.segment != link.segment || number.epoch != link.epoch {
                    dismiss(
                        id,
                        Reason::Fault,
                        "a report of another segment or reign",
                        out,
                    );
                    return self.lose(now, id);
                }
                self.learn(now, id, report, out);
            }
        }
    }

    /// CLUSTER-12.
    fn learn(&mut self, now: Time, id: LinkId, report: Report, out: &mut Outbox<Output>) {
        let number = report.number().clone();
        let Some(segment) = self.segments.get_mut(&number.segment) else {
            return;
        };
        let known = segment.number.as_ref();
        match &report {
            // All may be told again, as it was, to whoever asked for it.
            Report::Cluster(_) if known.is_some_and(|known| known.supersedes(&number)) => {}
            Report::Cluster(_) => {
                segment.asked = false;
                segment.number = Some(number);
                if let Report::Cluster(report) = report {
                    self.replace(now, report, out);
                }
            }
            Report::Change(_) if known.is_some_and(|known| !number.supersedes(known)) => {}
            Report::Change(_)
                if known
                    .is_none_or(|known| known.sequence.checked_add(1) != Some(number.sequence)) =>
            {
                if !segment.asked {
                    segment.asked = true;
                    out.push(Output::Send {
                        link: id,
                        message: ask_for_segment(),
                    });
                }
            }
            Report::Change(_) => {
                segment.number = Some(number);
                if let Report::Change(report) = report {
                    self.change(now, report, out);
                }
            }
        }
    }

    fn replace(&mut self, now: Time, report: ClusterReport, out: &mut Outbox<Output>) {
        let name = report.number.segment;
        if let Some(segment) = self.segments.get_mut(&name) {
            segment.leader = Some(Leader {
                node: report.number.epoch.leader,
                name: report.leader,
                address: report.address,
                location: report.location,
            });
            let mut missed = segment.nodes.clone();
            for (node, _) in &report.members {
                missed.remove(node);
            }
            for node in missed {
                self.miss(now, &name, node, Farewell::Missed, out);
            }
        }
        for (node, record) in report.members {
            self.see(now, &name, node, record, out);
        }
    }

    fn change(&mut self, now: Time, report: SegmentReport, out: &mut Outbox<Output>) {
        let name = report.number.segment;
        for change in report.changes {
            match change.kind {
                ChangeKind::Joined | ChangeKind::Restarted | ChangeKind::Changed => {
                    self.see(now, &name, change.node, change.record, out);
                }
                ChangeKind::Left => self.miss(now, &name, change.node, Farewell::Left, out),
                ChangeKind::Failed => self.miss(now, &name, change.node, Farewell::Failed, out),
            }
        }
    }

    /// A node's later start is the truth about where it is, and of one start what was heard last.
    fn see(
        &mut self,
        now: Time,
        name: &Name,
        node: NodeId,
        record: Record,
        out: &mut Outbox<Output>,
    ) {
        let before = self.nodes.get(&node);
        let is_earlier = |before: &&Presence| {
            before.segment != *name
                && before.present
                && before.record.incarnation > record.incarnation
        };
        if before.filter(is_earlier).is_some() {
            return;
        }
        let segment = name.clone();
        let (told, since) = match before {
            Some(before) if before.segment != *name => {
                let from = before.segment.clone();
                if let Some(former) = self.segments.get_mut(&from) {
                    former.nodes.remove(&node);
                }
                (
                    Some(Event::Moved {
                        node,
                        from,
                        to: segment,
                    }),
                    now,
                )
            }
            Some(before) if !before.present => (Some(Event::Joined { segment, node }), now),
            Some(before) if before.record != record => {
                (Some(Event::Changed { segment, node }), before.since)
            }
            Some(before) => (None, before.since),
            None => (Some(Event::Joined { segment, node }), now),
        };
        if let Some(segment) = self.segments.get_mut(name) {
            segment.nodes.insert(node);
        }
        let presence = Presence {
            segment: name.clone(),
            record,
            present: true,
            since,
        };
        self.nodes.insert(node, presence);
        if self.nodes.len() > NODES_MAX {
            self.nodes.retain(|_, presence| presence.present);
        }
        if let Some(event) = told {
            out.push(Output::Told(event));
        }
    }

    fn miss(
        &mut self,
        now: Time,
        name: &Name,
        node: NodeId,
        farewell: Farewell,
        out: &mut Outbox<Output>,
    ) {
        if let Some(segment) = self.segments.get_mut(name) {
            segment.nodes.remove(&node);
        }
        let Some(presence) = self
            .nodes
            .get_mut(&node)
            .filter(|known| known.segment == *name && known.present)
        else {
            return;
        };
        presence.present = false;
        presence.since = now;
        let segment = name.clone();
        out.push(Output::Told(Event::Gone {
            segment,
            node,
            farewell,
        }));
    }

    fn tell(&self, segment: Name, message: Downward, out: &mut Outbox<Output>) {
        let link = self.link(&segment);
        match link.and_then(|(id, link)| Some((id, link.translate(&message)?))) {
            Some((link, message)) => out.push(Output::Send { link, message }),
            None => out.push(Output::Untold { segment, message }),
        }
    }

    fn expel(&mut self, now: Time, node: NodeId, out: &mut Outbox<Output>) {
        let links: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.node == node)
            .map(|(id, _)| *id)
            .collect();
        for link in links {
            dismiss(
                link,
                Reason::NotAllowed,
                "this node does not belong to the segment any more",
                out,
            );
            self.lose(now, link);
        }
        if let Some(presence) = self.nodes.remove(&node)
            && let Some(segment) = self.segments.get_mut(&presence.segment)
        {
            segment.nodes.remove(&node);
        }
    }

    fn lose(&mut self, now: Time, id: LinkId) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        if let Some(segment) = self.segments.get_mut(&link.segment)
            && segment.link == Some(id)
        {
            segment.link = None;
            segment.lost_at = Some(now);
        }
    }
}

fn ask_for_segment() -> Downward {
    Downward::Ask(Ask {
        segment: true,
        jobs: Vec::new(),
    })
}

fn dismiss(link: LinkId, reason: Reason, text: &str, out: &mut Outbox<Output>) {
    let text = text.to_owned();
    let message = Downward::Dismiss(Dismiss { reason, text });
    out.push(Output::Send { link, message });
    out.push(Output::Close(link));
}
