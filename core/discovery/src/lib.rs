//! Which segments and nodes there are, as their leaders report them to the control server (CLUSTER-01 to CLUSTER-12).
//!
//! Nothing of this is written down: it is what the links that are open now have said, and after a restart the leaders say
//! it again. A segment is heard through one link, that of its highest epoch; whoever else speaks for it is told who does.
//! Reports of a reign are numbered: an older one changes nothing, and where one is missing all is asked for again.
//!
//! A segment that is silent is not gone: its nodes are [`Standing::Unknown`] until somebody speaks for it again. The road
//! not taken is a registry with leases for each node: then what leaders know already would be sent twice.
#![warn(missing_docs)]

mod discovery;
mod input;
mod link;
mod segment;

pub use discovery::Discovery;
pub use input::{Event, Farewell, Input, LinkId, Output, Settings};
pub use link::Link;
pub use segment::{Leader, Presence, Segment, Standing};
