//! Comparing held versions with what they should be, and setting right what can be.

use std::sync::{Mutex, PoisonError};

use bellwether_content::{Entry, Manifest};
use bellwether_types::{TreePath, VersionId};

use crate::disk::{Disk, Errno, Kind};
use crate::error::{During, SiteError};
use crate::key::Key;
use crate::parallel;
use crate::session::Session;
use crate::site::Site;
use crate::store::{Object, Store};
use crate::tree::{Place, Survey};

/// What was found out of order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mended {
    /// Entries that were not as they should be, and are again.
    pub restored: Vec<Damage>,
    /// Entries that stay damaged, because no intact copy is held.
    pub lost: Vec<Damage>,
}

/// An entry of a held version that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The version.
    pub version: VersionId,
    /// The entry.
    pub path: TreePath,
}

/// What a check of everything found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// How many objects were read and compared.
    pub objects: usize,
    /// What was out of order.
    pub mended: Mended,
}

impl<D: Disk> Site<D> {
    /// Reads every object and every file of every held version, believing no fingerprint, and
    /// restores what differs from intact copies. What nothing is known about stays.
    pub fn fsck(&self) -> Result<Checked, SiteError> {
        let mut session = Session::begin(self, "fsck")?;
        session.sweep()?;
        let mut store = Store::open(&session)?;
        store.distrust();
        let mut checked = Checked::default();
        for version in session.state.releases.keys() {
            let manifest = session.manifest(version)?;
            checked.objects += check_objects(&store, version, &manifest, &mut checked.mended)?;
        }
        for version in session.state.releases.keys() {
            let mended = release(&session, &store, version)?;
            checked.mended.restored.extend(mended.restored);
            checked.mended.lost.extend(mended.lost);
        }
        checked.mended.lost.sort();
        checked.mended.lost.dedup();
        store.save_fingerprints()?;
        self.disk().sync_all().during("sync", self.name())?;
        Ok(checked)
    }
}

impl Mended {
    /// Fails with the first entry that is lost.
    pub(crate) fn into_result(self) -> Result<(), SiteError> {
        match self.lost.into_iter().next() {
            None => Ok(()),
            Some(Damage { path, .. }) => Err(SiteError::ContentDamaged { path }),
        }
    }
}

