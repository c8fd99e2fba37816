//! What joins a node's transfers to its segment's machine, and how operators see them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use bellwether_content::assignment::Trust;
use bellwether_multicast::{Fate, Rate};
use bellwether_segment::{Input, Segment};
use bellwether_transfer::{
    Member, MemberSettings, Offer, Order, Roster, Told, Transfer, TransferError, Whereabouts,
};
use bellwether_types::{Name, NodeId};
use bellwether_wire::control::{KeyRing, Sender, StateVersion};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::admin::Reply;
use crate::jobs::{Event, Jobs};
use crate::node;
use crate::settings::Settings;

/// An assignment that an operator wants to be brought to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferRequest {
    /// Its file, on the leader's machine.
    pub file: PathBuf,
    /// The content group that is to have it; all members if there is none.
    pub group: Option<String>,
    /// Of those, whose answer is waited for, by name; all if nobody is named.
    pub members: Vec<String>,
}

/// A content group as an operator wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRequest {
    /// The group.
    pub group: String,
    /// Its data channel.
    pub channel: SocketAddr,
    /// Its members, by name.
    pub members: Vec<String>,
}

/// How a transfer stands on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStatus {
    /// The assignment, in 64 hexadecimal digits.
    pub assignment: String,
    /// What it is called.
    pub name: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes of it that are proved here.
    pub proved: u64,
    /// Its file, once it is whole.
    pub path: Option<PathBuf>,
    /// Why it will not come, if so.
    pub failure: Option<String>,
    /// Does this node bring it to others at present?
    pub is_sent: bool,
    /// Those to whom this node brings it, or brought it.
    pub receivers: Vec<ReceiverStatus>,
    /// Bytes of frames that this took on the wire, all headers included, once it is over.
    pub wire_bytes: Option<u64>,
}

/// How far one receiver is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    /// Its name, or its id where that is not known.
    pub name: String,
    /// What became of it; null as long as it is waited for.
    pub fate: Option<String>,
    /// Does it have all of it, proved and durable?
    pub complete: bool,
    /// Pieces that it lacks, as far as that can be told.
    pub lacking: u64,
}

/// A node's transfers, as its loop sees them.
#[derive(Debug)]
pub(crate) struct Transfers {
    member: Member,
    /// The state of the segment that they were last told of.
    told: Option<(Option<StateVersion>, u64)>,
}

pub(crate) const FOLDER: &str = "assignments";
/// Room in the queue of orders that messages leave to what must not be lost.
const ORDERS_SPARE: usize = 256;

impl Transfers {
    /// Begins; what they tell comes to the node's loop.
    pub(crate) fn start(
        settings: &Settings,
        sender: &Sender,
        keys: KeyRing,
        trust: Trust,
        orders: mpsc::Sender<node::Order>,
    ) -> Result<Self, TransferError> {
        let settings = MemberSettings {
            node: sender.node,
            incarnation: sender.incarnation,
            keys,
            channel: settings.data_channel(),
            folder: settings.data.join(FOLDER),
            trust,
            rate: Rate::Adaptive {
                floor: RATE_FLOOR,
                ceiling: RATE_CEILING,
            },
        };
        let tell = move |told| {
            let room = match told {
                // Nobody counts on these: what there is no room for is lost, as on a network that takes no more.
                Told::Say { .. } | Told::Proved { .. } | Told::Going(..) => ORDERS_SPARE,
                _ => 0,
            };
            if orders.capacity() > room {
                let _ = orders.try_send(node::Order::Transfers(told));
            }
        };
        let member = Member::start(settings, tell)?;
        Ok(Self { member, told: None })
    }

    pub(crate) const fn data_port(&self) -> u16 {
        self.member.data_port()
    }

    pub(crate) const fn member(&self) -> &Member {
        &self.member
    }

    pub(crate) fn order(&self, order: Order) {
        self.member.order(order);
    }

    /// Tells who belongs, if that has changed; whether it has.
    pub(crate) fn follow(&mut self, machine: &Segment) -> bool {
        let segment = machine.membership().segment();
        let state = (segment.version(), segment.digest());
        if self.told == Some(state) {
            return false;
        }
        self.told = Some(state);
        let members = machine.membership().members();
        let members = members.map(|(node, record)| {
            let address = |port| SocketAddr::new(record.address.ip(), port);
            (node, record.data_port.map(address))
        });
        let groups = segment.groups().filter_map(|group| {
            let channel = machine.membership().data_channel(group)?;
            let places = machine.membership().group_members(group);
            Some((group.clone(), (channel, places.collect())))
        });
        self.member.order(Order::Roster(Roster {
            members: members.collect(),
            groups: groups.collect(),
        }));
        true
    }

    /// Asks for an offer, and answers when it is made.
    pub(crate) fn offer(
        &self,
        request: OfferRequest,
        tell: oneshot::Sender<Reply>,
        machine: &Segment,
    ) {
        let offer = match parse_offer(request, machine) {
            Ok(offer) => offer,
            Err(why) => return drop(tell.send(Reply::Refused(why))),
        };
        let (answer, answered) = oneshot::channel();
        self.member.order(Order::Offer(offer, answer));
        tokio::spawn(async move {
            let reply = match answered.await {
                Ok(Ok(assignment)) => Reply::Done(assignment.0.to_string()),
                Ok(Err(error)) => Reply::Refused(error.to_string()),
                Err(_) => Reply::Refused("transfers have ended".to_owned()),
            };
            let _ = tell.send(reply);
        });
    }

