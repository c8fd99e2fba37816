//! Tokens as their bearers have them: `bwt_` with the id and 192 random bits, so that no list of hashes tells them.

use std::fmt::Write as _;

use bellwether_types::{Hash, Name};

use crate::vault::random;

const LABEL: &str = "bwt";

/// A token, its id, and its hash.
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) id: Name,
    pub(crate) hash: Hash,
}

pub(crate) fn make() -> Made {
    let id = hex(&random::<6>());
    let text = format!("{LABEL}_{id}_{}", hex(&random::<24>()));
    Made {
        hash: hash(&text),
        id: id.parse().expect("digits are a name"),
        text,
    }
}

/// The hash of a token that was made before.
pub(crate) fn remake(text: &str) -> Option<Made> {
    let (id, secret) = text
        .strip_prefix(LABEL)?
        .strip_prefix('_')?
        .split_once('_')?;
    let whole = secret.len() == 48;
    Some(Made {
        id: id.parse().ok().filter(|_| whole)?,
        hash: hash(text),
        text: text.to_owned(),
    })
}

pub(crate) fn hash(text: &str) -> Hash {
    Hash::of(text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_again_by_its_hash() {
        let (one, two) = (make(), make());
        assert_ne!(one.hash, two.hash);
        let again = remake(&one.text).unwrap();
        assert_eq!((again.id, again.hash), (one.id, one.hash));
        for text in ["", "bwt_", "bwt_a_b", "other_a_b"] {
            assert!(remake(text).is_none(), "{text}");
        }
    }
}
