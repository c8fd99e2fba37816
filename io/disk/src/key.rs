//! The name of an object: what a file is, apart from where it stands.

use std::fmt;

use bellwether_content::File;

/// A hash over content, mode, owner and time. Two entries with the same key may be one file, so
/// everything that a file system keeps with a file, and not with its name, is in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) [u8; Self::LEN]);

impl Key {
    pub(crate) const LEN: usize = 20;

    pub(crate) fn of(file: &File) -> Self {
        // Every field has a fixed length or ends in a byte it cannot contain. Small inputs are
        // hashed in one block, which costs a tenth of a microsecond.
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&file.hash.0);
        bytes[32..36].copy_from_slice(&file.mode.bits().to_le_bytes());
        bytes[36..44].copy_from_slice(&file.modified.seconds.to_le_bytes());
        bytes[44..48].copy_from_slice(&file.modified.nanoseconds.to_le_bytes());
        let hash = match &file.owner {
            None => blake3::hash(&bytes[..48]),
            Some(owner) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&bytes[..48]).update(owner.user.as_bytes());
                hasher.update(b":").update(owner.group.as_bytes());
                hasher.finalize()
            }
        };
        let mut key = [0; Self::LEN];
        key.copy_from_slice(&hash.as_bytes()[..Self::LEN]);
        Self(key)
    }

    /// Which of the 256 directories the object is in.
    pub(crate) fn shard(&self) -> u8 {
        self.0[0]
    }

    /// The object's file name in that directory.
    pub(crate) fn name(&self) -> [u8; 2 * (Self::LEN - 1)] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut name = [0; 2 * (Self::LEN - 1)];
        for (digits, byte) in name.chunks_exact_mut(2).zip(&self.0[1..]) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        name
    }

    /// The key of the object called `name` in directory `shard`, if any object is called so.
    pub(crate) fn parse(shard: u8, name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        if name.len() != 2 * (Self::LEN - 1) {
            return None;
        }
        let mut key = Self([shard; Self::LEN]);
        for (index, byte) in key.0[1..].iter_mut().enumerate() {
            *byte = u8::from_str_radix(name.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        (key.name() == name.as_bytes()).then_some(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}/", self.shard())?;
        self.0[1..]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bellwether_content::{Mode, Owner, Timestamp};
    use bellwether_types::Hash;

    use super::*;

    fn file() -> File {
        File {
            mode: Mode::new(0o644).unwrap(),
            owner: None,
            size: 1,
            hash: Hash::of(b"x"),
            modified: Timestamp::default(),
        }
    }

    #[test]
    fn whatever_a_file_system_keeps_with_a_file_makes_another_key() {
        let owner = |user: &str, group: &str| {
            Some(Arc::new(Owner {
                user: user.into(),
                group: group.into(),
            }))
        };
        let mut others = vec![file(); 6];
        others[1].mode = Mode::new(0o755).unwrap();
        others[2].hash = Hash::of(b"y");
        others[3].modified = Timestamp::new(0, 1).unwrap();
        others[4].owner = owner("a", "bc");
        others[5].owner = owner("ab", "c");
        let mut keys: Vec<Key> = others.iter().map(Key::of).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), others.len());
    }

    #[test]
    fn names_read_back_and_others_are_not_objects() {
        let key = Key::of(&file());
        assert_eq!(Key::parse(key.shard(), &key.name()), Some(key));
        assert_eq!(Key::parse(0, b"new.1"), None);
        assert_eq!(Key::parse(0, &[b'+'; 38]), None);
    }
}
