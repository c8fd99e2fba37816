//! What operators define: sites with their parts and policies, groups of nodes, and who may do what. Values and plain
//! questions to them; the control server keeps them, its API shows them as they stand here.
#![warn(missing_docs)]

mod group;
mod policy;
mod role;
mod site;

pub use group::{Group, GroupFault, Labels, Selector};
pub use policy::{CommitMode, ParseQuorumError, Partial, Policy, Quorum, Shortfall};
pub use role::{ParsePlacementError, Placement, Role};
pub use site::{FileType, ParseFileTypeError, Part, Site, SiteFault};
