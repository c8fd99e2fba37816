//! Comparing a held version with what it should be, without a lock: what is read is compared, and
//! nothing is changed.

use std::sync::{Mutex, PoisonError};

use bellwether_content::{Entry, File};
use bellwether_types::{TreePath, VersionId};

use crate::disk::{Disk, Errno, Kind, Stat};
use crate::error::{During, Fault, SiteError};
use crate::fingerprint::Fingerprints;
use crate::layout::Layout;
use crate::parallel;
use crate::site::Site;
use crate::store::read_through;
use crate::tree::{Place, Survey};

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
        let disk = self.disk();
        let layout = Layout::open(disk, self.name())?;
        let fingerprints = Fingerprints::load(disk, &layout.private);
        let root = disk
            .open_dir(&layout.releases, version.to_string().as_bytes())
            .during("open", version)?;
        let survey = Survey::new(manifest.iter());
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
                    if let Some(kind) = difference(disk, &fingerprints, &at, place)? {
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
    disk: &D,
    fingerprints: &Fingerprints,
    at: &D::Dir,
    place: &Place<'_>,
) -> Result<Option<DifferenceKind>, SiteError> {
    let name = place.path.file_name();
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
            let holds = fingerprints.guard(stat.inode).holds(&stat, file);
            if !holds && !has_content(disk, at, place.path, &stat, file)? {
                Some(DifferenceKind::Content)
            } else {
                (stat.mode != file.mode.bits()).then_some(DifferenceKind::Mode)
            }
        }
        _ => Some(DifferenceKind::Kind),
    })
}

/// Whether what stands in a tree, and has this `stat`, has the content of `file`.
fn has_content<D: Disk>(
    disk: &D,
    at: &D::Dir,
    path: &TreePath,
    stat: &Stat,
    file: &File,
) -> Result<bool, Fault> {
    if stat.size != file.size {
        return Ok(false);
    }
    let opened = disk.open_file(at, path.file_name()).during("open", path)?;
    let hash = read_through(disk, &opened, stat.size, |_| Ok(())).during("read", path)?;
    Ok(hash == file.hash)
}
