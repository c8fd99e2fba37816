//! What travels: the messages of a segment and the datagrams they travel in (`control`); the frames in which content
//! travels (`frame`); what a leader and the control server tell each other (`uplink`); keys as values: who made an assignment (Ed25519), and who may read it (AES-256-GCM).
//!
//! Randomness comes in from outside: a key is made from 32 random bytes, a sealed stream and a sender of datagrams from
//! a random salt. Secrets never appear in debug output.
#![warn(missing_docs)]

pub mod control;
pub mod frame;
mod key_text;
mod sealing;
mod signing;
pub mod transfer;
pub mod uplink;

pub use key_text::ParseKeyError;
pub use sealing::{ContentKey, Opener, SEALED_CHUNK_LEN, Salt, Sealer, UnsealError, sealed_len};
pub use signing::{KeyId, PublicKey, SIGNATURE_LEN, Signature, SigningKey};
