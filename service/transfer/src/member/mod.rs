//! A node's transfers within its segment: what is said goes by the segment's own messages, who leads and who belongs is
//! known from there, and assignments lie as files.

mod offers;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bellwether_content::assignment::Trust;
use bellwether_machine::Random;
use bellwether_multicast::receiver::Receiver;
use bellwether_multicast::sender::{self, To};
use bellwether_multicast::{Geometry, Input, Outcome, Own, Rate, Settings, Station, receiver};
use bellwether_net::{ChannelSettings, Everyone, FrameChannel};
use bellwether_types::{Epoch, Incarnation, Name, NodeId};
use bellwether_wire::control::KeyRing;
use bellwether_wire::frame::{FRAME_OVERHEAD, SessionId};
use bellwether_wire::transfer::{Announcement, AssignmentId, TransferMessage};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::carrier::{Carrier, Event};
use crate::group::{OVERHEAD_IPV4, OVERHEAD_IPV6, TransferError, random_bytes};
use crate::shelf::Shelf;
use crate::spool::Spool;

pub use offers::{Offer, OfferError, Whereabouts};
pub use status::Transfer;

/// What a node is told of its transfers at its start.
#[derive(Debug)]
pub struct MemberSettings {
    /// The node.
    pub node: NodeId,
    /// Its start.
    pub incarnation: Incarnation,
    /// The segment keys that it accepts.
    pub keys: KeyRing,
    /// Its sockets for frames. Everyone is the data channel of what goes to all members.
    pub channel: ChannelSettings,
    /// Where assignments lie.
    pub folder: PathBuf,
    /// Whose assignments are taken.
    pub trust: Trust,
    /// How fast it sends.
    pub rate: Rate,
}

/// What a node's transfers are told.
#[derive(Debug)]
pub enum Order {
    /// Something was said of a transfer: authentic, and for the first time.
    Message {
        /// By whom.
        from: NodeId,
        /// To this node alone?
        alone: bool,
        /// What.
        message: Box<TransferMessage>,
    },
    /// The reign that this node obeys or holds, if there is one.
    Reign(Option<Epoch>),
    /// Who belongs to the segment, and to which content groups.
    Roster(Roster),
    /// Something about the network has changed.
    NetworkChanged,
    /// Bring an assignment to others; only who leads can.
    Offer(Offer, oneshot::Sender<Result<AssignmentId, OfferError>>),
    /// An assignment comes to this node from elsewhere than a neighbour ([`crate::Inflow`]).
    Came {
        /// Which.
        assignment: AssignmentId,
        /// Bytes of its head.
        head_len: u64,
        /// Bytes of its data file.
        data_len: u64,
        /// Bytes of both that are here and proved, from the first one on.
        end: u64,
    },
    /// How do transfers stand?
    Status(oneshot::Sender<Vec<Transfer>>),
    /// An assignment is of no interest any more: its file goes.
    Forget(AssignmentId),
    /// The segment keys that are accepted from now on.
    Keys(Box<KeyRing>),
}

/// Who belongs to a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// Members, and where each takes frames.
    pub members: BTreeMap<NodeId, Option<SocketAddr>>,
    /// Content groups, with their data channels and members.
    pub groups: BTreeMap<Name, (SocketAddr, BTreeSet<NodeId>)>,
}

/// What a node's transfers tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// This is to be said, to one node or to all.
    Say {
        /// To whom.
        to: Option<NodeId>,
        /// What.
        message: Box<TransferMessage>,
    },
    /// Sessions that are open, for heartbeats to announce.
    Announce(Vec<Announcement>),
    /// Something comes: its name for people.
    Began(AssignmentId, String),
    /// So many bytes from the beginning are here and proved: they can be read from the file of [`coming`], until it has
    /// arrived or failed.
    Proved {
        /// Of which assignment.
        assignment: AssignmentId,
        /// How many, of the head and behind it of the data.
        len: u64,
        /// How many it has.
        total: u64,
    },
    /// An assignment is here whole and proved.
    Arrived {
        /// Which.
        assignment: AssignmentId,
        /// Its file.
        path: PathBuf,
    },
    /// An assignment will not come; why.
    Failed(AssignmentId, String),
    /// How what this node offered gets on; said again and again while it does.
    Going(AssignmentId, Going),
    /// What this node offered is over.
    Ended(AssignmentId, Outcome),
    /// For whoever looks after the network.
    Note(String),
}

/// How an assignment gets on its way to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Going {
    /// Bits in a second that are sent.
    pub rate: u64,
    /// Bytes that each receiver has, as far as it said; all of them only once they are proved there.
    pub received: BTreeMap<NodeId, u64>,
}

