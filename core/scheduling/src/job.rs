use bellwether_types::{Name, SitePart};
use minicbor::{Decode, Encode};

use crate::policy::Policy;
use crate::view::Moment;

/// A change of one site on the nodes of one group (JOB-01).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Job {
    /// Its name.
    #[n(0)]
    pub name: Name,
    /// What it does.
    #[n(1)]
    pub kind: Kind,
    /// Whose content.
    #[n(2)]
    pub site: SitePart,
    /// Where it goes: the group; who that is, is looked up when the job begins (CCM-09).
    #[n(3)]
    pub group: Name,
    /// When it is due.
    #[n(4)]
    pub due: Moment,
    /// Its rules (CCM-02).
    #[n(5)]
    pub policy: Policy,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Changes of the staging source (JOB-02).
    #[n(0)]
    Publish,
    /// The whole content, for nodes that have none (JOB-03).
    #[n(1)]
    Replicate,
    /// What nodes missed (JOB-04).
    #[n(2)]
    Synchronize,
    /// Back to a checkpoint (JOB-05).
    #[n(3)]
    Restore,
    /// Back to what was live before (JOB-06).
    #[n(4)]
    Rollback,
    /// To another version that nodes hold, without a transfer (JOB-07).
    #[n(5)]
    Switch,
    /// The content goes (JOB-08).
    #[n(6)]
    Remove,
    /// Content in demand, to more nodes (JOB-09).
    #[n(7)]
    PublishHot,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Publish,
        Self::Replicate,
        Self::Synchronize,
        Self::Restore,
        Self::Rollback,
        Self::Switch,
        Self::Remove,
        Self::PublishHot,
    ];

    /// Whether content goes to nodes before anything becomes live. All such jobs share one sequence (JOB-15).
    pub const fn distributes(self) -> bool {
        !matches!(self, Self::Rollback | Self::Switch | Self::Remove)
    }
}
