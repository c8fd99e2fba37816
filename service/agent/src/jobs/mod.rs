//! A node's part in the jobs of its control server: what it has in custody, what it reports, and, while it leads, what it
//! does for the others. On a thread of its own: neither the disk nor the control server holds up elections.

mod custodian;
mod offset;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwether_api::NodeSettings;
use bellwether_client::{Client, Credential};
use bellwether_disk::Hooks;
use bellwether_leading::{self as leading, Leading};
use bellwether_machine::{Machine, Outbox, Random};
use bellwether_multicast::Fate;
use bellwether_multicast::reports::{Answer, Event as Reporting, Reporter};
use bellwether_multicast::sender::To;
use bellwether_net::{Alarm, now};
use bellwether_segment::Numbers;
use bellwether_transfer::{self as transfer, Going, Member, Offer, Whereabouts};
use bellwether_types::{Epoch, Incarnation, Name, NodeId, Time};
use bellwether_wire::SigningKey;
use bellwether_wire::control::Holding;
use bellwether_wire::transfer::{AssignmentId, JobReport, Order, TransferMessage};
use bellwether_wire::uplink::{
    Downward, Failure, FailureKind, File, Hello, Outcome, Reason, Report, Upward,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::content::{Neighbourhood, Told, Witness};
use crate::enrol::Standing;
use crate::node::FORMATS;
use crate::uplink::{self, Fetched, Link};
use custodian::{Custodian, Rooms, Said};
use offset::Offset;

/// What a node's part in jobs is told at its start.
pub(crate) struct JobsSettings {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) segment: Name,
    /// The node's key, with which it signs for what it serves.
    pub(crate) key: SigningKey,
    /// The node's data directory.
    pub(crate) data: PathBuf,
    /// What the control server said last, and how to speak with it.
    pub(crate) standing: watch::Receiver<Arc<Standing>>,
    /// Has that asked for again.
    pub(crate) refresh: Arc<Notify>,
    /// Run around each switch.
    pub(crate) hooks: Hooks,
    pub(crate) transfers: Member,
    /// Who may hold what is missing here.
    pub(crate) neighbourhood: Arc<dyn Neighbourhood>,
    pub(crate) seed: u64,
}

/// What it is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// The reign that this node obeys or holds.
    Reign(Option<Epoch>),
    /// The members that are up.
    Members(BTreeSet<NodeId>),
    /// The leader's heartbeat came.
    Heartbeat {
        came: Time,
        sent_us: u64,
        numbers: Numbers,
    },
    /// Somebody speaks of a job.
    Message {
        from: NodeId,
        message: TransferMessage,
    },
    /// So many bytes of an assignment that comes are proved, of so many.
    Proved {
        id: AssignmentId,
        len: u64,
        total: u64,
    },
    /// An assignment came whole.
    Arrived(AssignmentId),
    /// An assignment will not come; why.
    Lost(AssignmentId, String),
    /// How what this node offered gets on.
    Going(AssignmentId, Going),
    /// What this node offered is over.
    Ended(AssignmentId, BTreeMap<NodeId, Fate>),
    /// Who belongs to the segment, or what changed in it.
    Segment(Report),
    /// Custody says something.
    Custody(Said),
    /// The connection of that number does.
    Uplink(u64, uplink::Event),
    Fetching(AssignmentId, uplink::Fetching),
    Fetched(AssignmentId, Result<(), Failure>),
    NotOffered(AssignmentId, String),
}

/// What it wants of the node's loop.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Say this to one, or to all.
    Say {
        to: Option<NodeId>,
        message: Box<TransferMessage>,
    },
    /// This is live now.
    Holds(Vec<Holding>),
    /// This is known: the leader says so in its heartbeats.
    Numbers(Numbers),
    /// Tell who belongs to the segment, all of it.
    TellSegment,
    /// Another node is to lead: this one, or the best other one.
    StepDown(Option<NodeId>),
    /// How this node stands with its control server, for people.
    Control(String),
}

/// The way to a node's part in jobs.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    events: mpsc::UnboundedSender<Event>,
}

/// Answers of members are spread over this, or a millisecond for each if that is less.
const INTERVAL: Duration = Duration::from_secs(2);

