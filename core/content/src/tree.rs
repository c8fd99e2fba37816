//! A tree while commands are applied to it. Planner, checker and interpreter share it, so that
//! what was planned is what nodes do.

use std::collections::BTreeMap;

use bellwether_types::{Hash, TreePath};

use crate::command::{Command, WriteFile};
use crate::manifest::{Entry, File, Manifest, ManifestError};

/// The working tree.
#[derive(Debug)]
pub struct Tree<'a> {
    base: &'a Manifest,
    /// The base's paths by index, and where each entry stands now.
    places: Vec<Place<'a>>,
    nodes: BTreeMap<TreePath, Node>,
    written: Vec<WriteFile>,
}

#[derive(Debug)]
struct Place<'a> {
    base: &'a TreePath,
    now: Option<TreePath>,
}

#[derive(Debug, Clone)]
struct Node {
    entry: Entry,
    /// Which entry of the base this is.
    origin: Option<usize>,
    /// Which `WriteFile` brings the content.
    written: Option<usize>,
}

/// Why a command cannot be applied; the tree is as it was before the command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Nothing stands at the path.
    #[error("{0} is not there")]
    Missing(TreePath),
    /// Something of another kind stands at the path.
    #[error("{path} is a {kind}")]
    Kind {
        /// The path.
        path: TreePath,
        /// What stands there.
        kind: &'static str,
    },
    /// The path is taken.
    #[error("{0} is there already")]
    Taken(TreePath),
    /// The path's parent is not a directory.
    #[error("{0}: its parent is not a directory")]
    Parent(TreePath),
    /// A directory would be moved into itself.
    #[error("{0} cannot be moved into itself")]
    Cycle(TreePath),
    /// The name would become too long.
    #[error("a path beneath {0} would become too long")]
    TooLong(TreePath),
    /// The base has no such file.
    #[error("the base has no file {0}")]
    NotInBase(TreePath),
    /// What commands left is not a tree.
    #[error(transparent)]
    Tree(#[from] ManifestError),
    /// More or fewer contents than the commands announced.
    #[error("{expected} files were to be written, {actual} were")]
    Contents {
        /// `WriteFile` commands.
        expected: usize,
        /// Contents.
        actual: usize,
    },
}

impl<'a> Tree<'a> {
    /// The tree of `base`.
    pub fn new(base: &'a Manifest) -> Self {
        let nodes = base.iter().enumerate().map(|(origin, (path, entry))| {
            let node = Node {
                entry: entry.clone(),
                origin: Some(origin),
                written: None,
            };
            (path.clone(), node)
        });
        let places = base.iter().map(|(path, _)| Place {
            base: path,
            now: Some(path.clone()),
        });
        Self {
            base,
            places: places.collect(),
            nodes: nodes.collect(),
            written: Vec::new(),
        }
    }

