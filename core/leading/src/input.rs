use std::collections::{BTreeMap, BTreeSet};

use bellwether_multicast::Fate;
use bellwether_multicast::sender::To;
use bellwether_types::{Epoch, Name, NodeId};
use bellwether_wire::transfer::{AssignmentId, JobReport, TransferMessage};
use bellwether_wire::uplink::{Downward, Failure, File, Upward};

/// What a leader takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Wake,
    /// The reign that this node holds; `None` as long as another leads, or nobody.
    Reign(Option<Epoch>),
    /// The members that are up, this node among them.
    Members(BTreeSet<NodeId>),
    /// The control server says something. Its welcome opens the connection.
    Said(Downward),
    /// The connection to the control server is gone.
    Closed,
    /// So many bytes of a file came.
    Fetching(AssignmentId, u64),
    /// The head of a file that is being fetched is here, and proved: it can be offered, and goes out as it comes.
    Begun(AssignmentId),
    /// A file lies here whole and proved; or it could not be fetched.
    Fetched(AssignmentId, Result<(), Failure>),
    /// A file was not offered, because of this.
    NotOffered(AssignmentId, String),
    /// How an offer gets on.
    Going {
        /// Of which file.
        id: AssignmentId,
        /// Bits in a second that are sent of it.
        rate: u64,
        /// Bytes of it that each of those whom it is for has.
        received: BTreeMap<NodeId, u64>,
    },
    /// An offer is over: what became of each whom it was for.
    Ended(AssignmentId, BTreeMap<NodeId, Fate>),
    /// A member reports; this node also does so of itself.
    Report {
        /// Who reports.
        from: NodeId,
        /// What.
        report: Box<JobReport>,
    },
}

/// What a leader wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Tell the control server.
    Tell(Upward),
    /// Tell the control server who belongs to the segment, all of it.
    TellSegment,
    /// Hand the office over, to this node or to the best other one: the control server wants it, or there is no room here for
    /// what others are to get.
    StepDown(Option<NodeId>),
    /// There are settings of this number at the control server.
    Settings(u64),
    /// Fetch a file, unless it is here; then say [`Input::Fetched`].
    Fetch {
        /// Which.
        file: File,
        /// The place, a URL before `/v1/assignments/ID`; `None` is the control server.
        source: Option<String>,
    },
    /// Bring a file that lies here, or is on its way, to others; then say [`Input::Ended`].
    Offer {
        /// Which.
        assignment: AssignmentId,
        /// What it is called.
        name: Name,
        /// The content group whose channel it takes; `None` is that of all.
        group: Option<Name>,
        /// Whose answers are waited for.
        members: BTreeSet<NodeId>,
    },
    /// A file that lies here is for this node, too.
    Arrived(AssignmentId),
    /// A file is wanted no more: it is neither fetched nor offered any longer.
    Drop(AssignmentId),
    /// Say something to members; what is for all is for this node, too.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: TransferMessage,
    },
}
