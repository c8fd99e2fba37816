use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_discovery::{
    Discovery, Event, Farewell, Input, Leader, Link, LinkId, Output, Presence, Settings, Standing,
};
use bellwether_machine::{Machine, Outbox};
use bellwether_scheduling::{Base, NodeView, Presence as Known};
use bellwether_store::{Store, StoreError};
use bellwether_types::{Name, NodeId, SitePart, Term, VersionId};
use bellwether_wire::uplink::{Ask, Downward, Hello, Upward, frame};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};

use super::fleet::Fleet;
use crate::clock::{moment, steady};
use crate::jobs::Board;

/// All leaders' connections, and what was learned through them.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Where what is said of jobs goes.
    board: Arc<Board>,
    inner: Mutex<Inner>,
    /// A deadline may be nearer than it was.
    pub(crate) due: Notify,
    /// Somebody came or went.
    pub(crate) news: Notify,
}

#[derive(Debug)]
struct Inner {
    discovery: Discovery,
    fleet: Arc<Fleet>,
    links: BTreeMap<LinkId, Way>,
    links_ever: u64,
    /// Of nodes that went since that was asked last: those that said so.
    left: BTreeSet<NodeId>,
}

/// To a leader.
#[derive(Debug)]
struct Way {
    messages: mpsc::Sender<Bytes>,
    /// The leader's right to speak was looked up when so much of the log was applied.
    defined: u64,
    /// Dropped when the connection is to end.
    _end: oneshot::Sender<()>,
}

/// A leader's first message, and what there is to know about it.
pub(crate) struct Greeting {
    pub(crate) hello: Hello,
    /// The segment's name for people.
    pub(crate) title: Option<String>,
    /// The number of the newest settings of the segment.
    pub(crate) settings: u64,
    /// That the node may speak for the segment was so when so much of the log was applied.
    pub(crate) defined: u64,
}

/// A connection as its reader has it.
pub(crate) struct Opened {
    pub(crate) link: LinkId,
    /// Resolves when the connection is to end.
    pub(crate) end: oneshot::Receiver<()>,
}

/// Where a node is, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Nobody speaks for its segment.
    Unknown,
    /// Its segment counts it.
    Up,
    /// Its segment does not.
    Down,
}

/// A leader that says nothing for so long is gone.
pub(crate) const SILENCE: Duration = Duration::from_secs(6);
/// Messages that wait for a leader; with one more it is let go.
pub(crate) const MESSAGES_MAX: usize = 64;
/// There is no control group yet.
pub(crate) const TERM: Term = Term(1);

impl Hub {
    /// Nobody is heard yet. Who belongs where is known before any leader speaks: on strangers it is not heard.
    pub(crate) async fn open_on(store: &Store, board: Arc<Board>) -> Result<Self, StoreError> {
        let settings = Settings {
            term: TERM,
            silence: SILENCE,
        };
        Ok(Self {
            board,
            inner: Mutex::new(Inner {
                discovery: Discovery::new(settings),
                fleet: Arc::new(Fleet::read(store).await?),
                links: BTreeMap::new(),
                links_ever: 0,
                left: BTreeSet::new(),
            }),
            due: Notify::new(),
            news: Notify::new(),
        })
    }

    /// A leader's first message. What is sent to it goes to `messages`.
    pub(crate) fn open(
        &self,
        node: NodeId,
        greeting: Greeting,
        messages: mpsc::Sender<Bytes>,
    ) -> Opened {
        let Greeting {
            hello,
            title,
            settings,
            defined,
        } = greeting;
        let (keep, end) = oneshot::channel();
        let mut inner = self.lock();
        inner.links_ever += 1;
        let link = LinkId(inner.links_ever);
        let way = Way {
            messages,
            defined,
            _end: keep,
        };
        inner.links.insert(link, way);
        let input = Input::Opened {
            link,
            node,
            hello,
            title,
            settings,
        };
        self.give(&mut inner, input);
        Opened { link, end }
    }

    /// A later message.
    pub(crate) fn said(&self, link: LinkId, message: Upward) {
        self.give(&mut self.lock(), Input::Said { link, message });
    }

    /// A connection broke, or its leader said what cannot be understood.
    pub(crate) fn closed(&self, link: LinkId) {
        let mut inner = self.lock();
        inner.links.remove(&link);
        self.give(&mut inner, Input::Closed(link));
    }

