//! What proves the bytes before the data file, and through them the rest.

use bellwether_types::Hash;
use bellwether_wire::{PublicKey, SIGNATURE_LEN, SigningKey};

/// Whose assignments are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the control group; several while its key is being changed.
    Keys(Vec<PublicKey>),
    /// Anybody's; a signature that is there must still hold.
    Anyone,
}

/// What header, block hashes and trailer say, as it is signed.
pub(super) fn message(header: &[u8], blocks: &[u8], trailer: &Hash) -> Vec<u8> {
    let len = (header.len() as u32).to_le_bytes();
    [
        b"bellwether assignment 1\0".as_slice(),
        &len,
        header,
        blocks,
        &trailer.0,
    ]
    .concat()
}

pub(super) fn seal(message: &[u8], key: Option<&SigningKey>) -> Vec<u8> {
    match key {
        Some(key) => key.sign(message).to_vec(),
        None => Hash::of(message).0.to_vec(),
    }
}

pub(super) fn seal_len(signer: Option<PublicKey>) -> usize {
    if signer.is_some() { SIGNATURE_LEN } else { 32 }
}

pub(super) fn holds(message: &[u8], signer: Option<PublicKey>, seal: &[u8]) -> bool {
    match signer {
        Some(key) => seal
            .try_into()
            .is_ok_and(|signature| key.verifies(message, &signature)),
        None => seal == Hash::of(message).0,
    }
}
