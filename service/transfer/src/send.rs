use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bellwether_multicast::{Fate, Finish, Geometry, Input, Job, Rate, Settings, Slow, Way};
use bellwether_net::now;
use bellwether_types::{Epoch, Name, NodeId};
use bellwether_wire::frame::FRAME_OVERHEAD;
use bellwether_wire::transfer::Ask;
use tokio::time::{Instant, interval, sleep_until};

use crate::alone::{Alone, Heard};
use crate::carrier::Event;
use crate::content::Content;
use crate::group::{GroupSettings, OVERHEAD_IPV4, OVERHEAD_IPV6, TransferError, missing};
use crate::parcel::Parcel;
use crate::source::Source;

/// What is sent, to whom and how.
#[derive(Debug, Clone)]
pub struct SendSettings {
    /// Files, and directories with all they hold.
    pub files: Vec<PathBuf>,
    /// Who is to have it: all of these.
    pub members: Vec<Name>,
    /// Or so many, whoever they are. Where neither is said: all who answer within [`SendSettings::patience`].
    pub expect: Option<usize>,
    /// How long answers are waited for.
    pub patience: Duration,
    /// How fast.
    pub rate: Rate,
    /// What becomes of those that lose far more than the others.
    pub slow: Slow,
    /// How many must have it for success; all unless said.
    pub quorum: Option<usize>,
    /// Are frames encrypted?
    pub encrypted: bool,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sending {
    /// So many answered.
    Found(usize),
    /// It has begun: bytes that go to so many.
    Began {
        /// Bytes of content.
        bytes: u64,
        /// Who is to have it.
        receivers: usize,
    },
    /// How far it is.
    Reached {
        /// Bytes that were sent, all headers and whatever went again included.
        wire_bytes: u64,
        /// Bits a second at present.
        rate: u64,
        /// So many have it.
        complete: usize,
        /// Those who lack most, as far as they said, with the pieces that they lack: at most three.
        slowest: Vec<(String, u64)>,
    },
    /// For whoever looks after the network.
    Note(String),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Do all have it that must?
    pub quorum: bool,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes of frames on the wire, all headers included.
    pub wire_bytes: u64,
    /// Frames sent.
    pub frames: u64,
    /// Those among them with a repair symbol.
    pub repairs: u64,
    /// Those that were sent again as they were.
    pub resent: u64,
    /// From the first word to the last, without waiting for receivers to be there.
    pub took: Duration,
    /// What became of each receiver.
    pub deliveries: Vec<Delivery>,
}

/// What became of one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its name where it was given, or its id.
    pub receiver: String,
    /// Where it is.
    pub address: Option<SocketAddr>,
    /// Does it have the content, proved and durable?
    pub complete: bool,
    /// What became of it, for people.
    pub fate: String,
}

