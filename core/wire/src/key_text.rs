//! Keys as one line of text, labelled so that one kind cannot be taken for another.

use std::fmt::Write;

/// Text that is not a key of the kind that is needed. The text itself is not repeated: it may be
/// a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {expected}: a line `{label}:` with 64 hexadecimal digits is expected")]
pub struct ParseKeyError {
    expected: &'static str,
    label: &'static str,
}

pub(crate) fn to_text(label: &str, bytes: &[u8; 32]) -> String {
    let mut text = format!("{label}:");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(crate) fn from_text(
    text: &str,
    label: &'static str,
    expected: &'static str,
) -> Result<[u8; 32], ParseKeyError> {
    let error = ParseKeyError { expected, label };
    let digits = text
        .trim()
        .strip_prefix(label)
        .and_then(|rest| rest.strip_prefix(':'));
    match digits.map(str::parse::<bellwether_types::Hash>) {
        Some(Ok(bytes)) => Ok(bytes.0),
        _ => Err(error),
    }
}
