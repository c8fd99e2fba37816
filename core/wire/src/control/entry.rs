use core::net::SocketAddr;

use bellwether_types::{Epoch, Name, NodeId};
use minicbor::{Decode, Encode};

use super::record::Record;

/// A state of the segment: which leader wrote it, and the how-manieth in the line of its ancestors it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct StateVersion {
    /// The reign it was written in.
    #[n(0)]
    pub epoch: Epoch,
    /// Rises by one with each report, and goes on rising under the next leader.
    #[n(1)]
    pub sequence: u64,
}

/// What an entry of the segment state is about. The order is that of reports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Key {
    /// The segment's name for people (CLUSTER-07).
    #[n(0)]
    Title,
    /// The control channel.
    #[n(1)]
    Control,
    /// A reign that is over.
    #[n(2)]
    Reign(#[n(0)] Epoch),
    /// A content group.
    #[n(3)]
    Group(#[n(0)] Name),
    /// A node's place in a content group, whether the node is up or not.
    #[n(4)]
    Place(#[n(0)] Name, #[n(1)] NodeId),
    /// Something that lost when parts of the segment met again: the sequence of that merge, and a number.
    #[n(5)]
    Conflict(#[n(0)] u64, #[n(1)] u16),
    /// A member.
    #[n(6)]
    Member(#[n(0)] NodeId),
}

/// What is known under a key of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Value {
    /// At most [`Value::TITLE_LEN_MAX`] bytes.
    #[n(0)]
    Title(#[n(0)] String),
    /// The multicast address and port that control messages go to.
    #[n(1)]
    Control(#[n(0)] SocketAddr),
    /// The last sequence of that reign that lives on in this state.
    #[n(2)]
    Reign(#[n(0)] u64),
    /// The group's data channel; `None` once the group was given up, so that a merge does not bring it back.
    #[n(3)]
    Group(#[n(0)] Option<SocketAddr>),
    /// The node belongs to the group.
    #[n(4)]
    Place,
    /// The entry that lost, encoded: entries within entries could be nested without end.
    #[n(5)]
    Conflict(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// What the member said of itself.
    #[n(6)]
    Member(#[n(0)] Box<Record>),
}

/// One thing that all members know, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Entry {
    /// What it is about.
    #[n(0)]
    pub key: Key,
    /// The sequence of the state that it last changed in.
    #[n(1)]
    pub since: u64,
    /// What is known; `None` says that it is no more.
    #[n(2)]
    pub value: Option<Value>,
}

impl Value {
    /// The longest name of a segment for people, in bytes.
    pub const TITLE_LEN_MAX: usize = 128;
    /// The longest encoding of an entry that lost, in bytes: a record and its key.
    pub const CONFLICT_LEN_MAX: usize = 960;
}

impl Entry {
    /// Why the entry cannot be taken, if it cannot.
    pub fn fault(&self) -> Option<&'static str> {
        let Some(value) = &self.value else {
            return None;
        };
        match (&self.key, value) {
            (Key::Title, Value::Title(title)) => {
                (title.len() > Value::TITLE_LEN_MAX).then_some("a title is longer than 128 bytes")
            }
            (Key::Member(_), Value::Member(record)) => record.fault(),
            (Key::Conflict(..), Value::Conflict(lost)) => (lost.len() > Value::CONFLICT_LEN_MAX)
                .then_some("a conflict is longer than 960 bytes"),
            (Key::Control, Value::Control(_))
            | (Key::Reign(_), Value::Reign(_))
            | (Key::Group(_), Value::Group(_))
            | (Key::Place(..), Value::Place) => None,
            _ => Some("a value does not fit its key"),
        }
    }
}
