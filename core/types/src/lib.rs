//! The words that every floor shares: hashes, names, paths and sizes, each parsed once into a
//! value that cannot be wrong.
#![warn(missing_docs)]

mod hash;
mod name;
mod path;
mod size;

pub use hash::{Hash, ParseHashError, VersionId};
pub use name::{Name, NameError, Serial, SitePart, Term};
pub use path::{PathError, TreePath};
pub use size::{ByteSize, ParseSizeError};