    /// Has a message brought to the leader of a segment, if there is one. Instants in it are by [`steady`].
    pub(crate) fn tell(&self, segment: Name, message: Downward) {
        self.give(&mut self.lock(), Input::Tell { segment, message });
    }

    /// Time has passed; how long until that is to be said again.
    pub(crate) fn wake(&self) -> Duration {
        let mut inner = self.lock();
        self.give(&mut inner, Input::Wake);
        let at = inner.discovery.wake_at();
        at.map_or(SILENCE, |at| at.since(steady()))
    }

    /// What the store says now. Whoever was put out, or put elsewhere, is let go; newer settings are told.
    pub(crate) fn enrolled(&self, fleet: Arc<Fleet>) {
        let mut inner = self.lock();
        let stray = |node: NodeId, segment: &Name| !fleet.belongs(node, segment);
        let links = inner.discovery.segments().filter_map(|(name, _)| {
            let (id, link) = inner.discovery.link(name)?;
            // One that came after the store was read is not in what was read.
            let later = |way: &Way| way.defined > fleet.defined;
            let unread = inner.links.get(&id).is_some_and(later);
            (!unread && stray(link.node, name)).then_some(link.node)
        });
        let nodes = inner.discovery.nodes().filter(|(node, presence)| {
            let segment = &presence.segment;
            inner.fleet.belongs(*node, segment) && stray(*node, segment)
        });
        let strays: BTreeSet<NodeId> = links.chain(nodes.map(|(node, _)| node)).collect();
        let former = std::mem::replace(&mut inner.fleet, fleet);
        for node in strays {
            self.give(&mut inner, Input::Expelled(node));
        }
        // Jobs look at it again.
        self.news.notify_waiters();
        let fleet = Arc::clone(&inner.fleet);
        for (segment, settings) in &fleet.segments {
            let known = former.segments.get(segment);
            if known.is_some_and(|known| known < settings) {
                let message = Downward::Settings(*settings);
                let segment = segment.clone();
                self.give(&mut inner, Input::Tell { segment, message });
            }
        }
    }

    /// What the store said last.
    pub(crate) fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.lock().fleet)
    }

    /// Where a node of a segment is.
    pub(crate) fn place(&self, node: NodeId, segment: &Name) -> Place {
        self.lock().place(node, segment)
    }

    /// The same of all that enrolled.
    pub(crate) fn places(&self) -> BTreeMap<NodeId, Place> {
        let inner = self.lock();
        let nodes = inner.fleet.nodes.iter();
        nodes
            .map(|(node, known)| (*node, inner.place(*node, &known.segment)))
            .collect()
    }

    /// What is known of nodes that a decision about a site depends on.
    pub(crate) fn look(
        &self,
        nodes: impl IntoIterator<Item = NodeId>,
        site: &SitePart,
    ) -> BTreeMap<NodeId, NodeView> {
        let inner = self.lock();
        let known = nodes.into_iter().filter_map(|node| {
            let segment = &inner.fleet.nodes.get(&node)?.segment;
            Some((node, inner.look(node, segment, site, &self.board)))
        });
        known.collect()
    }

    /// How many nodes of each segment are there.
    pub(crate) fn up(&self) -> BTreeMap<Name, u64> {
        let inner = self.lock();
        let mut up = BTreeMap::new();
        for (node, known) in &inner.fleet.nodes {
            if inner.place(*node, &known.segment) == Place::Up {
                *up.entry(known.segment.clone()).or_default() += 1;
            }
        }
        up
    }

    /// What a node that is there says of itself.
    pub(crate) fn presence(&self, node: NodeId, segment: &Name) -> Option<Presence> {
        let inner = self.lock();
        let up = inner.place(node, segment) == Place::Up;
        inner.discovery.node(node).filter(|_| up).cloned()
    }

    /// Who leads a segment, and since when there is no word of it if there is none.
    pub(crate) fn leader(&self, segment: &Name) -> Option<Leader> {
        let inner = self.lock();
        inner.discovery.link(segment)?;
        inner.discovery.segment(segment)?.leader.clone()
    }

    /// Who speaks for each segment of which anybody has; `None` if nobody does now.
    pub(crate) fn leaders(&self) -> BTreeMap<Name, Option<NodeId>> {
        let inner = self.lock();
        let segments = inner.discovery.segments();
        segments
            .filter(|(_, segment)| segment.link.is_some() || segment.is_silent())
            .map(|(name, _)| {
                let link = inner.discovery.link(name);
                (name.clone(), link.map(|(_, link): (_, &Link)| link.node))
            })
            .collect()
    }

    /// Of the nodes that went since this was asked last: those that said farewell.
    pub(crate) fn take_left(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.lock().left)
    }

    /// How many leaders are heard.
    pub(crate) fn links(&self) -> usize {
        self.lock().links.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whatever panicked left a state that is whole: inputs are carried out one by one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the leader of a segment is asked that speaks for it from now on.
    fn ask_for_jobs(&self, inner: &Inner, segment: Name) -> Input {
        let mut jobs = self
            .board
            .begin_anew(|node| inner.fleet.belongs(node, &segment));
        jobs.truncate(Ask::JOBS_MAX);
        let ask = Ask {
            segment: false,
            jobs,
        };
        Input::Tell {
            segment,
            message: Downward::Ask(ask),
        }
    }

    fn give(&self, inner: &mut Inner, input: Input) {
        if !matches!(input, Input::Wake | Input::Said { .. }) {
            self.due.notify_waiters();
        }
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut out = Outbox::new();
            inner.discovery.handle(steady(), input, &mut out);
            for output in out.drain() {
                match output {
                    Output::Send { link, message } => {
                        if !inner.send(link, &message) {
                            inputs.push(Input::Closed(link));
                        }
                    }
                    Output::Close(link) => drop(inner.links.remove(&link)),
                    Output::Told(event) => {
                        inner.note(&event);
                        if let Event::Heard { segment, .. } = event {
                            inputs.push(self.ask_for_jobs(inner, segment));
                        }
                        self.news.notify_waiters();
                    }
                    // Whoever wanted it told asks again.
                    Output::Untold { .. } => {}
                    Output::Heard { segment, message } => {
                        let holds = |node: NodeId, site: &SitePart| {
                            inner
                                .fleet
                                .belongs(node, &segment)
                                .then(|| inner.held(node, site))
                        };
                        self.board.hear(&segment, message, moment(), &holds);
                    }
                }
            }
        }
    }
}

