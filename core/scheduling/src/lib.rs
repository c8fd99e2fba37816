//! What a job does next. A job is a saga: it is told step by step, each step is kept before the next is decided, and a
//! control server that died between any two goes on from what was kept.
//!
//! - [`Job`] is what the operator asked for, [`Policy`] how; [`JobState`] is how far it is, and all that is kept.
//! - [`View`] is what is volatile: who is there, on which version, what they reported, what they were told. It is empty
//!   after a restart and fills again from what leaders repeat.
//! - [`next`] takes both and says what to do: a [`Decision`] is either to keep a [`Step`] (by [`JobState::apply`], which
//!   refuses what may not follow) or to tell nodes something that may be told twice. It says the same as long as nothing
//!   changes, and never both.
//! - [`conflict()`] keeps two jobs off the same site on the same node; [`behind()`] finds nodes that missed a commit, for
//!   which a job to synchronise is made.
//!
//! Nothing here waits, sends or reads a clock. Moments are those of the control server's wall clock, because they outlive
//! the process and the machine; a clock that steps makes a job more or less patient, and nothing else.
#![warn(missing_docs)]

mod catching;
mod conflict;
mod job;
mod policy;
mod saga;
mod state;
mod status;
mod view;

pub use catching::behind;
pub use conflict::{Conflict, Occupied, conflict};
pub use job::{Job, Kind};
pub use policy::{Below, CommitMode, OnConflict, Partial, Policy, Quorum};
pub use saga::{Decision, OrderKind, next};
pub use state::{Ending, JobState, Phase, Plan, Refused, Step};
pub use status::Status;
pub use view::{Base, Moment, NodeView, Presence, Reported, View};
