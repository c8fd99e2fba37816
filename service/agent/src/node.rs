//! What joins the segment's machine to this process: events in, outputs carried out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bellwether_election::{self as election, Explanation, Measures};
use bellwether_membership::{self as membership, Measured};
use bellwether_net::{Channel, Destination, Event, Everyone, NetworkChange, Role, now};
use bellwether_segment::{self as segment, Input, Output, Segment};
use bellwether_transfer::{self as transfer, Told};
use bellwether_types::Time;
use bellwether_wire::control::{FormatRange, Formats, Holding, Rejected, Resources, Sender};
use bellwether_wire::transfer::TransferMessage;
use bellwether_wire::uplink::Report;
use tokio::sync::{Notify, oneshot};
use tracing::{error, info, warn};

use crate::admin::{Reply, Request};
use crate::doubt::Doubt;
use crate::enrol::Admission;
use crate::folder::{Folder, FolderError, Kept};
use crate::jobs::{self, Jobs, Wish};
use crate::measure::Sample;
use crate::neighbours::Neighbours;
use crate::record::{Days, Record, memory_to_text};
use crate::settings::Settings;
use crate::status::{self, Multicast, NodeStatus, StateVersion, Status};
use crate::story::Story;
use crate::transfers::{self, Transfers};

const ONE: FormatRange = FormatRange {
    lowest: 1,
    highest: 1,
};
/// What this release can read.
pub(crate) const FORMATS: Formats = Formats {
    control: ONE,
    frame: ONE,
    assignment: ONE,
};

/// What the machine's loop is told by other parts of the process.
#[derive(Debug)]
pub(crate) enum Order {
    /// The node was measured again.
    Measured(Sample),
    /// An operator asks.
    Asked(Request, oneshot::Sender<Reply>),
    /// The process is to end in order.
    Leave,
    /// Transfers have something to say.
    Transfers(Told),
    /// This node's part in jobs wants something.
    Jobs(Wish),
    /// The control server says whom to believe from now on.
    Admit(Box<Admission>),
    /// The control server knows this node no longer.
    PutOut,
}

/// Why the node cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// Its network.
    #[error("the network cannot be used any longer")]
    Network(#[from] io::Error),
    /// What must be kept before anything else is said cannot be kept.
    #[error(transparent)]
    Keep(#[from] FolderError),
}

/// Signals between the loop and what is around it.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// The interface changed: measure at once.
    pub(crate) changed: Notify,
    /// An operator wants the node to leave.
    pub(crate) leaving: Notify,
    /// The node has left.
    pub(crate) left: Notify,
    /// The control server is to be asked for what is new.
    pub(crate) refresh: Arc<Notify>,
}

/// The node around its machine.
#[derive(Debug)]
pub(crate) struct Node {
    folder: Folder,
    settings: Settings,
    sender: Sender,
    started: Time,
    days: Days,
    story: Story,
    record: Record,
    /// Is there something in the record that is not on disk?
    record_changed: bool,
    network: bellwether_net::Counters,
    sample: Option<Sample>,
    explanation: Option<Explanation>,
    leads: bool,
    control: Option<SocketAddr>,
    transfers: Transfers,
    jobs: Option<Jobs>,
    /// What this node has for its neighbours, and where they are.
    neighbours: Option<Neighbours>,
    /// What is live here.
    holdings: Vec<Holding>,
    /// How it stands with its control server, for people.
    control_server: Option<String>,
    is_put_out: bool,
    doubt: Doubt,
    multicast: Multicast,
    interface_up: bool,
    step_down: Option<oneshot::Sender<Reply>>,
    leave: Vec<oneshot::Sender<Reply>>,
    signals: Arc<Signals>,
}

impl Node {
    pub(crate) fn new(
        folder: Folder,
        settings: Settings,
        sender: Sender,
        record: Record,
        signals: Arc<Signals>,
        transfers: Transfers,
        (jobs, neighbours): (Option<Jobs>, Option<Neighbours>),
    ) -> Self {
        let multicast = match settings.is_unicast() {
            true => Multicast::Unused,
            false => Multicast::Works,
        };
        Self {
            story: Story::new(settings.name.clone()),
            folder,
            settings,
            sender,
            started: now(),
            days: Days::from(now()),
            record,
            record_changed: false,
            network: bellwether_net::Counters::default(),
            sample: None,
            explanation: None,
            leads: false,
            control: None,
            transfers,
            jobs,
            neighbours,
            holdings: Vec::new(),
            control_server: None,
            is_put_out: false,
            doubt: Doubt::new(Arc::clone(&signals.refresh)),
            multicast,
            interface_up: true,
            step_down: None,
            leave: Vec::new(),
            signals,
        }
    }

