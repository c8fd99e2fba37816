//! What leaders say of their segments, as they say it.
//!
//! - `link` is one leader's connection: a request that stays open, messages in both directions.
//! - [`Hub`] is what all links have said, behind one lock: `bellwether_discovery` decides, the hub sends and counts the
//!   time. Nothing waits under the lock: a leader that does not take what is sent to it is let go.
//! - [`Fleet`] is what the store says of nodes and segments, read again when that changes.
//! - `follow` brings both together: whoever was put out is let go, whoever has other settings is told, and who came and
//!   went is observed.
//!
//! Coming and going is kept by the store, a command a second at most for all nodes together: so it is numbered among the
//! events and told again to whoever asks late, and a server that starts again tells nothing that it had told. What the
//! machine itself knows is not kept, because leaders say it again.

mod fleet;
mod follow;
mod hub;
mod link;

pub(crate) use fleet::Fleet;
pub(crate) use follow::follow;
pub(crate) use hub::{Hub, Place, TERM};
pub(crate) use link::uplink;
