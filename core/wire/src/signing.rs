use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use bellwether_types::Hash;

use crate::key_text::{self, ParseKeyError};

/// The bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// An Ed25519 signature.
pub type Signature = [u8; SIGNATURE_LEN];

/// The secret half of a signing key: a control server's, or a node's.
#[derive(Debug)]
pub struct SigningKey {
    seed: Secret,
    pair: Ed25519KeyPair,
}

/// The half that nodes know: whom they trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// Names a public key in a header or an error; says nothing about who may be trusted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

/// Bytes that debug output does not show.
pub(crate) struct Secret(pub(crate) [u8; 32]);

/// What stands before the seed in PKCS #8.
const PKCS8_BEFORE: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// What stands before the key in the public key of a certificate.
const SPKI_BEFORE: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const SECRET_LABEL: &str = "bellwether-signing-key";
const PUBLIC_LABEL: &str = "bellwether-public-key";

impl SigningKey {
    /// The key that grows from 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        Self {
            pair: pair.expect("any 32 bytes are a seed"),
            seed: Secret(seed),
        }
    }

    /// The half to give to nodes.
    pub fn public(&self) -> PublicKey {
        let bytes = self.pair.public_key().as_ref().try_into();
        PublicKey(bytes.expect("a public key has 32 bytes"))
    }

    /// The signature of `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.pair.sign(message);
        signature
            .as_ref()
            .try_into()
            .expect("a signature has 64 bytes")
    }

    /// The line to keep in a file that only its owner may read.
    pub fn to_text(&self) -> String {
        key_text::to_text(SECRET_LABEL, &self.seed.0)
    }

    /// The key as TLS takes it: PKCS #8 in DER (RFC 8410). Only for its owner.
    pub fn to_pkcs8(&self) -> Vec<u8> {
        [PKCS8_BEFORE.as_slice(), &self.seed.0].concat()
    }
}

impl Clone for SigningKey {
    fn clone(&self) -> Self {
        Self::from_seed(self.seed.0)
    }
}

impl FromStr for SigningKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        key_text::from_text(text, SECRET_LABEL, "signing key").map(Self::from_seed)
    }
}

impl PublicKey {
    /// Whether `signature` is this key's for `message`.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, signature)
            .is_ok()
    }

    /// The bytes that travel.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The key of these bytes; if they are none, no signature verifies.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of a certificate (its SubjectPublicKeyInfo in DER, RFC 8410); `None` if it is of another kind.
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        let key = spki.strip_prefix(&SPKI_BEFORE)?;
        Some(Self(key.try_into().ok()?))
    }

    /// What people call this key.
    pub fn id(&self) -> KeyId {
        let hash = Hash::of(&self.0);
        KeyId(
            hash.0[..8]
                .try_into()
                .expect("a hash has more than 8 bytes"),
        )
    }

    /// The line to hand to nodes.
    pub fn to_text(&self) -> String {
        key_text::to_text(PUBLIC_LABEL, &self.0)
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        key_text::from_text(text, PUBLIC_LABEL, "public key").map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_and_message_only() {
        let key = SigningKey::from_seed([7; 32]);
        let signature = key.sign(b"message");
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"massage", &signature));
        assert!(
            !SigningKey::from_seed([8; 32])
                .public()
                .verifies(b"message", &signature)
        );
        for at in 0..SIGNATURE_LEN {
            let mut flipped = signature;
            flipped[at] ^= 1;
            assert!(!key.public().verifies(b"message", &flipped), "{at}");
        }
    }

    #[test]
    fn the_key_of_a_certificate_is_the_one_that_signs() {
        let key = SigningKey::from_seed([7; 32]);
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.to_pkcs8()).unwrap();
        assert_eq!(pair.public_key().as_ref(), key.public().to_bytes());
        let spki = [SPKI_BEFORE.as_slice(), &key.public().to_bytes()].concat();
        assert_eq!(PublicKey::from_spki(&spki), Some(key.public()));
        assert_eq!(PublicKey::from_spki(&spki[..43]), None);
        assert_eq!(PublicKey::from_spki(&spki[1..]), None);
        assert_eq!(PublicKey::from_spki(b""), None);
    }

    #[test]
    fn key_lines_read_back_and_are_not_taken_for_each_other() {
        let key = SigningKey::from_seed([7; 32]);
        let (secret, public) = (key.to_text(), key.public().to_text());
        assert_eq!(secret.parse::<SigningKey>().unwrap().public(), key.public());
        assert_eq!(format!("{public}\n").parse(), Ok(key.public()));
        assert!(secret.parse::<PublicKey>().is_err());
        assert!(public.parse::<SigningKey>().is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = SigningKey::from_seed([0xab; 32]);
        assert!(!format!("{key:?}").contains("abab"));
        let error = "bellwether-signing-key:abab"
            .parse::<SigningKey>()
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("abab"));
    }
}