    /// Did the control server put it out?
    pub(crate) const fn is_put_out(&self) -> bool {
        self.is_put_out
    }

    /// The process ends in order.
    pub(crate) fn finish(mut self) -> Result<(), FolderError> {
        for asked in self.leave.drain(..) {
            let _ = asked.send(Reply::Done("the node has left its segment".to_owned()));
        }
        if self.leads {
            self.record.leads(second());
        }
        self.record.finish();
        self.folder.replace(Kept::Record, &self.record.to_text())
    }

    /// What the node says of itself, given what was measured.
    fn measured(&mut self, sample: Sample, machine: &Segment) -> Option<Measured> {
        let second = second();
        self.leads = machine.election().leads();
        if self.leads {
            self.record.leads(second);
        }
        if self.days.passed(now()) {
            self.record.day();
            self.record_changed = true;
        }
        if std::mem::take(&mut self.record_changed) {
            // Only a part of the priority depends on it, so the node goes on without.
            if let Err(error) = self.folder.replace(Kept::Record, &self.record.to_text()) {
                warn!("{error}: this node's reliability may be forgotten");
            }
        }
        let members = machine.membership().segment().member_count();
        let measures = Measures {
            preference: self.settings.preference,
            // Nobody says yet what content there is to hold.
            content_permille: 0,
            reliability_permille: self.record.reliability_permille(),
            processors_free_milli: sample.processors_free_milli,
            storage_free_bytes: sample.storage_free_bytes,
            network_free_bps: sample.network_free_bps,
            led_ago: self.record.led_ago(second),
            members_known: u32::try_from(members).unwrap_or(u32::MAX),
        };
        let explanation = measures.explain(&self.settings.weights);
        let priority = explanation.priority;
        self.explanation = Some(explanation);
        self.interface_up = sample.interface_up;
        self.sample = Some(sample);
        Some(Measured {
            address: sample.address?,
            location: self.settings.location.clone(),
            candidate: true,
            priority,
            busy: false,
            formats: FORMATS,
            resources: Resources {
                disk_free_bytes: sample.storage_free_bytes,
                cpu_millicores: sample.processors_free_milli,
                connections: sample.connections,
            },
            holdings: self.holdings.clone(),
            data_port: Some(self.transfers.data_port()),
            serve_port: self.neighbours.as_ref().and_then(Neighbours::port),
        })
    }

    fn asked(
        &mut self,
        request: Request,
        tell: oneshot::Sender<Reply>,
        machine: &Segment,
    ) -> Option<Input> {
        match request {
            Request::Status => {
                let _ = tell.send(Reply::Status(Box::new(self.status(machine))));
                None
            }
            Request::StepDown if machine.election().leads() => {
                info!("asked to step down");
                self.step_down = Some(tell);
                Some(Input::StepDown)
            }
            Request::StepDown => {
                let leader = status::leader(machine, self.sender.node, 0);
                let who = leader.map_or_else(
                    || "nobody does".to_owned(),
                    |leader| format!("{} does", leader.name),
                );
                let refused = format!("{} does not lead: {who}", self.settings.name);
                let _ = tell.send(Reply::Refused(refused));
                None
            }
            Request::Leave => {
                info!("asked to leave");
                self.leave.push(tell);
                self.signals.leaving.notify_one();
                Some(Input::Leave)
            }
            Request::Offer(offer) => {
                self.transfers.offer(offer, tell, machine);
                None
            }
            Request::Transfers => {
                self.transfers.ask(tell, machine);
                None
            }
            Request::Group(request) if machine.election().leads() => {
                let reply = |done: &str| Reply::Done(done.to_owned());
                match transfers::group(&request, machine) {
                    Ok(input) => {
                        let _ = tell.send(reply("the group is set, and goes into the next report"));
                        Some(input)
                    }
                    Err(why) => {
                        let _ = tell.send(Reply::Refused(why));
                        None
                    }
                }
            }
            Request::Group(_) => {
                let refused = "this node does not lead its segment".to_owned();
                let _ = tell.send(Reply::Refused(refused));
                None
            }
        }
    }

