use core::net::SocketAddr;

use bellwether_types::{Incarnation, Name, VersionId};
use minicbor::{Decode, Encode};

/// What a member says of itself in its registration (REG-03), and what all others know of it. A record
/// never holds a key: whoever sent it proved by the seal of the datagram that it has the segment's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Record {
    /// The start of the node that this record is of; a lower one never replaces a higher one.
    #[n(0)]
    pub incarnation: Incarnation,
    /// The node's name.
    #[n(1)]
    pub name: Name,
    /// Where the node takes control datagrams that are for it alone.
    #[n(2)]
    pub address: SocketAddr,
    /// A time zone or another word for where it stands (CLUSTER-09); may be empty.
    #[n(3)]
    pub location: String,
    /// May it lead?
    #[n(4)]
    pub candidate: bool,
    /// How strong its claim to lead is; higher is stronger.
    #[n(5)]
    pub priority: u32,
    /// Is it busy with other work, and so to be left out of distribution (CLUSTER-11)?
    #[n(6)]
    pub busy: bool,
    /// The formats it can read.
    #[n(7)]
    pub formats: Formats,
    /// What it has to spare.
    #[n(8)]
    pub resources: Resources,
    /// The versions that are live on it; no more than fit [`Record::LEN_MAX`].
    #[n(9)]
    pub holdings: Vec<Holding>,
    /// Drawn at the node's start: a report that shows it was made after that start.
    #[n(10)]
    pub nonce: u64,
    /// The sequence of the segment state that this incarnation was first in; the leader fills it in.
    #[n(11)]
    pub joined: u64,
    /// The UDP port, at the same address, where it takes frames; `None` if it takes none.
    #[n(12)]
    pub data_port: Option<u16>,
    /// The TCP port, at the same address, where it serves its neighbours; `None` if it serves nobody.
    #[n(13)]
    pub serve_port: Option<u16>,
}

/// The ranges of formats that a program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct Formats {
    /// Control datagrams.
    #[n(0)]
    pub control: FormatRange,
    /// Data frames.
    #[n(1)]
    pub frame: FormatRange,
    /// Assignments.
    #[n(2)]
    pub assignment: FormatRange,
}

/// From the lowest to the highest version of one format, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct FormatRange {
    /// The oldest that can be read.
    #[n(0)]
    pub lowest: u16,
    /// The newest that can be read.
    #[n(1)]
    pub highest: u16,
}

/// What a node has to spare (CLUSTER-03).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct Resources {
    /// Bytes free on the disk that holds content.
    #[n(0)]
    pub disk_free_bytes: u64,
    /// Computing power at hand, in thousandths of a core.
    #[n(1)]
    pub cpu_millicores: u32,
    /// Open network connections.
    #[n(2)]
    pub connections: u32,
}

/// A site and part, and the version of it that is live.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Holding {
    /// The site.
    #[n(0)]
    pub site: Name,
    /// The part of the site.
    #[n(1)]
    pub part: Name,
    /// What is live.
    #[n(2)]
    pub version: VersionId,
}

impl Record {
    /// The longest encoding of a record, in bytes: it has to fit a datagram beside a header.
    pub const LEN_MAX: usize = 900;
    /// The longest location, in bytes.
    pub const LOCATION_LEN_MAX: usize = 64;

    /// What is wrong with the record, if anything, apart from its length.
    pub fn fault(&self) -> Option<&'static str> {
        let formats = [
            self.formats.control,
            self.formats.frame,
            self.formats.assignment,
        ];
        if self.location.len() > Self::LOCATION_LEN_MAX {
            Some("its location is longer than 64 bytes")
        } else if formats.iter().any(|range| range.lowest > range.highest) {
            Some("a range of formats ends before it begins")
        } else {
            None
        }
    }

    /// The length of its encoding, in bytes.
    pub fn encoded_len(&self) -> usize {
        minicbor::to_vec(self).map_or(usize::MAX, |bytes| bytes.len())
    }

    /// Forgets holdings, last ones first, until the record is short enough; how many were forgotten.
    pub fn shorten(&mut self) -> usize {
        let before = self.holdings.len();
        while self.encoded_len() > Self::LEN_MAX && self.holdings.pop().is_some() {}
        before - self.holdings.len()
    }

    /// Do both say the same of the node, whenever each joined?
    pub fn says_the_same(&self, other: &Self) -> bool {
        Self {
            joined: other.joined,
            ..self.clone()
        } == *other
    }
}

impl Formats {
    /// What both can read; `None` if there is a format of which they share no version.
    pub fn common(self, other: Self) -> Option<Self> {
        Some(Self {
            control: self.control.common(other.control)?,
            frame: self.frame.common(other.frame)?,
            assignment: self.assignment.common(other.assignment)?,
        })
    }
}

impl FormatRange {
    fn common(self, other: Self) -> Option<Self> {
        let lowest = self.lowest.max(other.lowest);
        let highest = self.highest.min(other.highest);
        (lowest <= highest).then_some(Self { lowest, highest })
    }
}
