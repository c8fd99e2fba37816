//! HTTP over TLS as control servers and nodes serve it: who is let in and by which certificate, how many at once, and which
//! bytes of a file they ask for. What is answered is the business of whoever serves.
#![warn(missing_docs)]

mod connections;
mod face;
mod range;

pub use connections::{Connections, Host, Limits, Note};
pub use face::{FaceError, Visitors, face};
pub use range::Wanted;
