use bellwether_store::Bytes;
use bellwether_wire::{ContentKey, Salt, UnsealError};

/// Seals what is secret before it is kept.
///
/// Secrets stand in the log and the database, because every server of a control group needs them and must have them by
/// the same command; but sealed, so that a copy of the database, which operators make and carry about, opens nothing.
/// The key that opens them is a file of its own. Each secret is bound to what it is for, so that none can be put in the
/// place of another.
#[derive(Debug)]
pub(crate) struct Vault(ContentKey);

const SALT_LEN: usize = size_of::<Salt>();

impl Vault {
    pub(crate) const fn new(key: ContentKey) -> Self {
        Self(key)
    }

    /// Seals what is kept for `purpose`.
    pub(crate) fn seal(&self, purpose: &str, secret: &[u8]) -> Bytes {
        let salt: Salt = random();
        let sealed = self.0.sealer(&salt, purpose).seal_all(secret);
        Bytes([&salt[..], &sealed].concat())
    }

    /// Opens what was sealed for `purpose`.
    pub(crate) fn open(&self, purpose: &str, sealed: &Bytes) -> Result<Vec<u8>, UnsealError> {
        let (salt, sealed) = sealed.0.split_at_checked(SALT_LEN).ok_or(UnsealError)?;
        let salt: Salt = salt.try_into().map_err(|_| UnsealError)?;
        self.0.opener(&salt, purpose).open_all(sealed)
    }

    /// Opens the 32 bytes that a key is.
    pub(crate) fn open_key(&self, purpose: &str, sealed: &Bytes) -> Result<[u8; 32], UnsealError> {
        self.open(purpose, sealed)?
            .try_into()
            .map_err(|_| UnsealError)
    }
}

/// What a segment's key is sealed for.
pub(crate) fn segment_key(id: &str) -> String {
    format!("vault segment key {id}")
}

/// What a group's key is sealed for.
pub(crate) fn group_key(group: &str) -> String {
    format!("vault group key {group}")
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness nothing that this server makes would be secret.
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRYPT-06.
    #[test]
    fn a_secret_opens_for_its_purpose_and_with_its_key_only() {
        let vault = Vault::new(ContentKey::from_bytes([1; 32]));
        let sealed = vault.seal("vault a", &[7; 32]);
        assert_eq!(vault.open_key("vault a", &sealed), Ok([7; 32]));
        assert_ne!(
            vault.seal("vault a", &[7; 32]),
            sealed,
            "no two look the same"
        );
        assert_eq!(vault.open("vault b", &sealed), Err(UnsealError));
        let other = Vault::new(ContentKey::from_bytes([2; 32]));
        assert_eq!(other.open("vault a", &sealed), Err(UnsealError));
        for cut in [0, 3, SALT_LEN, sealed.0.len() - 1] {
            let short = Bytes(sealed.0[..cut].to_vec());
            assert_eq!(vault.open("vault a", &short), Err(UnsealError), "{cut}");
        }
    }
}
