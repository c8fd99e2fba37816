//! Who belongs to a segment, and what all of them know.
//!
//! What all know is one ordered table of keyed entries, [`SegmentState`], which only the leader changes, one
//! report at a time. Pages of it serve reports, answers to whoever missed something, and merges alike.
//!
//! - **Members** (`member`) register until a report shows them with the number they drew at their start,
//!   which also proves that the leader is no recording; then they show themselves once in a while.
//! - **The leader** (`leader`, `registrar`, `liveness`) collects registrations, reports after a quiet
//!   interval, asks who is silent, removes who does not answer, and tells the control server.
//! - **The next leader** goes on from the state that it holds, and so do all who hold the same: nobody
//!   registers. Whoever is behind asks; whoever holds a state that the leader's does not come from says so.
//! - **Lines** that parted meet again in an exchange (`orderer`, `participant`, `merge`): each subgroup's
//!   data goes to all, once in effect, and is in force everywhere or nowhere.
//!
//! Who leads is none of its business: it is told. Neither are sockets, keys and replays: what comes in is
//! authentic and fresh, as far as this node could tell since its start.
//!
//! Roads not taken: gossip, which needs many rounds where one multicast will do; a log of changes,
//! since entries that know when they last changed can tell anybody what is new; leases by wall clock.
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
mod settings;
mod state;

pub use exchange::{Exchange, Stage};
pub use input::{Identity, Input, Measured, Order};
pub use membership::{Membership, State, Timer};
pub use output::{Event, Output, Refusal, To};
pub use settings::{Settings, Spans};
pub use state::SegmentState;

/// What the leader tells the control server.
pub use bellwether_wire::uplink::{
    ChangeKind, ClusterReport, MemberChange, Report, ReportNumber, SegmentReport,
};
