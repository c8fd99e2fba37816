//! MCTP: one copy of the bytes on the wire for a whole segment, at the speed of the link, whatever is lost
//! (`docs/mctp.md`).
//!
//! - **A sender** ([`sender`]) announces a session, sends every symbol once, and mends what participants lack, mostly
//!   with repair symbols: one of them mends different losses at different receivers. Whom multicast does not reach, or
//!   who loses far more than the others, is told to fetch from its neighbours.
//! - **A receiver** ([`receiver`]) is one assignment on one node, whoever sends it: it says where symbols belong in a
//!   spool, has blocks decoded and proved, and tells each sender what it lacks: all who lack less than what was promised
//!   keep silent.
//! - **A station** ([`Station`]) is all of a node's transfers: it brings messages to whom they concern, and serves
//!   neighbours with what is proved here.
//!
//! - **Reports** ([`reports`]) of what became of an assignment are collected by the leader, without an implosion.
//!
//! Content never passes through these machines. What is to be read, written, coded, decoded and proved goes out by
//! reference, so that other threads can do it, and the answer comes back as an input.
//!
//! Roads not taken: positive acknowledgements, which grow with the segment; repair symbols sent in advance, which cost
//! bytes where nothing is lost; one session for each file; a star of unicasts where multicast is missing.
#![warn(missing_docs)]

mod bits;
mod erasure;
mod geometry;
mod job;
mod pacing;
mod rate;
pub mod receiver;
pub mod reports;
pub mod sender;
pub mod small;
mod station;

pub use erasure::{CodeError, ErasureCode, ReedSolomon};
pub use geometry::{Geometry, GeometryError, Part, Place, Shape};
pub use job::{Fate, Finish, Identity, Job, Outcome, Rate, Settings, Slow, Way};
pub use station::{Input, Output, Own, Station};