/// From one word on how far it is to the next.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// From one call for receivers to the next.
const CALL_EVERY: Duration = Duration::from_millis(20);
/// Sends files to all receivers of a group, and says what became of each.
pub async fn send(
    group: GroupSettings,
    settings: SendSettings,
    tell: &mut dyn FnMut(Sending),
) -> Result<Report, TransferError> {
    let (source, parcel) = Source::open(&settings.files)?;
    let head = parcel.encode();
    let (assignment, bytes) = (Parcel::id(&head), parcel.data_len());
    let (address, block_len) = (group.group, parcel.block_len);
    let headers = if address.is_ipv6() {
        OVERHEAD_IPV6
    } else {
        OVERHEAD_IPV4
    };
    let station = Settings {
        rate: settings.rate,
        slow: settings.slow,
        encrypted: settings.encrypted,
        overhead: headers + FRAME_OVERHEAD as u16,
        finish: Finish::All {
            quorum: settings.quorum.unwrap_or(usize::MAX),
        },
        ..Settings::default()
    };
    let own = GroupSettings::node(&group.name);
    let mut alone = group.join(station, None)?;
    let frame_len = alone
        .carrier
        .channel_mut()
        .frame_len_max(address)
        .map_err(TransferError::io("find the way to the group"))?;
    let symbol_len = u16::try_from(frame_len - FRAME_OVERHEAD).unwrap_or(SYMBOL_LEN_MAX);
    let geometry = Geometry::suited(
        head.len() as u64,
        bytes,
        block_len,
        symbol_len.min(SYMBOL_LEN_MAX) & !1,
    );
    let geometry = geometry.map_err(|error| TransferError::Unfit(error.to_string()))?;
    let receivers = call(&mut alone, own, address, &settings, tell).await?;

    let name = settings.files[0].file_name().unwrap_or_default();
    let began = now();
    tell(Sending::Began {
        bytes,
        receivers: receivers.len(),
    });
    let incarnation = alone.incarnation();
    let carrier = &mut alone.carrier;
    carrier.add(
        assignment,
        Content::Sent {
            head,
            parcel,
            source,
        },
    );
    let epoch = Epoch {
        counter: incarnation,
        leader: own,
    };
    carrier.give(Input::Reign(Some(epoch)));
    carrier.give(Input::Have {
        assignment,
        geometry,
    });
    carrier.give(Input::Send(Box::new(Job {
        assignment,
        name: name.to_string_lossy().into_owned(),
        group: None,
        epoch,
        geometry,
        participants: receivers,
        ask: Ask::All,
        is_new: false,
        is_available: true,
        way: Way::Group,
    })));
    let names: BTreeMap<NodeId, &Name> = settings
        .members
        .iter()
        .map(|name| (GroupSettings::node(name), name))
        .collect();
    let name_of = |node: NodeId| {
        names
            .get(&node)
            .map_or_else(|| node.to_string(), ToString::to_string)
    };
    let mut looks = interval(LOOK_EVERY);
    let outcome = loop {
        let heard = tokio::select! {
            heard = alone.next() => heard.map_err(TransferError::io("use the network any longer"))?,
            _ = looks.tick() => {
                tell_progress(&alone, &name_of, tell);
                continue;
            }
        };
        match heard {
            Heard::Event(Event::Ended(_, _, outcome)) => break outcome,
            Heard::Event(Event::Note(note)) => tell(Sending::Note(note)),
            _ => {}
        }
    };
    let took = now().since(began);
    let deliveries = outcome.fates.iter().map(|(node, fate)| Delivery {
        receiver: name_of(*node),
        address: alone.carrier.address(*node),
        complete: *fate == Fate::Complete,
        fate: fate.to_string(),
    });
    let deliveries: Vec<Delivery> = deliveries.collect();
    let complete = deliveries
        .iter()
        .filter(|delivery| delivery.complete)
        .count();
    Ok(Report {
        quorum: complete >= settings.quorum.unwrap_or(deliveries.len()),
        bytes,
        wire_bytes: outcome.bytes,
        frames: outcome.frames,
        repairs: outcome.repairs,
        resent: outcome.resent,
        took,
        deliveries,
    })
}

fn tell_progress(alone: &Alone, name_of: &dyn Fn(NodeId) -> String, tell: &mut dyn FnMut(Sending)) {
    let mut senders = alone.carrier.station().senders();
    let Some((_, sender)) = senders.find(|(_, sender)| sender.served().is_none()) else {
        return;
    };
    let mut complete = 0;
    let mut lacking = Vec::new();
    for (node, fate, lacks) in sender.progress() {
        match fate {
            Some(Fate::Complete) => complete += 1,
            None if lacks > 0 => lacking.push((lacks, node)),
            _ => {}
        }
    }
    lacking.sort_unstable();
    let slowest = lacking.iter().rev().take(3);
    tell(Sending::Reached {
        wire_bytes: sender.sent_bytes(),
        rate: sender.rate(),
        complete,
        slowest: slowest
            .map(|(lacks, node)| (name_of(*node), *lacks))
            .collect(),
    });
}

/// Longer symbols would let a repair block have few of them.
pub(crate) const SYMBOL_LEN_MAX: u16 = 8_948;

/// Waits for receivers: those that are named, or as many as are expected, or whoever comes in time.
async fn call(
    alone: &mut Alone,
    own: NodeId,
    group: SocketAddr,
    settings: &SendSettings,
    tell: &mut dyn FnMut(Sending),
) -> Result<BTreeSet<NodeId>, TransferError> {
    let named: BTreeSet<NodeId> = settings.members.iter().map(GroupSettings::node).collect();
    let expected = match named.len() {
        0 => settings.expect,
        count => Some(count),
    };
    let mut came = BTreeSet::new();
    let end = Instant::now() + settings.patience;
    let mut next_call = Instant::now();
    while expected.is_none_or(|expected| came.len() < expected) && Instant::now() < end {
        if Instant::now() >= next_call {
            alone.call();
            next_call = Instant::now() + CALL_EVERY;
        }
        let event = tokio::select! {
            event = alone.next() => event.map_err(TransferError::io("use the network"))?,
            () = sleep_until(next_call.min(end)) => continue,
        };
        if let Heard::Met(node) = event
            && node != own
            && (named.is_empty() || named.contains(&node))
            && came.insert(node)
        {
            tell(Sending::Found(came.len()));
        }
    }
    let enough = settings.quorum.or(expected).unwrap_or(1);
    match came.len() {
        0 => Err(TransferError::Nobody { group }),
        len if len < enough => Err(TransferError::Missing {
            group,
            came: len,
            expected: expected.unwrap_or(enough),
            missing: missing(&settings.members, &came),
        }),
        _ => Ok(came),
    }
}
