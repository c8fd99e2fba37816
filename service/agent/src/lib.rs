//! The node's process: runs the segment's protocols on real sockets, keeps what they must remember, and answers its
//! operator.
//!
//! One thread does everything but transfers (`bellwether_net::drive`): what the protocols decide stands in core, what they need of
//! the machine in `io/net`; here is what joins both to a data directory, to a log that tells what happened, and to the
//! admin socket in that directory, by which `status`, `step-down` and `leave` speak with a running agent.
#![warn(missing_docs)]

mod admin;
pub mod content;
mod desk;
mod doubt;
mod enrol;
mod folder;
mod http;
mod jobs;
mod log;
mod measure;
mod metrics;
mod neighbours;
mod node;
mod record;
mod run;
mod settings;
mod status;
mod story;
mod transfers;
mod uplink;

pub use admin::{Answer, AskError, Request, ask};
pub use enrol::{Admission, ControlServer, EnrolError, Enrolled, Newcomer, enrol};
pub use folder::FolderError;
pub use run::{Ended, RunError, run, run_enrolled};
pub use settings::{Settings, SettingsError};
pub use status::{
    Counters, Leader, Member, Multicast, NodeStatus, Part, Priority, State, StateVersion, Status,
};
pub use transfers::{GroupRequest, OfferRequest, ReceiverStatus, TransferStatus};
