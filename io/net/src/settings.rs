use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use crate::interface::{InterfaceChoice, InterfaceError};

/// How a node takes part in its segment's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    /// The interface that leads to the segment.
    pub interface: InterfaceChoice,
    /// The UDP port for what is meant for this node alone; 0 takes any free one. Each agent of a machine needs its own.
    pub port: u16,
    /// Hops that a multicast may travel: 1 stays in the network, more asks for routers that forward multicasts.
    pub hops: u32,
    /// Whom a message to all reaches at first.
    pub everyone: Everyone,
    /// Longer datagrams are dropped, bytes.
    pub datagram_len_max: usize,
}

/// Whom a message to all reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Everyone {
    /// The members of a multicast group: the control channel (CHAN-01).
    Group(SocketAddr),
    /// Each of these by unicast, where the network has no multicast. Addresses of one family, at least one.
    Peers(BTreeSet<SocketAddr>),
}

/// No channel can be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The interface does not serve.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// Not a multicast address.
    #[error("{0} is no multicast group: 239.0.0.0/8 and ff02::/16 are for networks of one's own")]
    NotAGroup(SocketAddr),
    /// Peers of both families, or none.
    #[error("name at least one peer, all of them by IPv4 or all by IPv6")]
    Peers,
    /// A channel does not change its family.
    #[error("this channel was opened for {0}: restart the agent to change that")]
    Family(&'static str),
    /// The port is taken, or may not be had.
    #[error("UDP port {port} cannot be opened: choose another, or 0 for any that is free")]
    Port {
        /// The port.
        port: u16,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The group cannot be joined.
    #[error("multicast group {group} cannot be joined on {interface}")]
    Join {
        /// The group.
        group: SocketAddr,
        /// The interface.
        interface: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The kernel denies something else.
    #[error("the network cannot be used")]
    Network(#[from] io::Error),
}

impl Everyone {
    /// Whether it is reached by IPv6.
    pub(crate) fn family(&self) -> Result<bool, OpenError> {
        match self {
            Self::Group(group) if group.ip().is_multicast() => Ok(group.is_ipv6()),
            Self::Group(group) => Err(OpenError::NotAGroup(*group)),
            Self::Peers(peers) => {
                let ipv6 = peers.iter().filter(|peer| peer.is_ipv6()).count();
                match (ipv6, peers.len()) {
                    (_, 0) => Err(OpenError::Peers),
                    (0, _) => Ok(false),
                    (six, all) if six == all => Ok(true),
                    _ => Err(OpenError::Peers),
                }
            }
        }
    }
}
