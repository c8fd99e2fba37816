//! A node of a segment: election and membership behind sealed datagrams, as one machine.
//!
//! Election and membership do not know each other. Here the leader that the one finds becomes the leader to whom the
//! other registers, and the members that the other knows become the ranks of the one. Datagrams come in as they arrived
//! and go out as they are to be sent, so that sockets, the simulator and a replayed log all drive the same code.
#![warn(missing_docs)]

mod input;
mod reach;
mod segment;

pub use input::{Event, Input, Kept, Kind, Output, Reach, Settings, Via};
pub use segment::Segment;
