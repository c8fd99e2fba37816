use minicbor::{Decode, Encode};

/// What registration, reports and merges say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum MembershipMessage {}
