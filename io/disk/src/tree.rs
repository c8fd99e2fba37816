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

/// A manifest arranged by directories, as disks want it.
pub(crate) struct Survey<'m> {
    /// Each after the one above it; the first is the root.
    pub(crate) directories: Vec<Directory<'m>>,
    /// All entries, directories too, in the manifest's order.
    pub(crate) entries: Vec<Place<'m>>,
}

/// A directory of a tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory<'m> {
    /// Its own entry; `None` for the root.
    pub(crate) place: Option<Place<'m>>,
}

/// An entry and the number of the directory it stands in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'m> {
    pub(crate) directory: usize,
    pub(crate) path: &'m TreePath,
    pub(crate) entry: &'m Entry,
}

/// A file or link to make, and whether the base has the same.
struct Leaf<'m> {
    place: Place<'m>,
    in_base: bool,
}

/// How many files a thread takes at a time.
const BATCH: usize = 256;

/// The root of a release.
const ROOT_MODE: u32 = 0o755;

impl<'m> Survey<'m> {
    pub(crate) fn new(manifest: &'m Manifest) -> Self {
        let mut directories = vec![Directory { place: None }];
        let mut entries = Vec::with_capacity(manifest.len());
        let mut directory = 0;
        for (path, entry) in manifest.iter() {
            // Climb to the directory that this entry stands in: the root holds everything.
            while let Some(above) = directories[directory].place
                && !path.is_within(above.path)
            {
                directory = above.directory;
            }
            let place = Place {
                directory,
                path,
                entry,
            };
            entries.push(place);
            if let Entry::Directory { .. } = entry {
                directory = directories.len();
                directories.push(Directory { place: Some(place) });
            }
        }
        Self {
            directories,
            entries,
        }
    }

    /// Everything but directories; what stands in one directory is together.
    pub(crate) fn leaves(&self) -> Vec<Place<'m>> {
        let is_leaf = |place: &Place<'_>| !matches!(place.entry, Entry::Directory { .. });
        let mut leaves: Vec<_> = self.entries.iter().copied().filter(is_leaf).collect();
        leaves.sort_by_key(|leaf| leaf.directory);
        leaves
    }

    /// Opens a directory of a tree that is arranged so.
    pub(crate) fn open<D: Disk>(
        &self,
        disk: &D,
        root: &D::Dir,
        directory: usize,
    ) -> Result<D::Dir, Fault> {
        match self.directories[directory].place {
            Some(Place { path, .. }) => disk.open_dir(root, path.as_bytes()).during("open", path),
            None => disk.open_dir(root, b".").during("open", "."),
        }
    }
}

impl<D: Disk> Building<'_, '_, D> {
    /// Builds `target`, and returns the sorted keys of the objects it took from the store.
    pub(crate) fn build(&self, target: &Manifest) -> Result<Vec<Key>, SiteError> {
        let survey = Survey::new(target);
        let leaves = self.leaves(&survey);
        self.make_directories(&survey)?;
        let batches: Vec<&[Leaf<'_>]> = leaves.chunks(BATCH).collect();
        parallel::for_each(self.threads, batches.len(), |batch| {
            self.make_leaves(&survey, batches[batch])
        })?;
        self.finish_directories(&survey)?;
        let mut keys: Vec<Key> = leaves
            .iter()
            .filter(|leaf| !leaf.in_base)
            .filter_map(|leaf| match leaf.place.entry {
                Entry::File(file) => Some(Key::of(file)),
                _ => None,
            })
            .collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// What to make besides directories; what stands in one directory is together.
    fn leaves<'m>(&self, survey: &Survey<'m>) -> Vec<Leaf<'m>> {
        // Both manifests are in the same order, so one pass finds all unchanged entries.
        let mut base = self.base.map(|(_, manifest)| manifest.iter().peekable());
        let mut leaves = Vec::with_capacity(survey.entries.len());
        for &place in &survey.entries {
            if matches!(place.entry, Entry::Directory { .. }) {
                continue;
            }
            let in_base = base.as_mut().is_some_and(|base| {
                while base.next_if(|(path, _)| *path < place.path).is_some() {}
                base.next_if(|(path, _)| *path == place.path)
                    .is_some_and(|(_, entry)| entry == place.entry)
            });
            leaves.push(Leaf { place, in_base });
        }
        leaves.sort_by_key(|leaf| leaf.place.directory);
        leaves
    }

    fn make_directories(&self, survey: &Survey<'_>) -> Result<(), SiteError> {
        let mut above: Option<(usize, D::Dir)> = None;
        for place in survey
            .directories
            .iter()
            .filter_map(|directory| directory.place)
        {
            let at = match above.take() {
                Some((index, at)) if index == place.directory => at,
                _ => survey.open(self.disk, self.root, place.directory)?,
            };
            // Ours alone until its files are there; its own permissions come last.
            match self.disk.create_dir(&at, place.path.file_name(), 0o700) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(self.store.collision(place.path, &at)),
                Err(errno) => return Err(errno).during("create", place.path).map_err(Into::into),
            }
            above = Some((place.directory, at));
        }
        Ok(())
    }

    fn make_leaves(&self, survey: &Survey<'_>, leaves: &[Leaf<'_>]) -> Result<(), SiteError> {
        for siblings in leaves.chunk_by(|a, b| a.place.directory == b.place.directory) {
            let directory = siblings[0].place.directory;
            let at = survey.open(self.disk, self.root, directory)?;
            let base = match self.base {
                Some((root, _)) if siblings.iter().any(|leaf| leaf.in_base) => {
                    // Somebody may have removed it; then the store serves.
                    survey.open(self.disk, root, directory).ok()
                }
                _ => None,
            };
            for leaf in siblings {
                self.make_leaf(leaf.place, &at, base.as_ref().filter(|_| leaf.in_base))?;
            }
        }
        Ok(())
    }

    fn make_leaf(
        &self,
        leaf: Place<'_>,
        at: &D::Dir,
        base: Option<&D::Dir>,
    ) -> Result<(), SiteError> {
        let Place { path, entry, .. } = leaf;
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
            Entry::Directory { .. } => unreachable!("leaves are not directories"),
        }
    }

    /// Deepest first, because a directory's permissions may hide what is beneath.
    fn finish_directories(&self, survey: &Survey<'_>) -> Result<(), SiteError> {
        for (index, directory) in survey.directories.iter().enumerate().rev() {
            let dir = survey.open(self.disk, self.root, index)?;
            let (mode, owner) = match directory.place.map(|place| place.entry) {
                Some(Entry::Directory { mode, owner }) => (mode.bits(), owner.as_deref()),
                _ => (ROOT_MODE, None),
            };
            let place = || {
                directory
                    .place
                    .map_or_else(|| ".".into(), |place| place.path.to_string())
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