impl Jobs {
    /// Begins; what it wants comes by `wish`, which must not wait.
    pub(crate) fn start(
        settings: JobsSettings,
        wish: impl Fn(Wish) + Send + 'static,
    ) -> io::Result<Self> {
        let (events, coming) = mpsc::unbounded_channel();
        let own_events = events.clone();
        std::thread::Builder::new()
            .name("jobs".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let ended = runtime.and_then(|runtime| {
                    runtime.block_on(async {
                        Work::begin(settings, own_events, wish)?.run(coming).await
                    })
                });
                if let Err(error) = ended {
                    warn!("this node takes no part in jobs any more: {error}");
                }
            })?;
        Ok(Self { events })
    }

    /// Tells it something; nothing happens if it has ended.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

struct Work<W> {
    node: NodeId,
    incarnation: Incarnation,
    segment: Name,
    assignments: PathBuf,
    standing: watch::Receiver<Arc<Standing>>,
    refresh: Arc<Notify>,
    transfers: Member,
    events: mpsc::UnboundedSender<Event>,
    wish: W,
    reign: Option<Epoch>,
    members: usize,
    offset: Offset,
    custodian: Custodian,
    reporter: Reporter,
    leading: Leading,
    link: Link,
    /// Of the control server, as this node stands with it.
    client: Option<Arc<Client>>,
    /// Connections that were opened.
    links: u64,
    fetches: BTreeMap<AssignmentId, AbortHandle>,
    committed: u64,
}

impl<W: Fn(Wish)> Work<W> {
    fn begin(
        settings: JobsSettings,
        events: mpsc::UnboundedSender<Event>,
        wish: W,
    ) -> io::Result<Self> {
        let assignments = settings.data.join(crate::transfers::FOLDER);
        let rooms = Rooms {
            sites: settings.data.join("sites"),
            assignments: assignments.clone(),
        };
        let witness = Witness {
            node: settings.node,
            incarnation: settings.incarnation,
            key: settings.key,
        };
        let own_events = events.clone();
        let say = move |said| drop(own_events.send(Event::Custody(said)));
        let (hooks, neighbourhood) = (settings.hooks, settings.neighbourhood);
        let custodian = Custodian::start(rooms, witness, hooks, neighbourhood, say)?;
        let mut work = Self {
            node: settings.node,
            incarnation: settings.incarnation,
            segment: settings.segment,
            assignments,
            standing: settings.standing,
            refresh: settings.refresh,
            transfers: settings.transfers,
            events,
            wish,
            reign: None,
            members: 0,
            offset: Offset::default(),
            custodian,
            reporter: Reporter::new(settings.node, INTERVAL, Random::new(settings.seed)),
            leading: Leading::new(settings.node),
            link: Link::Unwanted,
            client: None,
            links: 0,
            fetches: BTreeMap::new(),
            committed: 0,
        };
        work.settle();
        Ok(work)
    }

    async fn run(&mut self, mut coming: mpsc::UnboundedReceiver<Event>) -> io::Result<()> {
        let mut alarm = Alarm::new()?;
        loop {
            alarm.set(self.wake_at())?;
            tokio::select! {
                event = coming.recv() => match event {
                    Some(event) => self.hear(now(), event),
                    None => return Ok(()),
                },
                rung = alarm.ring() => {
                    rung?;
                    self.wake(now());
                }
                changed = self.standing.changed() => match changed {
                    Ok(()) => self.settle(),
                    Err(_) => return Ok(()),
                },
            }
        }
    }

    fn wake_at(&self) -> Option<Time> {
        let again = match &self.link {
            Link::Down { again, .. } => Some(*again),
            Link::Unwanted | Link::Up { .. } => None,
        };
        let wakes = [self.reporter.wake_at(), self.leading.wake_at(), again];
        wakes.into_iter().flatten().min()
    }

    fn wake(&mut self, now: Time) {
        self.report(now, Reporting::Wake);
        self.lead(now, leading::Input::Wake);
        if let Link::Down { again, tries } = self.link
            && again <= now
        {
            self.connect(now, tries);
        }
    }

    /// The control server said something new of this node.
    fn settle(&mut self) {
        let standing = Arc::clone(&self.standing.borrow_and_update());
        // With the certificate of now.
        self.client = None;
        self.custodian.serve(standing.settings.clone());
        self.tell_numbers(&standing.settings);
    }

    fn tell_numbers(&self, settings: &NodeSettings) {
        (self.wish)(Wish::Numbers(Numbers {
            settings: settings.number,
            committed: self.committed,
        }));
    }