fn check_objects<D: Disk>(
    store: &Store<'_, D>,
    version: &VersionId,
    manifest: &Manifest,
    mended: &mut Mended,
) -> Result<usize, SiteError> {
    let damage = |path: &TreePath| Damage {
        version: *version,
        path: path.clone(),
    };
    let mut keys: Vec<(Key, Object<'_>)> = manifest
        .files()
        .map(|(path, file)| Object::new(path, file))
        .map(|object| (object.key, object))
        .collect();
    keys.sort_unstable_by_key(|(key, _)| *key);
    keys.dedup_by_key(|(key, _)| *key);
    for (_, object) in &keys {
        if !store.has_intact(*object)? {
            match store.heal(*object) {
                Ok(()) => mended.restored.push(damage(object.path)),
                Err(SiteError::ContentDamaged { .. } | SiteError::ContentMissing { .. }) => {
                    mended.lost.push(damage(object.path));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(keys.len())
}

/// Compares the tree of a held version with its manifest, by fingerprints and, where they moved,
/// by content; restores what differs.
pub(crate) fn release<D: Disk>(
    session: &Session<'_, D>,
    store: &Store<'_, D>,
    version: &VersionId,
) -> Result<Mended, SiteError> {
    let manifest = session.manifest(version)?;
    let disk = session.disk();
    let root = disk
        .open_dir(&session.layout.releases, version.to_string().as_bytes())
        .during("open", version)?;
    let survey = Survey::new(&manifest);
    let mended = Mutex::new(Mended::default());
    let found = |path: &TreePath, restored: bool| {
        let mut mended = mended.lock().unwrap_or_else(PoisonError::into_inner);
        let list = if restored {
            &mut mended.restored
        } else {
            &mut mended.lost
        };
        list.push(Damage {
            version: *version,
            path: path.clone(),
        });
    };
    for directory in survey
        .directories
        .iter()
        .filter_map(|directory| directory.place)
    {
        if restore_directory(store, disk, &root, directory)? {
            found(directory.path, true);
        }
    }
    let leaves = survey.leaves();
    let batches: Vec<&[Place<'_>]> = leaves.chunk_by(|a, b| a.directory == b.directory).collect();
    parallel::for_each(session.site.options().threads, batches.len(), |batch| {
        let siblings = batches[batch];
        let at = survey.open(disk, &root, siblings[0].directory)?;
        for place in siblings {
            match restore_leaf(store, disk, &at, place) {
                Ok(false) => {}
                Ok(true) => found(place.path, true),
                Err(SiteError::ContentDamaged { .. } | SiteError::ContentMissing { .. }) => {
                    found(place.path, false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    let mut mended = mended.into_inner().unwrap_or_else(PoisonError::into_inner);
    mended.restored.sort();
    mended.lost.sort();
    Ok(mended)
}

/// Tells whether there was anything to do.
fn restore_directory<D: Disk>(
    store: &Store<'_, D>,
    disk: &D,
    root: &D::Dir,
    place: Place<'_>,
) -> Result<bool, SiteError> {
    let Entry::Directory { mode, owner } = place.entry else {
        return Ok(false);
    };
    let path = place.path;
    let parent = path.parent();
    let parent = parent.as_ref().map_or(b".".as_slice(), TreePath::as_bytes);
    let at = disk.open_dir(root, parent).during("open", path)?;
    let missing = match disk.create_dir(&at, path.file_name(), mode.bits()) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno).during("restore", path).map_err(Into::into),
    };
    let stat = disk.stat(&at, path.file_name()).during("read", path)?;
    if missing && let Some(ids) = store.ids(owner.as_deref())? {
        disk.set_owner(&at, path.file_name(), ids)
            .during("restore", path)?;
    }
    if stat.mode == mode.bits() {
        return Ok(missing);
    }
    let dir = disk.open_dir(&at, path.file_name()).during("open", path)?;
    disk.set_dir_mode(&dir, mode.bits())
        .during("restore", path)?;
    Ok(true)
}

/// Tells whether there was anything to do.
fn restore_leaf<D: Disk>(
    store: &Store<'_, D>,
    disk: &D,
    at: &D::Dir,
    place: &Place<'_>,
) -> Result<bool, SiteError> {
    let (path, name) = (place.path, place.path.file_name());
    match place.entry {
        Entry::File(file) => store.restore(Object::new(path, file), at),
        Entry::Symlink { target, owner } => {
            match disk.read_link(at, name) {
                Ok(found) if found == **target => return Ok(false),
                Ok(_) | Err(Errno::INVAL) => disk.unlink(at, name).during("restore", path)?,
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).during("read", path).map_err(Into::into),
            }
            disk.symlink(target, at, name).during("restore", path)?;
            if let Some(ids) = store.ids(owner.as_deref())? {
                disk.set_owner(at, name, ids).during("restore", path)?;
            }
            Ok(true)
        }
        Entry::Directory { .. } => unreachable!("a survey's leaves are not directories"),
    }
}

/// How an entry of a tree differs from its manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The entry, relative to the tree; bytes, because a name nobody checked may be any.
    pub path: Vec<u8>,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// It should be there and is not.
    Missing,
    /// It is there and should not be.
    Extra,
    /// It is of another kind.
    Kind,
    /// Its permissions differ.
    Mode,
    /// Its content differs, or where it leads.
    Content,
}

impl<D: Disk> Site<D> {
    /// Compares the tree of `version`, or the live one, with its manifest: by fingerprints and,
    /// where they moved, by content. Changes nothing, needs no lock, and tells every difference.
    pub fn verify(&self, version: Option<VersionId>) -> Result<Vec<Difference>, SiteError> {
        let status = self.status()?;
        let version = version
            .or(status.live)
            .ok_or_else(|| SiteError::NothingLive {
                site: self.name().clone(),
            })?;
        let manifest = self.manifest(&version)?;
        let reading = crate::store::Reading::open(self)?;
        let root = reading.release(&version)?;
        let survey = Survey::new(&manifest);
        let mut entries = survey.entries.clone();
        entries.sort_by_key(|place| place.directory);
        let differences = Mutex::new(Vec::new());
        let tell = |path: Vec<u8>, kind| {
            let mut differences = differences.lock().unwrap_or_else(PoisonError::into_inner);
            differences.push(Difference { path, kind });
        };
        parallel::for_each(
            self.options().threads,
            survey.directories.len(),
            |directory| {
                let first = entries.partition_point(|place| place.directory < directory);
                let end = entries.partition_point(|place| place.directory <= directory);
                let siblings = &entries[first..end];
                let at = match survey.open(self.disk(), &root, directory) {
                    Ok(at) => at,
                    // The entry of the directory itself is told where its parent is looked at.
                    Err(fault)
                        if matches!(fault.errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) =>
                    {
                        siblings.iter().for_each(|place| {
                            tell(place.path.as_bytes().to_vec(), DifferenceKind::Missing);
                        });
                        return Ok(());
                    }
                    Err(fault) => return Err(fault.into()),
                };
                let listed = self.disk().list(&at).during("list", version)?;
                for listed in &listed {
                    // Siblings are in the order of their names.
                    let name = &listed.name[..];
                    if siblings
                        .binary_search_by(|place| place.path.file_name().cmp(name))
                        .is_err()
                    {
                        let above = survey.directories[directory].place;
                        let above = above
                            .map_or_else(Vec::new, |place| [place.path.as_bytes(), b"/"].concat());
                        tell([&above, name].concat(), DifferenceKind::Extra);
                    }
                }
                for place in siblings {
                    if let Some(kind) = difference(&reading, &at, place)? {
                        tell(place.path.as_bytes().to_vec(), kind);
                    }
                }
                Ok::<(), SiteError>(())
            },
        )?;
        let mut differences = differences
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        differences.sort();
        Ok(differences)
    }
}

fn difference<D: Disk>(
    reading: &crate::store::Reading<'_, D>,
    at: &D::Dir,
    place: &Place<'_>,
) -> Result<Option<DifferenceKind>, SiteError> {
    let (disk, name) = (reading.disk(), place.path.file_name());
    let stat = match disk.stat(at, name) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Some(DifferenceKind::Missing)),
        Err(errno) => return Err(errno).during("read", place.path).map_err(Into::into),
    };
    Ok(match (place.entry, stat.kind) {
        (Entry::Directory { mode, .. }, Kind::Directory) => {
            (stat.mode != mode.bits()).then_some(DifferenceKind::Mode)
        }
        (Entry::Symlink { target, .. }, Kind::Symlink) => {
            let found = disk.read_link(at, name).during("read", place.path)?;
            (found != **target).then_some(DifferenceKind::Content)
        }
        (Entry::File(file), Kind::File) => {
            let object = Object::new(place.path, file);
            if !reading.is_intact(object, at, &stat)? {
                Some(DifferenceKind::Content)
            } else {
                (stat.mode != file.mode.bits()).then_some(DifferenceKind::Mode)
            }
        }
        _ => Some(DifferenceKind::Kind),
    })
}