/// The file of an assignment that is coming to the assignments in `folder`, until it has arrived or failed.
pub fn coming(folder: &Path, assignment: AssignmentId) -> PathBuf {
    Spool::path_of_data(&Shelf::spools_of_assignments(folder), assignment)
}

/// A node's transfers, on a thread of their own: what the disk holds up there holds up no election.
#[derive(Debug, Clone)]
pub struct Member {
    orders: mpsc::UnboundedSender<Order>,
    data_port: u16,
}

impl Member {
    /// Begins with what earlier starts left.
    pub fn start(
        settings: MemberSettings,
        tell: impl FnMut(Told) + Send + 'static,
    ) -> Result<Self, TransferError> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (ready, started) = std::sync::mpsc::channel();
        let own_orders = orders.clone();
        let spawned = std::thread::Builder::new()
            .name("transfers".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = ready.send(Err(TransferError::io("start the runtime")(error)));
                        return;
                    }
                };
                runtime.block_on(async {
                    match Transfers::new(settings, own_orders, tell) {
                        Ok((mut transfers, port)) => {
                            let _ = ready.send(Ok(port));
                            transfers.run(ordered).await;
                        }
                        Err(error) => drop(ready.send(Err(error))),
                    }
                });
            });
        spawned.map_err(TransferError::io("start a thread"))?;
        let ended = || TransferError::io("start a thread")(std::io::ErrorKind::BrokenPipe.into());
        let data_port = started.recv().map_err(|_| ended())??;
        Ok(Self { orders, data_port })
    }

    /// The UDP port where this node takes frames.
    pub const fn data_port(&self) -> u16 {
        self.data_port
    }

    pub(crate) const fn orders(&self) -> &mpsc::UnboundedSender<Order> {
        &self.orders
    }

    /// Tells it something; nothing happens if it has ended.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

/// From one look at what stands still to the next.
const TEND_EVERY: Duration = Duration::from_secs(2);
/// Another with each start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// From one word of how offers get on to the next.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Assignments that are known from the start.
const KNOWN_MAX: usize = 32;

/// What runs on the thread.
struct Transfers<T> {
    own: NodeId,
    carrier: Carrier,
    shelf: Shelf,
    orders: mpsc::UnboundedSender<Order>,
    tell: T,
    reign: Option<Epoch>,
    roster: Roster,
    /// The data channel of what goes to all, where there is multicast.
    everyone: Option<SocketAddr>,
    /// Data channels that are listened to for the sake of content groups.
    joined: BTreeSet<SocketAddr>,
    /// What this node offered and what did not come to an end yet.
    offers: BTreeMap<AssignmentId, offers::Open>,
    /// What is being sent anew under another key: the end of the former session is no end.
    renewed: BTreeSet<AssignmentId>,
    /// How what it offered ended.
    outcomes: BTreeMap<AssignmentId, Outcome>,
    /// What assignments are called.
    names: BTreeMap<AssignmentId, String>,
    announced: BTreeMap<SessionId, Announcement>,
    /// What comes from elsewhere than neighbours: bytes that came, and when the last of them did.
    inflows: BTreeMap<AssignmentId, (u64, Instant)>,
}

impl<T: FnMut(Told)> Transfers<T> {
    fn new(
        settings: MemberSettings,
        orders: mpsc::UnboundedSender<Order>,
        tell: T,
    ) -> Result<(Self, u16), TransferError> {
        let random = || random_bytes().map_err(TransferError::io("read randomness"));
        let own = Own {
            node: settings.node,
            incarnation: settings.incarnation,
            salt: random_bytes().map_err(TransferError::io("read randomness"))?,
            key: settings.keys.current().id(),
        };
        let mut channel = FrameChannel::open(&settings.channel)?;
        let everyone = match settings.channel.everyone {
            Everyone::Group(group) => Some(group),
            Everyone::Peers(_) => None,
        };
        if let Some(group) = everyone {
            channel.join(group)?;
        }
        let address = channel.address()?;
        let headers = match address.is_ipv6() {
            true => OVERHEAD_IPV6,
            false => OVERHEAD_IPV4,
        };
        let sending = Settings {
            rate: settings.rate,
            carry: true,
            overhead: headers + FRAME_OVERHEAD as u16,
            ..Settings::default()
        };
        let random = Random::new(u64::from_ne_bytes(random()?));
        let station = Station::new(own, sending, receiver::Settings::default(), random);
        let shelf = Shelf::assignments(&settings.folder, settings.trust);
        let reach = format!("use {}", settings.folder.display());
        shelf.make().map_err(TransferError::io(&reach))?;
        let carrier = Carrier::new(station, channel, settings.keys, Some(shelf.clone()))
            .map_err(TransferError::io("set a timer"))?;
        let mut transfers = Self {
            own: own.node,
            carrier,
            shelf,
            orders,
            tell,
            reign: None,
            roster: Roster::default(),
            everyone,
            joined: BTreeSet::new(),
            offers: BTreeMap::new(),
            renewed: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            names: BTreeMap::new(),
            announced: BTreeMap::new(),
            inflows: BTreeMap::new(),
        };
        transfers.remember().map_err(TransferError::io(&reach))?;
        Ok((transfers, address.port()))
    }