    fn hear(&mut self, now: Time, event: Event) {
        match event {
            Event::Reign(reign) => self.obey(now, reign),
            Event::Members(members) => {
                self.members = members.len();
                self.lead(now, leading::Input::Members(members));
            }
            Event::Heartbeat {
                came,
                sent_us,
                numbers,
            } => {
                self.offset.heard(came, sent_us);
                self.look_for_settings(numbers.settings);
            }
            Event::Message { from, message } => self.message(now, from, message),
            Event::Arrived(id) if self.fetches.contains_key(&id) => self.fetched(now, id, Ok(())),
            Event::Arrived(id) => self.custodian.arrived(id),
            Event::Proved { id, len, total } => self.custodian.coming(id, len, total),
            Event::Lost(id, why) => {
                self.custodian.lost(id);
                if self.fetches.contains_key(&id) {
                    self.fetched(now, id, Err(Failure::new(FailureKind::Machine, why)));
                }
            }
            Event::Going(id, Going { rate, received }) => {
                self.lead(now, leading::Input::Going { id, rate, received });
            }
            Event::Ended(id, fates) => self.lead(now, leading::Input::Ended(id, fates)),
            Event::Segment(report) => self.link.say(Upward::Segment(report)),
            Event::Custody(said) => self.in_custody(now, said),
            Event::Uplink(number, event) if self.link.is(number) => self.uplink(now, event),
            // Of a connection that was given up.
            Event::Uplink(..) => {}
            Event::Fetching(id, uplink::Fetching { bytes, has_head }) => {
                self.lead(now, leading::Input::Fetching(id, bytes));
                if has_head {
                    self.lead(now, leading::Input::Begun(id));
                }
            }
            Event::Fetched(id, result) => self.fetched(now, id, result),
            Event::NotOffered(id, why) => self.lead(now, leading::Input::NotOffered(id, why)),
        }
    }

    /// Another reign: another leader, another clock.
    fn obey(&mut self, now: Time, reign: Option<Epoch>) {
        if self.reign == reign {
            return;
        }
        self.reign = reign;
        self.offset.forget();
        self.link.close();
        let own = reign.filter(|reign| reign.leader == self.node);
        for (_, fetch) in std::mem::take(&mut self.fetches) {
            fetch.abort();
        }
        self.lead(now, leading::Input::Reign(own));
        match own {
            Some(_) => self.connect(now, 0),
            None => (self.wish)(Wish::Control(
                "speaks with the leader of the segment".into(),
            )),
        }
    }

    fn message(&mut self, now: Time, from: NodeId, message: TransferMessage) {
        match message {
            TransferMessage::Report(report) => {
                self.lead(now, leading::Input::Report { from, report });
            }
            TransferMessage::Request(request) => {
                self.report(now, Reporting::Request { from, request });
            }
            TransferMessage::Order(order) => self.report(now, Reporting::Order { from, order }),
            // Transfers are told of the rest.
            _ => {}
        }
    }

    fn report(&mut self, now: Time, event: Reporting) {
        let mut answers = Outbox::new();
        self.reporter.handle(now, event, &mut answers);
        let answers: Vec<Answer> = answers.drain().collect();
        for answer in answers {
            match answer {
                Answer::Report { to, report } if to == self.node => {
                    let (from, report) = (self.node, Box::new(report));
                    self.lead(now, leading::Input::Report { from, report });
                }
                Answer::Report { to, report } => {
                    self.say(Some(to), TransferMessage::Report(Box::new(report)))
                }
                Answer::Obey { from, order } => self.take_order(now, from, order),
                Answer::Recall(job) => self.custodian.recall(job),
            }
        }
    }

    /// An order of the leader whom this node obeys, with its instant by this node's clock. Who missed all heartbeats does
    /// not know that clock, and does not wait.
    fn take_order(&mut self, now: Time, from: NodeId, order: Order) {
        if self.reign.is_none_or(|reign| reign.leader != from) {
            return self.report(now, Reporting::Refused(order.id()));
        }
        let own = |at_us: u64| Time::from_nanos(at_us.saturating_mul(1_000));
        let at = order.at_us.and_then(|at_us| match from == self.node {
            true => Some(own(at_us)),
            false => self.offset.to_own(at_us),
        });
        self.custodian.obey(order.assignment, at);
    }

    fn forget(&self, id: AssignmentId) {
        self.custodian.lost(id);
        self.transfers.order(transfer::Order::Forget(id));
    }

