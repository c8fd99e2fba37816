//! The simulator: many nodes in one process, in virtual time, from one seed.
//!
//! A [`Scenario`] says how many nodes there are, what network lies between them, by which rules they are disturbed and
//! what must come true in the end. A seed draws one run from it, the plan, which lists every disturbance with its
//! moment; running a plan is the same each time, down to the hash of everything that happened. While it runs, what can
//! be seen of the nodes is judged after each event; a property that breaks ends the run, and what the failure does not
//! need is left out of the plan until one command repeats what is left.
//!
//! What runs on the nodes is any [`Process`]. There is no thread, no socket and no clock in a run; several runs share
//! the processors.
#![warn(missing_docs)]

mod clock;
mod forgery;
mod member;
mod network;
mod plan;
mod process;
mod property;
mod queue;
mod run;
pub mod scenario;
mod statistics;
mod strike;
mod trace;
mod watch;
mod world;

pub use member::Member;
pub use plan::Reduction;
pub use process::{
    Address, Birth, Channel, Datagram, Destination, Fact, Input, Kind, Order, Output, Phase,
    Process, SegmentState, View,
};
pub use property::{Broken, Lack, Property};
pub use run::{Run, Runs, run, run_seeds, shrink, speed};
pub use scenario::{Scenario, ScenarioError};
pub use statistics::{Distribution, Recoveries, Statistics, Traffic};
pub use watch::Cause;
