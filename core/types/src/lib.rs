//! The words that every floor shares: hashes, names, paths, sizes, nodes and moments, each parsed
//! once into a value that cannot be wrong.
#![warn(missing_docs)]

mod hash;
mod name;
mod node;
mod path;
mod size;
pub mod text;
mod time;
mod timing;

pub use hash::{Hash, ParseHashError, VersionId};
pub use name::{Name, NameError, Serial, SitePart, Term};
pub use node::{Epoch, Incarnation, NodeId, ParseNodeIdError};
pub use path::{PathError, TreePath};
pub use size::{ByteSize, ParseSizeError};
pub use time::Time;
pub use timing::{Classic, Fast, PRIORITY_MAX, Timing, TimingError};
