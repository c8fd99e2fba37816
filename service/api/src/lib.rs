//! The contract of the control server's HTTP API.
//!
//! Each route is an [`Endpoint`]: a type that names method, path, who may ask, what comes in and what goes out. Server,
//! client and the OpenAPI document are made of the same table, which is [`routes`]; there are no handlers here.
//!
//! Bodies are JSON, and unknown fields are refused; where [`Octets`] stand, they are bytes. Whatever fails is answered by a [`Problem`]. Times are milliseconds
//! since 1970.
#![warn(missing_docs)]

mod audit;
mod content;
mod endpoint;
mod event;
mod job;
mod list;
mod node;
mod openapi;
mod problem;
pub mod routes;
mod segment;
mod server;
mod token;
mod trust;
mod version;

pub use audit::{AuditInfo, Before};
pub use content::{
    ContentPiece, ContentReceived, ContentSize, Missing, MissingContent, MissingPage, Octets,
};
pub use endpoint::{Access, Endpoint, Key, Method, NoQuery, Query};
pub use event::{After, EventInfo, Events};
pub use job::{
    JobFault, JobInfo, JobKind, JobLine, JobNode, JobPhase, JobProgress, JobStatus, JobWanted,
    JobsPage, NodeStatus, Served, Since, StatusPage,
};
pub use list::{List, Page};
pub use node::{NodeInfo, NodeLabels, NodePlace, NodeReport, NodesPage, Presence};
pub use openapi::document;
pub use problem::{Code, Problem};
pub use segment::{LeaderWanted, SegmentInfo, SegmentLeader, SegmentTitle};
pub use server::ServerInfo;
pub use token::{TokenGiven, TokenInfo, TokenWanted};
pub use trust::{
    Certified, EnrolRequest, GroupKey, NodeSettings, RenewRequest, ServedSite, SettingsKey,
};
pub use version::{
    GroupPlan, PartPlan, SitePlan, TreeWanted, VersionInfo, VersionKept, VersionsKept,
};