    fn status(&self, machine: &Segment) -> Status {
        let election = machine.election();
        let state = election.state();
        let measured = self.explanation.as_ref().map_or(0, |known| known.priority);
        let value = election.settings().priority(measured);
        let members = status::members(machine);
        let leader = status::leader(machine, self.sender.node, value);
        let segment = machine.membership().segment();
        Status {
            node: NodeStatus {
                id: self.sender.node.to_string(),
                name: self.settings.name.to_string(),
                incarnation: self.sender.incarnation.0,
                address: self.sample.and_then(|sample| sample.address),
                uptime_s: now().since(self.started).as_secs(),
            },
            segment: self.settings.segment.to_string(),
            key: machine.keys().current().id().to_string(),
            heartbeat_ms: self.settings.timing.heartbeat_ms(),
            state: status::state(&state.phase),
            abstains: state.abstains.map(|why| status::abstention(why).to_owned()),
            epoch: state.obeyed.map(status::epoch),
            why: status::why(machine, leader.as_ref(), &members),
            leader,
            registered: machine.membership().is_registered(),
            priority: status::priority(value, self.explanation.as_ref()),
            members,
            segment_state: segment.version().map(|version| StateVersion {
                epoch: status::epoch(version.epoch),
                sequence: version.sequence,
                digest: format!("{:016x}", segment.digest()),
            }),
            multicast: self.multicast,
            interface_up: self.interface_up,
            control_server: self.control_server.clone(),
            counters: self.story.metrics.counters(self.network),
        }
    }

    fn tell(&mut self, event: &segment::Event) {
        self.story.event(event);
        match event {
            segment::Event::MulticastLost => self.multicast = Multicast::Lost,
            segment::Event::MulticastBack => self.multicast = Multicast::Works,
            segment::Event::Election(election::Event::Leading { .. }) => {
                self.leads = true;
                self.record.leads(second());
                // Kept with the next measurement: now every millisecond counts.
                self.record_changed = true;
            }
            segment::Event::Election(election::Event::SteppedDown { to }) => {
                self.answer_step_down(Reply::Done(format!("node {:?} is to lead next", to.leader)));
            }
            segment::Event::Election(election::Event::NoSuccessor) => {
                self.answer_step_down(Reply::Refused("no other candidate is known".to_owned()));
            }
            segment::Event::Membership(membership::Event::Left) => self.signals.left.notify_one(),
            // Others have another key: this node may have missed it.
            segment::Event::Rejected {
                reason: Rejected::UnknownKey(_),
                ..
            } => self.doubt.arise(now()),
            _ => {}
        }
    }

    /// What the node's part in jobs wants of the machine.
    fn wished(&mut self, wish: Wish, machine: &Segment) -> Option<Input> {
        match wish {
            Wish::Say { to, message } => Some(Input::Transfer { to, message }),
            Wish::Numbers(numbers) => Some(Input::Numbers(numbers)),
            Wish::Holds(holdings) if self.holdings == holdings => None,
            Wish::Holds(holdings) => {
                self.holdings = holdings;
                let sample = self.sample?;
                self.measured(sample, machine).map(Input::Measured)
            }
            Wish::StepDown(to) if machine.election().leads() => {
                info!("another node is to lead");
                Some(to.map_or(Input::StepDown, Input::Appoint))
            }
            Wish::StepDown(_) => None,
            Wish::TellSegment => {
                if let Some(report) = machine.membership().cluster_report() {
                    self.tell_jobs(jobs::Event::Segment(Report::Cluster(report)));
                }
                None
            }
            Wish::Control(control) => {
                if !self.is_put_out {
                    self.control_server = Some(control);
                }
                None
            }
        }
    }

    /// Whom to believe from now on.
    fn admit(&mut self, admission: Admission, machine: &Segment) -> Input {
        let Admission { keys, put_out } = admission;
        let (former, key) = (machine.keys().current().id(), keys.current().id());
        if former != key {
            info!(%key, "the key of the segment is another one now");
        }
        self.doubt.settle();
        let keys = Box::new(keys);
        self.transfers.order(transfer::Order::Keys(keys.clone()));
        Input::Admit { keys, put_out }
    }

    /// The control server knows this node no longer. It leaves as if it wanted to, so that whoever leads next does at once.
    fn be_put_out(&mut self) -> Input {
        error!("the control server has put this node out: it leaves its segment and ends");
        self.is_put_out = true;
        self.control_server = Some("has been put out by the control server".to_owned());
        self.signals.leaving.notify_one();
        Input::Leave
    }

    fn tell_jobs(&self, event: jobs::Event) {
        if let Some(jobs) = &self.jobs {
            jobs.tell(event);
        }
    }

    fn answer_step_down(&mut self, reply: Reply) {
        if let Some(asked) = self.step_down.take() {
            let _ = asked.send(reply);
        }
    }