    /// What earlier starts left goes on where it was.
    fn remember(&mut self) -> std::io::Result<()> {
        for (assignment, bytes) in self.shelf.kept()?.into_iter().take(KNOWN_MAX) {
            let Some(geometry) = Receiver::geometry_of(&bytes) else {
                continue;
            };
            let content = self.shelf.open(assignment, geometry.head_len())?;
            self.carrier.add(assignment, content);
            self.carrier.give(Input::Kept { assignment, bytes });
        }
        // Where that cannot be read, each start counts.
        let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
        for (assignment, error) in self.shelf.look_over(boot.trim())? {
            let note = format!(
                "assignment {} was damaged when the machine stopped, and is fetched again if it is wanted: {error}",
                assignment.0
            );
            (self.tell)(Told::Note(note));
        }
        for assignment in self.shelf.whole()?.into_iter().take(KNOWN_MAX) {
            // One that is damaged is as good as none: it comes again if somebody sends it.
            if let Err(error) = self.have(assignment) {
                let note = format!("assignment {} cannot be used: {error}", assignment.0);
                (self.tell)(Told::Note(note));
            }
        }
        Ok(())
    }

    async fn run(&mut self, mut ordered: mpsc::UnboundedReceiver<Order>) {
        let mut tending = tokio::time::interval(TEND_EVERY);
        let mut telling = tokio::time::interval(TELL_EVERY);
        telling.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = ordered.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                event = self.carrier.next() => match event {
                    Ok(event) => self.hear(event),
                    Err(error) => {
                        let note = format!("transfers have ended: the network cannot be used: {error}");
                        return (self.tell)(Told::Note(note));
                    }
                },
                _ = tending.tick() => self.tend(),
                _ = telling.tick(), if !self.offers.is_empty() => self.tell_how_they_get_on(),
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Message {
                from,
                alone,
                message,
            } => self.carrier.give(Input::Message {
                from,
                alone,
                message: *message,
            }),
            Order::Reign(reign) => {
                self.reign = reign;
                self.carrier.give(Input::Reign(reign));
                self.succeed();
            }
            Order::Roster(roster) => self.enrol(roster),
            Order::NetworkChanged => {
                // While the interface is gone there is nothing to be done; the next change says when it is back.
                let _ = self.carrier.channel_mut().look_again();
            }
            Order::Offer(offer, tell) => self.take_offer(offer, tell),
            Order::Came {
                assignment,
                head_len,
                data_len,
                end,
            } => {
                if let Err(error) = self.came(assignment, head_len, data_len, end) {
                    (self.tell)(Told::Failed(assignment, error.to_string()));
                }
            }
            Order::Status(tell) => drop(tell.send(self.status())),
            Order::Forget(assignment) => self.forget(assignment),
            Order::Keys(keys) => self.seal_with(*keys),
        }
    }

    fn hear(&mut self, event: Event) {
        let told = match event {
            Event::Say(to, message) => {
                let to = match to {
                    To::Node(node) => Some(node),
                    To::Segment | To::Group => None,
                };
                let message = Box::new(message);
                Told::Say { to, message }
            }
            Event::Carry(session, announcement) => {
                match announcement {
                    Some(announcement) => drop(self.announced.insert(session, *announcement)),
                    None => drop(self.announced.remove(&session)),
                }
                Told::Announce(self.announced.values().cloned().collect())
            }
            Event::Began(announcement) => {
                let Announcement {
                    assignment, name, ..
                } = *announcement;
                if !name.is_empty() {
                    self.names.insert(assignment, name.clone());
                }
                Told::Began(assignment, name)
            }
            Event::Proved(assignment) => match self.proved(assignment) {
                Some(told) => told,
                None => return,
            },
            Event::Complete(assignment) => self.arrived(assignment),
            Event::Failed(assignment, why) => Told::Failed(assignment, why),
            Event::Ended(assignment, ..) if self.renewed.remove(&assignment) => return,
            Event::Ended(assignment, epoch, outcome) => {
                self.conclude(assignment, epoch, &outcome);
                Told::Ended(assignment, outcome)
            }
            Event::Note(note) => Told::Note(note),
            Event::Closed | Event::Datagram(..) => return,
        };
        (self.tell)(told);
    }

    /// How much of it can be read.
    fn proved(&self, assignment: AssignmentId) -> Option<Told> {
        let receiver = self.carrier.station().receiver(assignment)?;
        let geometry = receiver.geometry()?;
        let len = receiver.proved_len();
        (len > 0).then_some(Told::Proved {
            assignment,
            len,
            total: geometry.head_len() + geometry.data_len(),
        })
    }

    /// Its file goes to its place.
    fn arrived(&mut self, assignment: AssignmentId) -> Told {
        self.inflows.remove(&assignment);
        let path = self.shelf.path(assignment);
        let content = self.carrier.content(assignment);
        let settled = content
            .and_then(|content| content.spool())
            .map_or(Ok(()), |spool| spool.settle(&path));
        match settled {
            Ok(()) => Told::Arrived { assignment, path },
            Err(error) => {
                let why = format!(
                    "all of it came, and cannot be put to {}: {error}",
                    path.display()
                );
                Told::Failed(assignment, why)
            }
        }
    }

    fn forget(&mut self, assignment: AssignmentId) {
        self.offers.remove(&assignment);
        self.outcomes.remove(&assignment);
        self.names.remove(&assignment);
        self.inflows.remove(&assignment);
        self.carrier.forget(assignment);
        if let Err(error) = self.shelf.remove(assignment) {
            let note = format!("assignment {} cannot be removed: {error}", assignment.0);
            (self.tell)(Told::Note(note));
        }
    }

    /// Who belongs has changed.
    fn enrol(&mut self, roster: Roster) {
        let peers = roster.members.iter();
        let peers = peers.filter_map(|(node, address)| Some((*node, (*address)?)));
        self.carrier.set_peers(peers.collect());
        let own = |(_, (_, members)): &(&Name, &(SocketAddr, BTreeSet<NodeId>))| {
            members.contains(&self.own)
        };
        let own: BTreeMap<Name, SocketAddr> = roster
            .groups
            .iter()
            .filter(own)
            .map(|(name, (channel, _))| (name.clone(), *channel))
            .collect();
        if let Some(everyone) = self.everyone {
            let all = roster.groups.iter();
            let all = all.map(|(name, (channel, _))| (Some(name.clone()), *channel));
            let channels = std::iter::once((None, everyone)).chain(all);
            self.carrier.set_groups(channels.collect());
            self.listen(
                own.values()
                    .copied()
                    .filter(|one| *one != everyone)
                    .collect(),
            );
        }
        self.carrier.give(Input::Groups(own.into_keys().collect()));
        let before = std::mem::replace(&mut self.roster, roster);
        self.follow_roster(&before);
    }

    /// CHAN-05, CHAN-07: what other groups send does not even reach this process.
    fn listen(&mut self, wanted: BTreeSet<SocketAddr>) {
        for left in self.joined.difference(&wanted) {
            self.carrier.channel_mut().leave(*left);
        }
        self.joined.retain(|channel| wanted.contains(channel));
        for channel in wanted {
            if self.joined.contains(&channel) {
                continue;
            }
            match self.carrier.channel_mut().join(channel) {
                Ok(()) => drop(self.joined.insert(channel)),
                Err(error) => {
                    let note = format!("cannot listen to the data channel {channel}: {error}");
                    (self.tell)(Told::Note(note));
                }
            }
        }
    }

    fn leads(&self) -> Option<Epoch> {
        self.reign.filter(|reign| reign.leader == self.own)
    }

    /// The sessions for many that this node has open for an assignment.
    fn sessions_of(&self, assignment: AssignmentId) -> Vec<SessionId> {
        let senders = self.carrier.station().senders();
        let senders = senders.filter(|(_, sender)| {
            sender.job().assignment == assignment && sender.served().is_none()
        });
        senders.map(|(session, _)| session).collect()
    }

    fn geometry(&self, assignment: AssignmentId) -> Option<Geometry> {
        let receiver = self.carrier.station().receiver(assignment)?;
        receiver.geometry().copied()
    }

    fn say_to_senders(&mut self, assignment: AssignmentId, input: &sender::Input) {
        for session in self.sessions_of(assignment) {
            self.carrier.give(Input::Sender(session, input.clone()));
        }
    }
}
