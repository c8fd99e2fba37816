//! The model checker's view of the protocols: small groups, and every order in which things can happen to them.
//!
//! Where the simulator draws some runs of large groups, a checker goes through all runs of small ones. Time is what it
//! leaves out: any deadline may pass at any moment, in any order, so what holds here holds for all timings, all clocks
//! and all delays. What is multicast stays in the network for ever and may be received at any time, by any of those it was
//! for, any number of times, or never: that is loss, delay, reordering, duplication and every partition at once. What
//! is sent to one node is received once, whenever that is, or never.
//!
//! Stateright's own actors were not taken: their timers and storage are theirs, and the same types as in the product
//! are to be checked, driven as they are driven there.
#![warn(missing_docs)]

mod election;

pub use election::{Action, Bounds, ElectionModel, Group, Life, Peer, Sent};
