//! The header of an assignment.

use bellwether_content::assignment::{self, Header, MAGIC, Trust};
use bellwether_kit::document::vector;

/// What is a header is read again from what is written of it. As a whole assignment the bytes are
/// refused or proved, but they never do harm.
pub(crate) fn run(input: &[u8]) {
    if let Ok(header) = Header::decode(input) {
        let encoded = header.encode();
        assert_eq!(
            Header::decode(&encoded).expect("what was written reads"),
            header
        );
    }
    if input.starts_with(&MAGIC)
        && let Ok(opened) = assignment::open(input, &Trust::Anyone, None)
    {
        let _ = opened.data.prove_rest();
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let assignments = ["commit", "stored", "encrypted", "patch"].map(vector);
    let headers = assignments.clone().map(|bytes| {
        let len = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        bytes[8..8 + len as usize].to_vec()
    });
    assignments.into_iter().chain(headers).collect()
}
