//! What the leader of a segment and the control server tell each other (`docs/formats.md`). The leader holds one request
//! open; messages go up in its body and down in that of the response, each behind its length.
//!
//! The leader is known by the certificate of the connection; [`Hello`] says for which segment and reign it speaks.
//! Content does not travel here, only what is to be done with it and what became of it. Instants are microseconds of the
//! *receiver's* steady clock: the sender measured how far both are apart ([`Offset`]), and converts. Wall clocks are
//! shown to people and decide nothing.

mod downward;
mod frames;
mod offset;
mod outcome;
mod receipt;
mod report;
mod upward;

pub use downward::{
    Abort, Ask, Dismiss, Downward, File, Notify, Order, Ping, Reason, Variant, Welcome,
};
pub use frames::{FrameError, Frames, MESSAGE_LEN_MAX, Message, frame};
pub use offset::{Exchange, Offset};
pub use outcome::{Failure, FailureKind, NodeOutcome, Outcome, Outcomes};
pub use receipt::{Receipt, Served};
pub use report::{ChangeKind, ClusterReport, MemberChange, Report, ReportNumber, SegmentReport};
pub use upward::{Hello, NodeProgress, Pong, Progress, Upward};

/// Jobs, variants and nodes named at once: more go in several messages.
const NODES_MAX: usize = 16_384;
const JOBS_MAX: usize = 1_024;

fn within(text: &str, len_max: usize) -> bool {
    text.len() <= len_max
}
