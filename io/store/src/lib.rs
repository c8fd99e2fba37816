//! What the control server keeps.
//!
//! Every change of state is one [`Command`] in one ordered log. A command carries whatever is not determined by what is
//! kept already (the time, ids, randomness), so that the same log makes the same database, on this server and on any
//! other. [`Store::apply`] carries out one entry of the log in one transaction: the entry, its effects, the events that
//! tell of them, the line of the audit, and the number up to which the log is applied. It does not ask who put the
//! entries in order; [`Store::propose`] does that for a server alone, and a replicated log would do it for several.
//!
//! A command that cannot be carried out is [`Refused`]: that is an outcome, and leaves nothing but its line in the audit.
//!
//! What changes too often to be worth a line, such as who was heard last, is not kept here.
#![warn(missing_docs)]

mod applying;
mod audit;
mod authority;
mod bytes;
mod command;
mod dump;
mod event;
mod group;
mod job;
mod node;
mod observation;
mod outcome;
mod receipt;
mod row;
mod segment;
mod site;
mod store;
mod token;
mod version;

pub use audit::AuditLine;
pub use authority::Authority;
pub use bytes::Bytes;
pub use command::{Actor, Command, Entry};
pub use event::Event;
pub use job::{JobLine, KeptJob, Live, NewJob};
pub use node::{Certificate, Enrolment, Node};
pub use observation::{Observation, Seen};
pub use outcome::{OpenError, Outcome, Refused, StoreError};
pub use receipt::{RECEIPTS_MAX, Serving, kept};
pub use segment::{KeyPlace, NewKey, Rotation, Segment, SegmentKey};
pub use store::Store;
pub use token::{NewToken, Token};
pub use version::Version;
