//! A tree as a value: every path with what stands there. Its canonical encoding is hashed to the
//! version id, so that the same content is the same version on every machine.
//!
//! A manifest is valid by construction: every parent is a directory of the manifest, no mode has
//! unknown bits and no symbolic link leads out of the tree.

mod encoding;
mod entry;

use std::collections::BTreeMap;

use bellwether_types::{Hash, TreePath, VersionId};

pub use encoding::DecodeManifestError;
pub use entry::{Entry, EntryError, File, Mode, Owner, Timestamp};

/// Every entry of a tree, in the order of [`TreePath`]. The root itself is not an entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// Sorted by path.
    entries: Vec<(TreePath, Entry)>,
}

/// Why an entry cannot be part of a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The path's parent is missing, or is not a directory.
    #[error("{path}: its parent is not a directory of the tree")]
    ParentNotDirectory {
        /// The entry.
        path: TreePath,
    },
    /// The path is there already.
    #[error("{path}: appears twice")]
    Duplicate {
        /// The entry.
        path: TreePath,
    },
    /// The entry itself is not acceptable.
    #[error("{path}: {fault}")]
    Entry {
        /// The entry.
        path: TreePath,
        /// What is wrong.
        fault: EntryError,
    },
}

impl Manifest {
    /// A tree with nothing in it: the base of a first publish.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Checks and collects entries, given in any order.
    pub fn from_entries(
        entries: impl IntoIterator<Item = (TreePath, Entry)>,
    ) -> Result<Self, ManifestError> {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let path = pair[0].0.clone();
            return Err(ManifestError::Duplicate { path });
        }
        let manifest = Self { entries };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        // Siblings follow each other, so the last parent that was found usually serves again.
        let mut known_directory: Option<&TreePath> = None;
        for (path, entry) in &self.entries {
            if let Some(parent) = path.parent()
                && known_directory != Some(&parent)
            {
                match self.index_of(&parent).map(|index| &self.entries[index]) {
                    Some((parent, Entry::Directory { .. })) => known_directory = Some(parent),
                    _ => return Err(ManifestError::ParentNotDirectory { path: path.clone() }),
                }
            }
            entry.check(path).map_err(|fault| ManifestError::Entry {
                path: path.clone(),
                fault,
            })?;
        }
        Ok(())
    }

    /// What stands at `path`.
    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.index_of(path).map(|index| &self.entries[index].1)
    }

    /// The place of `path` among the entries, from 0.
    pub fn index_of(&self, path: &TreePath) -> Option<usize> {
        self.entries
            .binary_search_by(|(entry, _)| entry.cmp(path))
            .ok()
    }

    /// The entry at a place.
    pub fn entry_at(&self, index: usize) -> Option<(&TreePath, &Entry)> {
        self.entries.get(index).map(|(path, entry)| (path, entry))
    }

    /// Whether anything stands at `path`.
    pub fn contains(&self, path: &TreePath) -> bool {
        self.index_of(path).is_some()
    }

    /// All entries, directories just before what they hold.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&TreePath, &Entry)> + Clone {
        self.entries.iter().map(|(path, entry)| (path, entry))
    }

    /// The entries at and beneath `path`.
    pub fn within<'a>(
        &'a self,
        path: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, &'a Entry)> {
        let start = self.entries.partition_point(|(entry, _)| entry < path);
        let from = self.entries[start..]
            .iter()
            .map(|(path, entry)| (path, entry));
        from.take_while(move |(entry, _)| entry.is_within(path))
    }

    /// The regular files.
    pub fn files(&self) -> impl DoubleEndedIterator<Item = (&TreePath, &File)> + Clone {
        self.iter().filter_map(|(path, entry)| match entry {
            Entry::File(file) => Some((path, file)),
            _ => None,
        })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the tree is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all files together.
    pub fn content_len(&self) -> u64 {
        self.files().map(|(_, file)| file.size).sum()
    }

    /// The hash of the canonical encoding.
    pub fn version(&self) -> VersionId {
        VersionId(Hash::of(&self.encode()))
    }

    /// The same tree with the times at which `base` has its content already (design: a content's
    /// time is when it was first seen; a changed time alone is no change). A file keeps the time
    /// of its own path if the content there is the same, else that of any file with its content.
    /// Empty files have no content that could have been seen.
    pub fn with_first_seen(mut self, base: &Self) -> Self {
        let mut first_seen: BTreeMap<Hash, Timestamp> = BTreeMap::new();
        for (_, file) in base.files().filter(|(_, file)| file.size > 0) {
            let earliest = first_seen.entry(file.hash).or_insert(file.modified);
            *earliest = file.modified.min(*earliest);
        }
        for (path, entry) in &mut self.entries {
            let Entry::File(file) = entry else { continue };
            match base.get(path) {
                Some(Entry::File(before)) if before.hash == file.hash => {
                    file.modified = before.modified;
                }
                _ => file.modified = *first_seen.get(&file.hash).unwrap_or(&file.modified),
            }
        }
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    pub(crate) fn directory() -> Entry {
        Entry::Directory {
            mode: Mode::new(0o755).unwrap(),
            owner: None,
        }
    }

    pub(crate) fn file(content: &[u8]) -> Entry {
        Entry::File(File {
            mode: Mode::new(0o644).unwrap(),
            owner: None,
            size: content.len() as u64,
            hash: Hash::of(content),
            modified: Timestamp::new(1_700_000_000, 0).unwrap(),
        })
    }

    pub(crate) fn symlink(target: &str) -> Entry {
        Entry::Symlink {
            target: target.as_bytes().into(),
            owner: None,
        }
    }

    #[test]
    fn every_parent_is_a_directory_of_the_tree() {
        for entries in [
            vec![("a/b", file(b""))],
            vec![("a", file(b"")), ("a/b", file(b""))],
            vec![("a", symlink("b")), ("a/b", file(b"")), ("b", directory())],
        ] {
            let entries = entries.into_iter().map(|(p, entry)| (path(p), entry));
            assert!(matches!(
                Manifest::from_entries(entries),
                Err(ManifestError::ParentNotDirectory { .. })
            ));
        }
    }

    /// ASSIGN-16.
    #[test]
    fn links_that_leave_the_root_are_refused() {
        let tree = |link: &str, target: &str| {
            Manifest::from_entries([
                (path("a"), directory()),
                (path("a/b"), directory()),
                (path(link), symlink(target)),
            ])
        };
        for (link, target) in [
            ("l", "/etc/passwd"),
            ("l", ".."),
            ("l", "../x"),
            ("a/b/l", "../../../x"),
            // Through another link this could climb out, whatever it looks like here.
            ("l", "a/../.."),
            ("l", "a/b/../c"),
            ("l", ""),
            ("l", "a\0b"),
        ] {
            assert!(
                matches!(tree(link, target), Err(ManifestError::Entry { .. })),
                "{link} -> {target}"
            );
        }
        for (link, target) in [
            ("l", "a/b"),
            ("a/b/l", "../../x"),
            ("a/l", "./b"),
            ("l", "."),
        ] {
            tree(link, target).unwrap();
        }
    }
}
