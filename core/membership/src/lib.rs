//! Who belongs to a segment, and what all of them know.
#![warn(missing_docs)]

mod ahead;
mod channel;
mod coordinator;
mod exchange;
mod farewell;
mod input;
mod leader;
mod liveness;
mod member;
mod membership;
mod merge;
mod news;
mod orderer;
mod output;
mod participant;
mod registrar;
mod report;
mod settings;
mod state;

pub use exchange::{Exchange, Stage};
pub use input::{Identity, Input, Measured, Order};
pub use membership::{Membership, State, Timer};
pub use output::{Event, Output, Refusal, To};
pub use report::{ChangeKind, ClusterReport, MemberChange, Report, ReportNumber, SegmentReport};
pub use settings::{Settings, Spans};
pub use state::SegmentState;