    fn in_custody(&mut self, now: Time, said: Said) {
        match said {
            Said::Told(Told::Outcome {
                job,
                site,
                order,
                outcome,
            }) => {
                tell_outcome(job.as_ref(), &site.to_string(), &outcome);
                if let Some(job) = job {
                    self.done(now, job, order, outcome);
                }
                self.custodian.look();
            }
            Said::Told(Told::Spent(ids)) => {
                ids.into_iter().for_each(|id| self.forget(id));
            }
            Said::Told(Told::Undone(orders)) => {
                for order in orders {
                    self.report(now, Reporting::Refused(order));
                }
            }
            Said::Told(Told::Hook(site, run)) => {
                let command = run.command.join(" ");
                match run.succeeded() {
                    true => info!(%site, "the hook `{command}` ran"),
                    false => warn!(
                        %site, "the hook `{command}` {}; the switch stands: {}",
                        run.outcome, run.output.trim_end()
                    ),
                }
            }
            Said::Told(Told::Note(note)) => warn!("{note}"),
            Said::Refused(id, job, failure) => {
                warn!(order = %id.0, "an order is refused: {failure}");
                match job {
                    Some(job) => self.done(now, job, Some(id), Outcome::Failed(failure)),
                    None => self.report(now, Reporting::Refused(id)),
                }
            }
            Said::Holds(holdings, committed) => {
                (self.wish)(Wish::Holds(holdings));
                if committed != self.committed {
                    self.committed = committed;
                    let standing = Arc::clone(&self.standing.borrow());
                    self.tell_numbers(&standing.settings);
                }
            }
        }
    }

    fn done(&mut self, now: Time, job: Name, order: Option<AssignmentId>, outcome: Outcome) {
        let report = JobReport {
            job,
            order,
            outcome,
        };
        let done = Reporting::Done {
            report,
            leader: self.reign.map(|reign| reign.leader),
            members: self.members,
        };
        self.report(now, done);
    }

    fn lead(&mut self, now: Time, input: leading::Input) {
        let mut outputs = Outbox::new();
        self.leading.handle(now, input, &mut outputs);
        let outputs: Vec<leading::Output> = outputs.drain().collect();
        for output in outputs {
            self.carry_out(now, output);
        }
    }

    fn carry_out(&mut self, now: Time, output: leading::Output) {
        match output {
            leading::Output::Tell(message) => self.link.say(message),
            leading::Output::StepDown(to) => (self.wish)(Wish::StepDown(to)),
            leading::Output::TellSegment => (self.wish)(Wish::TellSegment),
            leading::Output::Settings(number) => self.look_for_settings(number),
            leading::Output::Fetch { file, source } => self.fetch(file, source.as_deref()),
            leading::Output::Offer {
                assignment,
                name,
                group,
                members,
            } => {
                let offer = Offer {
                    at: Whereabouts::Shelf(assignment),
                    name: name.to_string(),
                    group,
                    members,
                };
                self.offer(assignment, offer);
            }
            leading::Output::Arrived(id) => self.custodian.arrived(id),
            leading::Output::Drop(id) => {
                if let Some(fetch) = self.fetches.remove(&id) {
                    fetch.abort();
                }
                self.forget(id);
            }
            leading::Output::Send { to, message } => {
                let others = match to {
                    To::Node(node) if node == self.node => None,
                    To::Node(node) => Some(Some(node)),
                    To::Segment | To::Group => Some(None),
                };
                let is_own = matches!(to, To::Segment | To::Group) || to == To::Node(self.node);
                if let Some(to) = others {
                    self.say(to, message.clone());
                }
                if is_own {
                    self.message(now, self.node, message);
                }
            }
        }
    }

    fn say(&self, to: Option<NodeId>, message: TransferMessage) {
        let message = Box::new(message);
        (self.wish)(Wish::Say { to, message });
    }

    /// Has the control server asked if it has newer settings than this node.
    fn look_for_settings(&self, number: u64) {
        if number > self.standing.borrow().settings.number {
            self.refresh.notify_one();
        }
    }

