//! MCTP: one copy of the bytes on the wire for a whole segment, whatever is lost. `docs/mctp.md` has the protocol.
#![warn(missing_docs)]

mod erasure;
mod geometry;

pub use erasure::{CodeError, ErasureCode, ReedSolomon};
pub use geometry::{Geometry, GeometryError, Part, Place, Shape};
