//! Data frames: what content travels in inside a segment (`docs/mctp.md`).
//!
//! A frame is a fixed header, one symbol of an assignment, and a tag that proves both. The key is drawn for one session
//! of one sender; the nonce is the frame's sequence number, which a sender never repeats in a session. Unless the
//! session encrypts, the symbol is proved and stays in clear: content has an encryption of its own.
//!
//! Reading copies nothing: the header is read where it stands, and the symbol is a slice of what came.

mod header;
mod seal;

pub use header::{FrameHeader, SessionId};
pub use seal::{FRAME_OVERHEAD, FrameError, FrameKey, FrameSource};
