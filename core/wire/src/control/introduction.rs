use core::net::SocketAddr;

use minicbor::{Decode, Encode};

/// How nodes find each other where the network has no multicast.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Introduction {
    /// A newcomer to a node whose address it was given: who else is here?
    #[n(0)]
    Hello,
    /// The answer: addresses of members, the leader's first; at most [`Introduction::PEERS_MAX`].
    #[n(1)]
    Peers(#[n(0)] Vec<SocketAddr>),
}

impl Introduction {
    /// The most addresses in an answer: enough to find the leader by, few enough for one packet.
    pub const PEERS_MAX: usize = 32;
}
