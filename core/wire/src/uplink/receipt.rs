use bellwether_types::{Incarnation, NodeId, Serial, SitePart, Term, VersionId};
use minicbor::{Decode, Encode};

use crate::signing::{PublicKey, Signature, SigningKey};

/// What a node serves, in its own words and under its own signature: who has what, provable afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Receipt {
    /// What it says.
    #[n(0)]
    pub served: Served,
    /// The node's Ed25519 signature over [`Served::message`].
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub signature: Signature,
}

/// What a node serves of a site and part.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Served {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// Its start.
    #[n(1)]
    pub incarnation: Incarnation,
    /// The site and part.
    #[n(2)]
    pub site: SitePart,
    /// What is live: the hash of the manifest of the tree that stands there, every byte of which was verified.
    #[n(3)]
    pub version: VersionId,
    /// The term of the order that made it live.
    #[n(4)]
    pub term: Term,
    /// The serial of that order.
    #[n(5)]
    pub serial: Serial,
    /// When it became live: seconds since 1970 by the node's wall clock. For people.
    #[n(6)]
    pub seconds: i64,
    /// And nanoseconds.
    #[n(7)]
    pub nanoseconds: u32,
}

impl Receipt {
    /// Signs what is served.
    pub fn sign(served: Served, key: &SigningKey) -> Self {
        let signature = key.sign(&served.message());
        Self { served, signature }
    }

    /// Whether the node of this key said so.
    pub fn holds(&self, key: &PublicKey) -> bool {
        key.verifies(&self.served.message(), &self.signature)
    }
}

impl Served {
    /// The bytes that are signed: a label, a zero, and the encoding.
    pub fn message(&self) -> Vec<u8> {
        let mut message = b"bellwether receipt 1\0".to_vec();
        match minicbor::encode(self, &mut message) {
            Ok(()) => message,
            Err(_) => unreachable!("a vector takes everything"),
        }
    }
}
