//! What the leader of a segment does for the jobs of the control server.
//!
//! It fetches the files of a job, offers them to the members that they are for, hands on orders with their instants, and
//! tells the control server what became of it all. Nothing of it is kept: a leader that comes later knows what the control
//! server repeats, and what members hold and report.
#![warn(missing_docs)]

mod input;
mod job;
mod leading;

pub use input::{Input, Output};
pub use leading::{JOBS_MAX, Leading};
