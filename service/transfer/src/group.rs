use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bellwether_machine::Random;
use bellwether_multicast::{Own, Settings, Station, receiver};
use bellwether_net::{ChannelSettings, Everyone, FrameChannel, InterfaceChoice, OpenError};
use bellwether_types::{Hash, Incarnation, Name, NodeId};
use bellwether_wire::control::{DatagramSeal, KeyRing, SegmentKey, Sender};

use crate::alone::Alone;
use crate::carrier::Carrier;
use crate::shelf::Shelf;
use crate::source::SourceError;

/// Headers of Ethernet (with its checksum), IP and UDP.
pub(crate) const OVERHEAD_IPV4: u16 = 18 + 20 + 8;
pub(crate) const OVERHEAD_IPV6: u16 = 18 + 40 + 8;

/// Which group a node takes part in, and as whom.
#[derive(Debug)]
pub struct GroupSettings {
    /// The multicast group and port that all of them use.
    pub group: SocketAddr,
    /// The interface that leads there.
    pub interface: InterfaceChoice,
    /// Hops that multicasts may travel.
    pub hops: u32,
    /// The key that all of them have.
    pub key: SegmentKey,
    /// What this node is called.
    pub name: Name,
}

/// Why nothing can be moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The network does not serve.
    #[error(transparent)]
    Network(#[from] OpenError),
    /// The files do not.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is more of it than fits.
    #[error("this cannot be sent: {0}")]
    Unfit(String),
    /// Nobody listens.
    #[error("nobody on {group} answers with this key")]
    Nobody {
        /// The group.
        group: SocketAddr,
    },
    /// Some of those that are expected do not listen.
    #[error("{came} of {expected} receivers answer on {group}{missing}")]
    Missing {
        /// The group.
        group: SocketAddr,
        /// How many answered.
        came: usize,
        /// How many were to.
        expected: usize,
        /// Names of the others after a colon, where they are known.
        missing: String,
    },
    /// The system denies something.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl TransferError {
    pub(crate) fn io(action: &str) -> impl FnOnce(io::Error) -> Self {
        let action = action.to_owned();
        move |source| Self::Io { action, source }
    }
}

impl GroupSettings {
    /// The node of a name: the same wherever it is spoken of, so that receivers can be named by who sends.
    pub(crate) fn node(name: &Name) -> NodeId {
        let text = format!("bellwether multicast node\0{name}");
        let mut id = [0; 16];
        id.copy_from_slice(&Hash::of(text.as_bytes()).0[..16]);
        NodeId::from_bytes(id)
    }

    /// Takes part in the group: receives to `shelf`, if there is one.
    pub(crate) fn join(
        self,
        sending: Settings,
        shelf: Option<Shelf>,
    ) -> Result<Alone, TransferError> {
        let channel = FrameChannel::open(&ChannelSettings {
            interface: self.interface,
            port: 0,
            hops: self.hops,
            everyone: Everyone::Group(self.group),
            datagram_len_max: usize::from(u16::MAX),
        });
        let mut channel = channel?;
        channel.join(self.group)?;
        // A later start is a higher one, as long as the clock is not set back: then others take us for a stranger until
        // they have forgotten us.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let sender = Sender {
            node: Self::node(&self.name),
            incarnation: Incarnation(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)),
            salt: random_bytes().map_err(TransferError::io("read randomness"))?,
        };
        let own = Own {
            node: sender.node,
            incarnation: sender.incarnation,
            salt: sender.salt,
            key: self.key.id(),
        };
        let seed = random_bytes().map_err(TransferError::io("read randomness"))?;
        let random = Random::new(u64::from_ne_bytes(seed));
        let station = Station::new(own, sending, receiver::Settings::default(), random);
        let segment = "multicast".parse().expect("a name");
        let keys = KeyRing::new(self.key.clone());
        let seal = DatagramSeal::new(segment, sender, KeyRing::new(self.key));
        let carrier = Carrier::new(station, channel, keys, shelf)
            .map_err(TransferError::io("set a timer"))?;
        Ok(Alone::new(carrier, seal, sender, self.group))
    }
}

/// Names that were expected and did not answer, after a colon.
pub(crate) fn missing(expected: &[Name], came: &BTreeSet<NodeId>) -> String {
    let missing = expected
        .iter()
        .filter(|name| !came.contains(&GroupSettings::node(name)));
    let missing: Vec<_> = missing.map(Name::as_str).collect();
    match missing.as_slice() {
        [] => String::new(),
        names => format!(": {} do not", names.join(", ")),
    }
}

pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())? {
        len if len == N => Ok(bytes),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
