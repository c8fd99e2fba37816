//! A node of a segment: election and membership behind sealed datagrams, as one machine.
//!
//! Election and membership do not know each other. Here the leader that the one finds becomes the leader to whom the
//! other registers, and the members that the other knows become the ranks of the one. What is said of transfers passes
//! through: who speaks is proved here, what it means is decided beside this machine. Datagrams come in as they arrived
//! and go out as they are to be sent, so that sockets, the simulator and a replayed log all drive the same code.
#![warn(missing_docs)]

mod heartbeat;
mod input;
mod reach;
mod segment;

pub use input::{Event, Input, Kept, Kind, Numbers, Output, Reach, Settings, Via};
pub use segment::Segment;