    /// Asks how transfers stand, and answers with the names of nodes.
    pub(crate) fn ask(&self, tell: oneshot::Sender<Reply>, machine: &Segment) {
        let (answer, answered) = oneshot::channel();
        self.member.order(Order::Status(answer));
        let members = machine.membership().members();
        let names: BTreeMap<NodeId, String> = members
            .map(|(node, record)| (node, record.name.to_string()))
            .collect();
        tokio::spawn(async move {
            let transfers = answered.await.unwrap_or_default();
            let shown = transfers.into_iter().map(|one| status(one, &names));
            let _ = tell.send(Reply::Transfers(shown.collect()));
        });
    }
}

/// What a node's transfers tell: what the machine is to be given, and the log.
pub(crate) fn told(told: Told, jobs: Option<&Jobs>) -> Option<Input> {
    match told {
        Told::Say { to, message } => return Some(Input::Transfer { to, message }),
        Told::Announce(announcements) => return Some(Input::Announce(announcements)),
        Told::Began(assignment, name) => {
            info!(assignment = %assignment.0, "receiving {}", named(&name));
        }
        Told::Proved {
            assignment,
            len,
            total,
        } => {
            let id = assignment;
            jobs.iter()
                .for_each(|jobs| jobs.tell(Event::Proved { id, len, total }));
        }
        Told::Arrived { assignment, path } => {
            info!(assignment = %assignment.0, path = %path.display(), "received");
            jobs.iter()
                .for_each(|jobs| jobs.tell(Event::Arrived(assignment)));
        }
        Told::Failed(assignment, why) => {
            warn!(assignment = %assignment.0, "will not be received: {why}");
            jobs.iter()
                .for_each(|jobs| jobs.tell(Event::Lost(assignment, why.clone())));
        }
        Told::Going(assignment, going) => {
            jobs.iter()
                .for_each(|jobs| jobs.tell(Event::Going(assignment, going.clone())));
        }
        Told::Ended(assignment, outcome) => {
            let complete = outcome.fates.values();
            let complete = complete.filter(|fate| **fate == Fate::Complete).count();
            info!(
                assignment = %assignment.0, receivers = outcome.fates.len(), complete,
                wire_bytes = outcome.bytes, "sent"
            );
            jobs.iter()
                .for_each(|jobs| jobs.tell(Event::Ended(assignment, outcome.fates.clone())));
        }
        Told::Note(note) => warn!("{note}"),
    }
    None
}

/// The content group that an operator wants.
pub(crate) fn group(request: &GroupRequest, machine: &Segment) -> Result<Input, String> {
    let members = nodes(&request.members, machine)?;
    Ok(Input::Order(bellwether_membership::Order::SetGroup {
        group: parse_name(&request.group)?,
        channel: request.channel,
        members: members.into_iter().collect(),
    }))
}

/// Bits in a second: what every network has to spare, and the fastest that is tried.
const RATE_FLOOR: u64 = 1_000_000;
const RATE_CEILING: u64 = 1_000_000_000;

fn parse_offer(request: OfferRequest, machine: &Segment) -> Result<Offer, String> {
    let group = request.group.as_deref().map(parse_name).transpose()?;
    let name = request.file.file_name().unwrap_or_default();
    Ok(Offer {
        name: name.to_string_lossy().into_owned(),
        at: Whereabouts::File(request.file),
        group,
        members: nodes(&request.members, machine)?,
    })
}

fn parse_name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn nodes(names: &[String], machine: &Segment) -> Result<BTreeSet<NodeId>, String> {
    let node = |name: &String| {
        let mut members = machine.membership().members();
        let found = members.find(|(_, record)| record.name.as_str() == name);
        found
            .map(|(node, _)| node)
            .ok_or_else(|| format!("no member is called {name:?}"))
    };
    names.iter().map(node).collect()
}

fn status(transfer: Transfer, names: &BTreeMap<NodeId, String>) -> TransferStatus {
    let receivers = transfer.receivers.into_iter();
    let receivers = receivers.map(|(node, fate, lacking)| ReceiverStatus {
        name: names
            .get(&node)
            .cloned()
            .unwrap_or_else(|| node.to_string()),
        complete: fate == Some(Fate::Complete),
        fate: fate.map(|fate| fate.to_string()),
        lacking,
    });
    TransferStatus {
        assignment: transfer.assignment.0.to_string(),
        name: transfer.name,
        bytes: transfer.bytes,
        proved: transfer.proved,
        path: transfer.path,
        failure: transfer.failure,
        is_sent: transfer.is_sent,
        receivers: receivers.collect(),
        wire_bytes: transfer.outcome.map(|outcome| outcome.bytes),
    }
}

fn named(name: &str) -> &str {
    match name {
        "" => "what a neighbour sends",
        name => name,
    }
}
