//! What can be wrong with a payload.

/// A payload that no encoder made, or not for this base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload ends inside the named part.
    #[error("delta payload ends inside its {0}")]
    Truncated(&'static str),
    /// Bytes are left over after the last part.
    #[error("delta payload goes on for {0} bytes after its end")]
    Trailing(usize),
    /// A number in the named part is longer than its type.
    #[error("a number in the delta's {0} is out of range")]
    Number(&'static str),
    /// The named part says that it is larger than a segment allows.
    #[error("the delta's {part} claims {claimed} bytes, of which {limit} are possible")]
    Size {
        /// Which part.
        part: &'static str,
        /// What it says of itself.
        claimed: u64,
        /// What it could be at most.
        limit: u64,
    },
    /// A step of the reconstruction leaves the base, or the new content.
    #[error("a step of the delta leaves the {0}")]
    Step(&'static str),
    /// The named part is written in a way that this version does not know.
    #[error("the delta's {part} is written in unknown form {form}")]
    Form {
        /// Which part.
        part: &'static str,
        /// The form's id.
        form: u8,
    },
    /// The entropy coder found nonsense in the named part.
    #[error("the delta's {0} does not decompress")]
    Compression(&'static str),
    /// The context-mixing coder found nonsense.
    #[error(transparent)]
    Mixing(#[from] crate::mixing::DecodeError),
}
