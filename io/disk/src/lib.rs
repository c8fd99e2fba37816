//! A site on disk: releases, the switch between them, and what puts things right after
//! a crash.
//!
//! ```text
//! ROOT/SITE/live -> releases/VERSION     what is served; one rename switches it
//! ROOT/SITE/releases/VERSION/...         trees, sharing files with each other
//! ROOT/SITE/.bellwether/
//!     manifests/VERSION                  the canonical encoding
//!     state.0, state.1                   what is held, staged and decided, written by turns
//!     fingerprints                       which inodes we know to be intact; a cache
//!     spool/                             assignments that wait for the rest of their set
//!     lock                               one writer at a time
//! ```
//!
//! What a control server keeps of all sites is a [`Depot`].
//!
//! One rule carries all recovery: **the state is the truth, and it changes atomically.**
//! A release is held when the state names it; everything else is swept. A switch is decided when
//! the state holds the intent; from then on it is finished, whatever happens. The road not taken
//! is a log of steps to undo and redo: with one small file there is nothing to replay.
#![warn(missing_docs)]

mod collect;
pub mod depot;
pub mod disk;
mod error;
mod fingerprint;
mod hook;
mod index;
mod layout;
mod mend;
mod neighbour;
mod parallel;
pub mod publish;
mod recovery;
mod removal;
pub mod scan;
mod session;
mod site;
mod spool;
pub mod stage;
mod staging;
mod state;
mod store;
mod switch;
mod tree;
mod verify;
mod writer;

pub use collect::{Collected, Retention};
pub use depot::Depot;
pub use disk::{Disk, Ids, MemoryDisk, RealDisk, Stopping};
pub use error::{ErrorKind, Fault, SiteError};
pub use hook::{Hook, HookOutcome, HookRun, Hooks};
pub use mend::{Checked, Damage, Mended};
pub use neighbour::{AssembleError, Fetch, Inventory, Object};
pub use recovery::Recovery;
pub use removal::Aborted;
pub use site::{Options, OwnerLookup, Site, Status};
pub use spool::{Spool, SpoolError, SpooledFile};
pub use staging::{BaseFile, StageRequest, Staging};
pub use state::{Mandate, Release, Switch};
pub use switch::{Decided, Switched};
pub use verify::{Difference, DifferenceKind};
pub use writer::{NewFile, Writer};