    fn offer(&self, id: AssignmentId, offer: Offer) {
        let (answer, answered) = oneshot::channel();
        self.transfers.order(transfer::Order::Offer(offer, answer));
        let events = self.events.clone();
        tokio::spawn(async move {
            let why = match answered.await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "transfers have ended".to_owned(),
            };
            let _ = events.send(Event::NotOffered(id, why));
        });
    }

    fn fetch(&mut self, file: File, source: Option<&str>) {
        let client = self.client(source);
        let (events, folder, id) = (self.events.clone(), self.assignments.clone(), file.id);
        let transfers = self.transfers.clone();
        let trust = custodian::trust(&self.standing.borrow().settings);
        let fetch = async move {
            let fetched = match client.and_then(|client| Ok((client, trust?))) {
                Ok((client, trust)) => {
                    let progress = |so_far| drop(events.send(Event::Fetching(id, so_far)));
                    uplink::fetch(&client, &transfers, &folder, &file, trust, progress).await
                }
                Err(why) => Err(Failure::new(FailureKind::Machine, why)),
            };
            // What comes now, transfers tell once it is durable.
            let result = match fetched {
                Ok(Fetched::Comes) => return,
                Ok(Fetched::Lay) => Ok(()),
                Err(failure) => Err(failure),
            };
            let _ = events.send(Event::Fetched(id, result));
        };
        let former = self.fetches.insert(id, tokio::spawn(fetch).abort_handle());
        former.iter().for_each(AbortHandle::abort);
    }

    fn fetched(&mut self, now: Time, id: AssignmentId, result: Result<(), Failure>) {
        if let Some(fetch) = self.fetches.remove(&id) {
            fetch.abort();
        }
        if let Err(failure) = &result {
            warn!(assignment = %id.0, "cannot fetch it from the control server: {failure}");
        }
        self.lead(now, leading::Input::Fetched(id, result));
    }

    /// A client of the control server, or of another place.
    fn client(&mut self, source: Option<&str>) -> Result<Arc<Client>, String> {
        let standing = Arc::clone(&self.standing.borrow());
        let client = |url| {
            let identity = Credential::Node(standing.identity.clone());
            let client = Client::new(url, standing.ca, identity);
            client.map(Arc::new).map_err(|error| error.to_string())
        };
        if let Some(place) = source {
            return client(place.parse().map_err(|fault| format!("{fault}"))?);
        }
        match &self.client {
            Some(client) => Ok(Arc::clone(client)),
            None => Ok(Arc::clone(
                self.client.insert(client(standing.url.clone())?),
            )),
        }
    }

    fn connect(&mut self, now: Time, tries: u32) {
        let Some(epoch) = self.reign.filter(|reign| reign.leader == self.node) else {
            return self.link.close();
        };
        self.links += 1;
        let number = self.links;
        let hello = Hello {
            segment: self.segment.clone(),
            epoch,
            incarnation: self.incarnation,
            formats: FORMATS,
            settings: self.standing.borrow().settings.number,
            jobs: self.leading.jobs().cloned().collect(),
        };
        let events = self.events.clone();
        let tell = move |event| drop(events.send(Event::Uplink(number, event)));
        match self.client(None) {
            Ok(client) => {
                let control = format!("asks the control server at {} to be heard", client.url());
                (self.wish)(Wish::Control(control));
                self.link = Link::open(client, hello, number, tries, tell);
            }
            Err(why) => {
                self.link = Link::Down {
                    again: now + RETRY,
                    tries,
                };
                warn!("the control server cannot be asked: {why}");
            }
        }
    }

    fn uplink(&mut self, now: Time, event: uplink::Event) {
        match event {
            uplink::Event::Said(message) => {
                self.link.heard(now, &message);
                match &message {
                    Downward::Welcome(_) => {
                        (self.wish)(Wish::Control("is heard by the control server".to_owned()));
                    }
                    Downward::Dismiss(dismiss) => {
                        if dismiss.reason == Reason::NotAllowed {
                            self.refresh.notify_one();
                        }
                        let control =
                            format!("is not heard by the control server: {}", dismiss.text);
                        (self.wish)(Wish::Control(control));
                    }
                    _ => {}
                }
                self.lead(now, leading::Input::Said(message));
            }
            // It may have been put out: the answer to another question says so.
            uplink::Event::Unknown => self.refresh.notify_one(),
            uplink::Event::Gone(why) => {
                (self.wish)(Wish::Control(format!(
                    "is not heard by the control server: {why}"
                )));
                self.link.fail(now, &why);
                self.lead(now, leading::Input::Closed);
            }
        }
    }
}

/// When a client cannot even be made.
const RETRY: Duration = Duration::from_secs(5);

fn tell_outcome(job: Option<&Name>, site: &str, outcome: &Outcome) {
    let job = job.map_or("", Name::as_str);
    match outcome {
        Outcome::Staged(version) => info!(job, site, version = %version.short(), "staged"),
        Outcome::Live(receipt) => {
            info!(job, site, version = %receipt.served.version.short(), "live");
        }
        Outcome::Failed(failure) => warn!(job, site, "failed: {failure}"),
        Outcome::Behind(_, failure) => warn!(job, site, "behind: {failure}"),
        Outcome::Aborted => info!(job, site, "called off"),
        Outcome::Removed => info!(job, site, "removed"),
    }
}