impl Inner {
    fn look(&self, node: NodeId, segment: &Name, site: &SitePart, board: &Board) -> NodeView {
        let place = self.place(node, segment);
        let record = self.discovery.node(node).map(|presence| &presence.record);
        let record = record.filter(|_| place == Place::Up);
        NodeView {
            presence: match place {
                Place::Up => Known::Up,
                Place::Down => Known::Down,
                Place::Unknown => Known::Unknown,
            },
            busy: record.is_some_and(|record| record.busy),
            free_bytes: record.map_or(0, |record| record.resources.disk_free_bytes),
            base: match record {
                Some(_) => Base::Known(board.serves(node, site, self.held(node, site))),
                None => Base::Unknown,
            },
            signed: board.signed(node, site),
            has_neighbour: false,
        }
    }

    /// What a node says of itself that it serves.
    fn held(&self, node: NodeId, site: &SitePart) -> Option<VersionId> {
        let holdings = &self.discovery.node(node)?.record.holdings;
        let held = holdings
            .iter()
            .find(|held| held.site == site.site && held.part == site.part);
        held.map(|held| held.version)
    }

    /// False if the leader does not take what it is sent: it is let go.
    fn send(&mut self, link: LinkId, message: &Downward) -> bool {
        let Some(way) = self.links.get(&link) else {
            return true;
        };
        let bytes = match frame(message) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, "a message to a leader cannot be sent");
                return true;
            }
        };
        if way.messages.try_send(bytes.into()).is_ok() {
            return true;
        }
        tracing::warn!(link = link.0, "a leader does not take what it is sent");
        self.links.remove(&link);
        false
    }

    fn note(&mut self, event: &Event) {
        tracing::debug!(?event, "fleet");
        match event {
            Event::Gone {
                node,
                farewell: Farewell::Left,
                ..
            } => drop(self.left.insert(*node)),
            Event::Joined { node, .. } => drop(self.left.remove(node)),
            _ => {}
        }
    }

    fn place(&self, node: NodeId, segment: &Name) -> Place {
        let known = self.discovery.node(node);
        if known.is_some_and(|presence| presence.segment == *segment) {
            return match self.discovery.standing(node) {
                Standing::Present => Place::Up,
                Standing::Absent => Place::Down,
                Standing::Unknown => Place::Unknown,
            };
        }
        // A segment that told of all its members did not tell of this one.
        let told = self
            .discovery
            .segment(segment)
            .is_some_and(|segment| segment.link.is_some() && segment.number.is_some());
        match told {
            true => Place::Down,
            false => Place::Unknown,
        }
    }
}
