//! Building and removing trees.
//!
//! A tree is built from a manifest in three passes: all directories, parents first, on one
//! thread; then files and links on all threads, in the order of their directories; then the
//! permissions of directories, which might forbid what the second pass does. Removing goes the
//! other way. No pass holds more than a few directories open, however deep the tree.

use bellwether_content::{Entry, Manifest};
use bellwether_types::TreePath;

use crate::disk::{Disk, Errno, Kind};
use crate::error::{During, Fault, SiteError};
use crate::key::Key;
use crate::parallel;
use crate::store::{Object, Store};

/// A tree that is built beside what it is made from.
pub(crate) struct Building<'a, 's, D: Disk> {
    pub(crate) disk: &'s D,
    pub(crate) store: &'a Store<'s, D>,
    pub(crate) threads: usize,
    /// An empty directory of ours.
    pub(crate) root: &'a D::Dir,
    /// A tree to link unchanged files from, and what it should hold.
    pub(crate) base: Option<(&'a D::Dir, &'a Manifest)>,
}

/// Something to make that is not a directory.
struct Leaf<'m> {
    directory: usize,
    path: &'m TreePath,
    entry: &'m Entry,
    in_base: bool,
}

/// How many files a thread takes at a time.
const BATCH: usize = 256;

/// The root of a release.
const ROOT_MODE: u32 = 0o755;