    /// Listens to another control channel from now on (CHAN-03).
    fn move_control(&mut self, group: SocketAddr, channel: &mut Channel) {
        if self.settings.is_unicast() || self.control == Some(group) {
            return;
        }
        let moved = channel.join(group);
        match moved.and_then(|()| channel.set_everyone(Everyone::Group(group))) {
            Ok(()) => {
                let former = self.control.replace(group);
                // The configured channel is heard always: there, parts on different channels find each other.
                if let Some(former) = former.filter(|former| *former != self.settings.group) {
                    channel.leave(former);
                }
            }
            Err(error) => warn!(%group, "cannot follow the control channel: {error}"),
        }
    }
}

impl Role for Node {
    type Machine = Segment;
    type Order = Order;
    type Error = NodeError;

    fn input(&mut self, event: Event<Order>, machine: &Segment) -> Option<Input> {
        if self.transfers.follow(machine) {
            let members = machine.membership().members();
            self.tell_jobs(jobs::Event::Members(
                members.map(|(node, _)| node).collect(),
            ));
            if let Some(neighbours) = &self.neighbours {
                neighbours.follow(machine.membership().members());
            }
        }
        match event {
            Event::Datagram(datagram) => Some(Input::Datagram {
                via: match datagram.via {
                    bellwether_net::Via::Unicast => segment::Via::Unicast,
                    bellwether_net::Via::Multicast => segment::Via::Multicast,
                },
                source: datagram.from,
                bytes: datagram.bytes,
            }),
            Event::Wake => Some(Input::Wake),
            Event::Network(change) => {
                self.story.network(change);
                match change {
                    NetworkChange::InterfaceDown => self.interface_up = false,
                    NetworkChange::InterfaceUp => self.interface_up = true,
                    NetworkChange::EchoLost => self.multicast = Multicast::Lost,
                    NetworkChange::EchoBack => self.multicast = Multicast::Works,
                }
                self.transfers.order(transfer::Order::NetworkChanged);
                self.signals.changed.notify_one();
                None
            }
            Event::Order(Order::Measured(sample)) => {
                self.measured(sample, machine).map(Input::Measured)
            }
            Event::Order(Order::Asked(request, tell)) => self.asked(request, tell, machine),
            Event::Order(Order::Leave) => Some(Input::Leave),
            Event::Order(Order::Transfers(told)) => transfers::told(told, self.jobs.as_ref()),
            Event::Order(Order::Jobs(wish)) => self.wished(wish, machine),
            Event::Order(Order::Admit(admission)) => Some(self.admit(*admission, machine)),
            Event::Order(Order::PutOut) => Some(self.be_put_out()),
        }
    }

    fn carry_out(&mut self, output: Output, channel: &mut Channel) -> Result<(), NodeError> {
        match output {
            Output::Send { to, datagram, .. } => channel.send(Destination::Address(to), &datagram),
            Output::Persist(segment::Kept::Election(memory)) => {
                self.folder
                    .replace(Kept::Election, &memory_to_text(&memory))?;
            }
            Output::Persist(segment::Kept::Membership(bytes)) => {
                self.folder.replace(Kept::Membership, &to_hex(&bytes))?;
            }
            Output::Control(group) => self.move_control(group, channel),
            // Transfers know from the segment's state where to listen.
            Output::Join { group, channel } => {
                info!(%channel, "this node belongs to group {group}");
            }
            Output::Quit { group } => info!("this node belongs to group {group} no longer"),
            Output::Reign(reign) => {
                // Where there is no multicast, whoever has another key is not heard at all.
                if reign.is_none() && self.settings.is_unicast() {
                    self.doubt.arise(now());
                }
                self.transfers.order(transfer::Order::Reign(reign));
                self.tell_jobs(jobs::Event::Reign(reign));
            }
            Output::Transfer { from, message, .. }
                if matches!(
                    *message,
                    TransferMessage::Report(_)
                        | TransferMessage::Request(_)
                        | TransferMessage::Order(_)
                ) =>
            {
                let message = *message;
                self.tell_jobs(jobs::Event::Message { from, message });
            }
            Output::Transfer {
                from,
                alone,
                message,
            } => self.transfers.order(transfer::Order::Message {
                from,
                alone,
                message,
            }),
            Output::Report(report) => self.tell_jobs(jobs::Event::Segment(report)),
            Output::Heartbeat { numbers, sent_us } => {
                let came = now();
                self.tell_jobs(jobs::Event::Heartbeat {
                    came,
                    sent_us,
                    numbers,
                });
            }
            Output::Told(event) => self.tell(&event),
        }
        self.network = channel.counters();
        Ok(())
    }
}

/// Seconds since 1970; 0 on a machine whose clock stands before.
fn second() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    text
}

/// What [`to_hex`] wrote.
pub(crate) fn from_hex(body: &str) -> Option<Vec<u8>> {
    let digits = body.strip_suffix('\n')?.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}