    /// The base tree.
    pub fn base(&self) -> &'a Manifest {
        self.base
    }

    /// What stands at `path` now. The hash of a written file is not known yet.
    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.nodes.get(path).map(|node| &node.entry)
    }

    /// All entries as they stand now.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Entry)> {
        self.nodes.iter().map(|(path, node)| (path, &node.entry))
    }

    /// The place among the base's entries of what stands at `path`, if it came from the base.
    pub fn base_index(&self, path: &TreePath) -> Option<usize> {
        self.nodes.get(path)?.origin
    }

    /// Where the base's entry `index` stands now.
    pub fn place_of(&self, index: usize) -> Option<&TreePath> {
        self.places.get(index)?.now.as_ref()
    }

    /// What the base calls its entry `index`.
    pub fn base_path(&self, index: usize) -> Option<&'a TreePath> {
        self.places.get(index).map(|place| place.base)
    }

    /// The index of the base's entry `path`.
    pub fn index_in_base(&self, path: &TreePath) -> Option<usize> {
        self.base.index_of(path)
    }

    /// The files that the data file brings, in its order.
    pub fn written(&self) -> &[WriteFile] {
        &self.written
    }

    /// Where each of these stands now: its number among all entries, its path and its attributes.
    /// `None` for one that a later command removed or replaced.
    pub fn written_places(&self) -> Vec<Option<(usize, &TreePath, &File)>> {
        let mut places = vec![None; self.written.len()];
        for (number, (path, node)) in self.nodes.iter().enumerate() {
            if let (Some(written), Entry::File(file)) = (node.written, &node.entry) {
                places[written] = Some((number, path, file));
            }
        }
        places
    }

    /// Applies one command, wholly or not at all.
    pub fn apply(&mut self, command: &Command) -> Result<(), ApplyError> {
        match command {
            Command::CreateDirectory { path, mode, owner } => {
                self.must_be_free(path)?;
                let (mode, owner) = (*mode, owner.clone());
                self.put(path, Entry::Directory { mode, owner }, None)
            }
            Command::RemoveFile { path } => match self.entry(path)? {
                Entry::Directory { .. } => Err(self.wrong_kind(path)),
                _ => {
                    self.take(path);
                    Ok(())
                }
            },
            Command::RemoveDirectory { path } => match self.entry(path)? {
                Entry::Directory { .. } => {
                    for path in self.beneath(path) {
                        self.take(&path);
                    }
                    Ok(())
                }
                _ => Err(self.wrong_kind(path)),
            },
            Command::Move { from, to } => self.rename(from, to),
            Command::Copy { from, to } => match self.base.get(from) {
                Some(entry @ Entry::File(_)) => {
                    self.must_not_be_directory(to)?;
                    self.put(to, entry.clone(), None)
                }
                _ => Err(ApplyError::NotInBase(from.clone())),
            },
            Command::Symlink {
                path,
                target,
                owner,
            } => {
                self.must_not_be_directory(path)?;
                let (target, owner) = (target.clone(), owner.clone());
                self.put(path, Entry::Symlink { target, owner }, None)
            }
            Command::SetAttributes { .. } => self.set_attributes(command),
            Command::WriteFile(write) => self.write(write),
        }
    }

    fn write(&mut self, write: &WriteFile) -> Result<(), ApplyError> {
        self.must_not_be_directory(&write.path)?;
        if let Some(base) = &write.base
            && !matches!(self.base.get(base), Some(Entry::File(_)))
        {
            return Err(ApplyError::NotInBase(base.clone()));
        }
        let entry = Entry::File(File {
            mode: write.mode,
            owner: write.owner.clone(),
            size: write.size,
            hash: Hash([0; 32]),
            modified: write.modified,
        });
        self.put(&write.path, entry, Some(self.written.len()))?;
        self.written.push(write.clone());
        Ok(())
    }

    fn set_attributes(&mut self, command: &Command) -> Result<(), ApplyError> {
        let Command::SetAttributes {
            path,
            mode,
            owner,
            modified,
        } = command
        else {
            return Ok(());
        };
        let node = self.nodes.get_mut(path);
        let node = node.ok_or_else(|| ApplyError::Missing(path.clone()))?;
        match &mut node.entry {
            Entry::Directory { mode: m, owner: o } => (*m, *o) = (*mode, owner.clone()),
            Entry::Symlink { owner: o, .. } => *o = owner.clone(),
            Entry::File(file) => {
                (file.mode, file.owner) = (*mode, owner.clone());
                file.modified = modified.unwrap_or(file.modified);
            }
        }
        Ok(())
    }

    fn rename(&mut self, from: &TreePath, to: &TreePath) -> Result<(), ApplyError> {
        self.entry(from)?;
        self.must_be_free(to)?;
        if to.is_within(from) {
            return Err(ApplyError::Cycle(from.clone()));
        }
        self.must_have_parent(to)?;
        let moved = self.beneath(from);
        let names: Result<Vec<_>, _> = moved.iter().map(|path| path.rebased(from, to)).collect();
        let names = names.map_err(|_| ApplyError::TooLong(to.clone()))?;
        for (old, new) in moved.iter().zip(names) {
            if let Some(node) = self.take(old) {
                if let Some(origin) = node.origin {
                    self.places[origin].now = Some(new.clone());
                }
                self.nodes.insert(new, node);
            }
        }
        Ok(())
    }

    /// The tree that the commands made, once the written contents are known: size and hash of
    /// each, in the order of [`Self::written`].
    pub fn finish(self, contents: &[(u64, Hash)]) -> Result<Manifest, ApplyError> {
        if contents.len() != self.written.len() {
            return Err(ApplyError::Contents {
                expected: self.written.len(),
                actual: contents.len(),
            });
        }
        let entries = self.nodes.into_iter().map(|(path, node)| {
            let mut entry = node.entry;
            if let (Entry::File(file), Some(index)) = (&mut entry, node.written) {
                (file.size, file.hash) = contents[index];
            }
            (path, entry)
        });
        Ok(Manifest::from_entries(entries)?)
    }

    fn entry(&self, path: &TreePath) -> Result<&Entry, ApplyError> {
        self.get(path)
            .ok_or_else(|| ApplyError::Missing(path.clone()))
    }

    fn wrong_kind(&self, path: &TreePath) -> ApplyError {
        ApplyError::Kind {
            path: path.clone(),
            kind: self.get(path).map_or("missing", Entry::kind),
        }
    }

    fn must_be_free(&self, path: &TreePath) -> Result<(), ApplyError> {
        match self.get(path) {
            None => Ok(()),
            Some(_) => Err(ApplyError::Taken(path.clone())),
        }
    }

    fn must_not_be_directory(&self, path: &TreePath) -> Result<(), ApplyError> {
        match self.get(path) {
            Some(Entry::Directory { .. }) => Err(self.wrong_kind(path)),
            _ => Ok(()),
        }
    }

    fn must_have_parent(&self, path: &TreePath) -> Result<(), ApplyError> {
        match path.parent() {
            Some(parent) if !matches!(self.get(&parent), Some(Entry::Directory { .. })) => {
                Err(ApplyError::Parent(path.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Puts an entry in place of what stands at `path`, which keeps its place in the base.
    fn put(
        &mut self,
        path: &TreePath,
        entry: Entry,
        written: Option<usize>,
    ) -> Result<(), ApplyError> {
        self.must_have_parent(path)?;
        let origin = self.base_index(path);
        let node = Node {
            entry,
            origin,
            written,
        };
        self.nodes.insert(path.clone(), node);
        Ok(())
    }

    fn take(&mut self, path: &TreePath) -> Option<Node> {
        let node = self.nodes.remove(path)?;
        if let Some(origin) = node.origin {
            self.places[origin].now = None;
        }
        Some(node)
    }

    fn beneath(&self, path: &TreePath) -> Vec<TreePath> {
        let from = self.nodes.range(path.clone()..);
        from.map(|(path, _)| path)
            .take_while(|entry| entry.is_within(path))
            .cloned()
            .collect()
    }
}