impl<D: Disk> Building<'_, '_, D> {
    /// Builds `target`, and returns the sorted keys of the objects it took from the store.
    pub(crate) fn build(&self, target: &Manifest) -> Result<Vec<Key>, SiteError> {
        let (directories, leaves) = self.survey(target);
        self.make_directories(&directories)?;
        let batches: Vec<&[Leaf<'_>]> = leaves.chunks(BATCH).collect();
        parallel::for_each(self.threads, batches.len(), |batch| {
            self.make_leaves(&directories, batches[batch])
        })?;
        self.finish_directories(&directories)?;
        let mut keys: Vec<Key> = leaves
            .iter()
            .filter(|leaf| !leaf.in_base)
            .filter_map(|leaf| match leaf.entry {
                Entry::File(file) => Some(Key::of(file)),
                _ => None,
            })
            .collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// The directories, parents first, and the rest by directory. Directory 0 is the root.
    fn survey<'m>(&self, target: &'m Manifest) -> (Vec<Directory<'m>>, Vec<Leaf<'m>>) {
        let mut directories = vec![Directory::default()];
        let mut leaves = Vec::with_capacity(target.len());
        // Both are in the same order, so one pass over the base finds all unchanged entries.
        let mut base = self.base.map(|(_, manifest)| manifest.iter().peekable());
        let mut parent = 0;
        for (path, entry) in target.iter() {
            while directories[parent]
                .path
                .is_some_and(|above| !path.is_within(above))
            {
                parent = directories[parent].parent;
            }
            if let Entry::Directory { .. } = entry {
                directories.push(Directory {
                    parent,
                    path: Some(path),
                    entry: Some(entry),
                });
                parent = directories.len() - 1;
                continue;
            }
            let in_base = base.as_mut().is_some_and(|base| {
                while base.next_if(|(other, _)| *other < path).is_some() {}
                base.next_if(|(other, _)| *other == path)
                    .is_some_and(|(_, other)| other == entry)
            });
            leaves.push(Leaf {
                directory: parent,
                path,
                entry,
                in_base,
            });
        }
        // What a directory holds directly is not contiguous in a manifest.
        leaves.sort_by_key(|leaf| leaf.directory);
        (directories, leaves)
    }

    fn make_directories(&self, directories: &[Directory<'_>]) -> Result<(), SiteError> {
        let mut above: Option<(usize, D::Dir)> = None;
        for Directory { parent, path, .. } in directories {
            let Some(path) = path else { continue };
            let at = match above.take().filter(|(index, _)| index == parent) {
                Some((_, at)) => at,
                None => self.open(self.root, &directories[*parent])?,
            };
            // Ours alone until its files are there; its own permissions come last.
            match self.disk.create_dir(&at, path.file_name(), 0o700) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(self.store.collision(path, &at)),
                Err(errno) => return Err(errno).during("create", path).map_err(Into::into),
            }
            above = Some((*parent, at));
        }
        Ok(())
    }

    fn make_leaves(
        &self,
        directories: &[Directory<'_>],
        leaves: &[Leaf<'_>],
    ) -> Result<(), SiteError> {
        for siblings in leaves.chunk_by(|a, b| a.directory == b.directory) {
            let directory = &directories[siblings[0].directory];
            let at = self.open(self.root, directory)?;
            let base = match self.base {
                Some((root, _)) if siblings.iter().any(|leaf| leaf.in_base) => {
                    // Somebody may have removed it; then the store serves.
                    self.open(root, directory).ok()
                }
                _ => None,
            };
            for leaf in siblings {
                self.make_leaf(leaf, &at, base.as_ref().filter(|_| leaf.in_base))?;
            }
        }
        Ok(())
    }

    fn make_leaf(
        &self,
        leaf: &Leaf<'_>,
        at: &D::Dir,
        base: Option<&D::Dir>,
    ) -> Result<(), SiteError> {
        let Leaf { path, entry, .. } = leaf;
        match entry {
            Entry::File(file) => self.store.place(Object::new(path, file), base, at),
            Entry::Symlink { target, owner } => {
                match self.disk.symlink(target, at, path.file_name()) {
                    Ok(()) => {}
                    Err(Errno::EXIST) => return Err(self.store.collision(path, at)),
                    Err(errno) => return Err(errno).during("create", path).map_err(Into::into),
                }
                match self.store.ids(owner.as_deref())? {
                    Some(ids) => Ok(self
                        .disk
                        .set_owner(at, path.file_name(), ids)
                        .during("set the owner of", path)?),
                    None => Ok(()),
                }
            }
            Entry::Directory { .. } => unreachable!("the survey puts directories apart"),
        }
    }

    /// Deepest first, because a directory's permissions may hide what is beneath.
    fn finish_directories(&self, directories: &[Directory<'_>]) -> Result<(), SiteError> {
        for directory in directories.iter().rev() {
            let dir = self.open(self.root, directory)?;
            let (mode, owner) = match directory.entry {
                Some(Entry::Directory { mode, owner }) => (mode.bits(), owner.as_deref()),
                _ => (ROOT_MODE, None),
            };
            let place = || {
                directory
                    .path
                    .map_or_else(|| ".".to_owned(), ToString::to_string)
            };
            if let Some(ids) = self.store.ids(owner)? {
                self.disk
                    .set_owner(&dir, b".", ids)
                    .during("set the owner of", place())?;
            }
            self.disk
                .set_dir_mode(&dir, mode)
                .during("set the mode of", place())?;
        }
        Ok(())
    }

    fn open(&self, root: &D::Dir, directory: &Directory<'_>) -> Result<D::Dir, Fault> {
        match directory.path {
            Some(path) => self
                .disk
                .open_dir(root, path.as_bytes())
                .during("open", path),
            None => self.disk.open_dir(root, b".").during("open", "."),
        }
    }
}

/// A directory to make.
#[derive(Default)]
struct Directory<'m> {
    parent: usize,
    /// `None` for the root.
    path: Option<&'m TreePath>,
    entry: Option<&'m Entry>,
}

/// Removes the tree `name` in `at`; `pace` is told how many files were removed since it was last
/// called, and may wait.
pub(crate) fn remove<D: Disk>(
    disk: &D,
    at: &D::Dir,
    name: &[u8],
    pace: &mut dyn FnMut(usize),
) -> Result<(), Fault> {
    let place = || name.escape_ascii();
    let root = match disk.open_dir(at, name) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno).during("open", place()),
    };
    // Paths beneath the root, each before what it holds.
    let mut directories: Vec<Vec<u8>> = vec![b".".to_vec()];
    let mut next = 0;
    while let Some(path) = directories.get(next).cloned() {
        next += 1;
        let dir = disk.open_dir(&root, &path).during("open", place())?;
        let listed = disk.list(&dir).during("list", place())?;
        if !listed.is_empty() {
            // A tree may forbid its owner to change it.
            disk.set_dir_mode(&dir, 0o700).during("remove", place())?;
        }
        for listed in listed.chunks(BATCH) {
            for entry in listed {
                match entry.kind {
                    Kind::Directory if path == b"." => directories.push(entry.name.clone()),
                    Kind::Directory => directories.push([&path[..], b"/", &entry.name].concat()),
                    _ => disk.unlink(&dir, &entry.name).during("remove", place())?,
                }
            }
            pace(listed.len());
        }
    }
    for path in directories[1..].iter().rev() {
        let (parent, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (b".".as_slice(), &path[..]),
        };
        let parent = disk.open_dir(&root, parent).during("open", place())?;
        disk.remove_dir(&parent, name).during("remove", place())?;
    }
    disk.remove_dir(at, name).during("remove", place())
}
