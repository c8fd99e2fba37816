use std::fmt;

use bellwether_types::{Epoch, Time};
use bellwether_wire::control::{MergeId, StateVersion};

/// What must hold at every moment, or must come true in time; each names what broke it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// Whoever leads does so in a reign of its own.
    ForeignReign(Epoch),
    /// No two leaders, and no two starts of one leader, share a reign (ELECT-34).
    SharedReign(Epoch),
    /// The reign that a node obeys never gets lower.
    ReignFell {
        /// What it obeyed.
        from: Epoch,
        /// What it obeys.
        to: Option<Epoch>,
    },
    /// Nor is it lower after a restart than it was when all that the node had kept was on its disk.
    ReignForgotten {
        /// What it obeyed.
        from: Epoch,
        /// What it knows when it starts again.
        to: Option<Epoch>,
    },
    /// A node that starts again is a later incarnation of itself.
    OldIncarnation,
    /// What a node newly knows of the segment comes from the leader that it obeys: orders of a deposed one are ignored.
    ForeignState(StateVersion),
    /// Whoever knows the same version of the segment's state knows the same.
    SplitState(StateVersion),
    /// A merge takes effect once at each node.
    MergedTwice(MergeId),
    /// A merge has the same effect at all nodes.
    MergedOtherwise(MergeId),
    /// Reports to the control server are numbered without a gap, and the first of a reign says all (CLUSTER-12).
    ReportOrder(Epoch, u64),
    /// What nobody of the segment has sent has no effect.
    Swayed,
    /// What a process itself calls wrong.
    Amiss(String),
    /// A process comes to rest.
    Spinning,
    /// A process does not panic.
    Panicked(String),
    /// When all is quiet a segment settles in time; this is what it still lacked.
    Unsettled(Lack),
    /// When it has settled and all is quiet, it stays so; this is what it lost.
    Restless(Lack),
    /// The best of the candidates leads, or follows on a leader that died.
    NotTheBest {
        /// Who leads.
        leader: u32,
        /// Who should.
        best: u32,
    },
}

/// What a segment lacks that has not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Nobody leads.
    Leader,
    /// Several lead.
    OneLeader,
    /// Some do not obey it.
    Obedience,
    /// Some know another state than others.
    EqualStates,
    /// Some are not in the report of the leader that they obey.
    Registration,
    /// Dead members are counted.
    Members,
    /// The control server was told of others.
    ControlServer,
    /// Content groups were lost.
    Groups,
}

/// A broken property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// When.
    pub at: Time,
    /// Where.
    pub segment: u32,
    /// By whom, if by one; by its number in the segment.
    pub node: Option<u32>,
    /// Which.
    pub property: Property,
}

impl Broken {
    /// The same property in another run, whatever the details.
    pub(crate) fn resembles(&self, other: &Self) -> bool {
        match (&self.property, &other.property) {
            (Property::Unsettled(lack), Property::Unsettled(other)) => lack == other,
            (property, other) => std::mem::discriminant(property) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {}, segment {}",
            self.property, self.at, self.segment
        )?;
        self.node.map_or(Ok(()), |node| write!(f, ", node {node}"))
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignReign(epoch) => write!(f, "a node leads in another's reign, {epoch}"),
            Self::SharedReign(epoch) => write!(f, "the reign {epoch} was led twice"),
            Self::ReignFell { from, to: Some(to) } => {
                write!(f, "a node obeyed {from} and now obeys {to}")
            }
            Self::ReignFell { from, to: None } => {
                write!(f, "a node obeyed {from} and has forgotten it")
            }
            Self::ReignForgotten { from, to: Some(to) } => {
                write!(f, "a node obeyed {from}, and {to} after its restart")
            }
            Self::ReignForgotten { from, to: None } => {
                write!(
                    f,
                    "a node obeyed {from}, and its restart made it forget that"
                )
            }
            Self::ForeignState(StateVersion { epoch, sequence }) => {
                write!(
                    f,
                    "a node took state {sequence} of {epoch}, and obeys another leader"
                )
            }
            Self::SplitState(StateVersion { epoch, sequence }) => {
                write!(
                    f,
                    "two nodes differ in what they hold as state {sequence} of {epoch}"
                )
            }
            Self::MergedTwice(MergeId { epoch, number }) => {
                write!(f, "merge {number} of {epoch} took effect twice at a node")
            }
            Self::MergedOtherwise(MergeId { epoch, number }) => {
                write!(f, "merge {number} of {epoch} took effect in two ways")
            }
            Self::ReportOrder(epoch, sequence) => {
                write!(f, "report {sequence} of {epoch} is not the next one")
            }
            Self::Swayed => write!(f, "a forged datagram had an effect"),
            Self::Amiss(what) => f.write_str(what),
            Self::OldIncarnation => write!(
                f,
                "a node started again under an incarnation it had already"
            ),
            Self::Spinning => write!(
                f,
                "a process is woken again and again and lets its deadline stand"
            ),
            Self::Panicked(message) => write!(f, "a process panicked: {message}"),
            Self::Unsettled(lack) => write!(f, "a segment did not settle in time: {lack}"),
            Self::Restless(lack) => {
                write!(f, "a settled segment changed though all was quiet: {lack}")
            }
            Self::NotTheBest { leader, best } => {
                write!(f, "node {leader} leads, and node {best} is stronger")
            }
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "nobody leads",
            Self::OneLeader => "several lead",
            Self::Obedience => "not all obey the leader",
            Self::EqualStates => "not all know the same state of the segment",
            Self::Registration => "some are not in the report of their leader",
            Self::Members => "dead members are counted",
            Self::ControlServer => "the control server was told of other members",
            Self::Groups => "content groups were lost",
        })
    }
}
