//! Who leads a segment.
//!
//! Every node listens for the leader's heartbeat, LeaderAlive. When it fails to come, candidates bid for the office
//! with LeaderClaim, the stronger the sooner, and the strongest bid that stays uncontested for the time of a vote
//! leads. Five states and the table of rows E1 to E20 that `docs/election.md` shows; the code names the rows.
//!
//! The table alone is an availability protocol with well-known holes. What closes them:
//! - **Epochs.** Each reign has a number above all that its claimant had seen, kept on disk before it is said. A node
//!   obeys the highest it confirmed and never a lower one again, so whoever was away finds itself deposed.
//! - **Rank slots.** Who is stronger claims earlier by a slot for each rank, more than a datagram needs, so that the
//!   first claim silences the rest: an election costs two or three datagrams, however many candidates there are.
//! - **Questions.** Before it claims, a node asks the leader itself, and then its strongest neighbours, several times.
//!   Lost multicasts depose nobody, and who hears nobody learns that it is itself that is deaf, and abstains.
//! - **A total order** of candidates: priority, then name, then id. There is always a strongest.
//!
//! Roads not taken: a majority. A segment must serve its content with whoever is left, and what needs a majority is
//! decided by the control group; two leaders of one segment cost bandwidth, not correctness.
#![warn(missing_docs)]

mod candidate;
mod election;
mod event;
mod priority;
mod ranking;
mod settings;
mod state;

pub use candidate::{Candidate, CandidateRef};
pub use election::Election;
pub use event::{Abstention, Event, Input, Memory, Output, To};
pub use priority::{Explanation, Measures, Parameter, Part, Weights};
pub use ranking::Ranking;
pub use settings::{Candidacy, Contest, Preemption, Profile, Settings};
pub use state::{Favourite, Leader, Phase, State, Timer};
