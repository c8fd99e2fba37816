//! Who belongs to a segment, and what all of them know.
#![warn(missing_docs)]

mod input;
mod output;
mod report;
mod settings;

pub use input::{Identity, Input, Measured, Order};
pub use output::{Event, Output, Refusal, To};
pub use report::{ChangeKind, ClusterReport, MemberChange, Report, ReportNumber, SegmentReport};
pub use settings::{Settings, Spans};
