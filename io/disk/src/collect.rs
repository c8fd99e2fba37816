//! Removing versions that nobody needs any more, late and slowly: a mass deletion makes creating
//! files on some file systems ten times slower for a minute.

use std::time::Duration;

use bellwether_content::{Entry, Manifest};
use bellwether_types::VersionId;

use crate::disk::{Disk, Errno};
use crate::error::{During, SiteError};
use crate::layout;
use crate::session::Session;
use crate::site::Site;
use crate::state::Release;
use crate::store::{Store, Wanted};
use crate::tree::{self, Survey};

/// Which versions stay.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// At least so many, the live one included.
    pub keep: usize,
    /// Every version for so long after another took its place: somebody may still read it.
    pub grace: Duration,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// The versions.
    pub versions: Vec<VersionId>,
    /// How many files went with them that no other version shares.
    pub files: usize,
}

/// How many files are removed between two calls of `pace`.
const BATCH: usize = 128;

impl<D: Disk> Site<D> {
    /// Removes versions that `retention` lets go; never the live, the previous, the staged or a
    /// pinned one. `pace` is told how many files went since it was last called, and may wait.
    pub fn collect(
        &self,
        retention: Retention,
        pace: &mut dyn FnMut(usize),
    ) -> Result<Collected, SiteError> {
        let mut session = Session::begin(self, "collect")?;
        session.sweep()?;
        let mut collected = Collected {
            versions: passed(&session, retention)?,
            files: 0,
        };
        if collected.versions.is_empty() {
            return Ok(collected);
        }
        // The state comes first: half-removed versions are not held.
        for version in &collected.versions {
            session.state.releases.remove(version);
            session.state.history.retain(|earlier| earlier != version);
        }
        session.state.unswept = true;
        session.save()?;
        let store = Store::open(&session);
        for version in &collected.versions {
            let manifest = match session.manifest(version) {
                Ok(manifest) => Some(manifest),
                // Then what it shares with others will be read once more, and that is all.
                Err(SiteError::ManifestDamaged { .. }) => None,
                Err(error) => return Err(error),
            };
            collected.files += remove(&session, &store, version, manifest.as_deref(), pace)?;
        }
        store.save_fingerprints()?;
        session.sync_all(self.name())?;
        session.state.unswept = false;
        session.save()?;
        Ok(collected)
    }
}

/// The versions that may go.
fn passed<D: Disk>(
    session: &Session<'_, D>,
    retention: Retention,
) -> Result<Vec<VersionId>, SiteError> {
    let state = &session.state;
    let protected = [session.live()?, state.previous(), state.staged];
    let now = session.site.now().seconds;
    let grace = i64::try_from(retention.grace.as_secs()).unwrap_or(i64::MAX);
    let used = |release: &Release| release.committed.unwrap_or_default().max(release.staged);
    let mut versions: Vec<_> = state.releases.iter().collect();
    // The live one counts first, then those used last.
    versions.sort_by_key(|(version, release)| {
        (
            Some(**version) != protected[0],
            std::cmp::Reverse(used(release)),
        )
    });
    let passed = versions
        .into_iter()
        .skip(retention.keep)
        .filter(|(version, release)| {
            let since = release.deposed.unwrap_or_else(|| used(release)).seconds;
            !release.pinned
                && !protected.contains(&Some(**version))
                && since.saturating_add(grace) <= now
        });
    Ok(passed.map(|(version, _)| *version).collect())
}

/// Removes a version's tree and its manifest. Removing a name moves the ctime of what other
/// versions share, so their fingerprints are taken anew. Returns how many files were its alone.
fn remove<D: Disk>(
    session: &Session<'_, D>,
    store: &Store<'_, D>,
    version: &VersionId,
    manifest: Option<&Manifest>,
    pace: &mut dyn FnMut(usize),
) -> Result<usize, SiteError> {
    let (disk, releases) = (session.disk(), &session.layout.releases);
    let (name, removed_name) = (version.to_string(), layout::removed_name(version));
    let mut files = 0;
    match disk.rename(releases, name.as_bytes(), releases, &removed_name) {
        Ok(()) => {
            if let Some(manifest) = manifest {
                let root = disk
                    .open_dir(releases, &removed_name)
                    .during("open", &name)?;
                files = unlink_files(disk, store, &root, manifest, pace)?;
            }
            tree::remove(disk, releases, &removed_name, pace)?;
        }
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).during("remove", name).map_err(Into::into),
    }
    layout::remove(disk, &session.layout.manifests, name.as_bytes())?;
    Ok(files)
}

fn unlink_files<D: Disk>(
    disk: &D,
    store: &Store<'_, D>,
    root: &D::Dir,
    manifest: &Manifest,
    pace: &mut dyn FnMut(usize),
) -> Result<usize, SiteError> {
    let survey = Survey::new(manifest.iter());
    let mut files = 0;
    for siblings in survey.leaves().chunk_by(|a, b| a.directory == b.directory) {
        // What somebody moved about is left to the removal of the whole tree.
        let Ok(at) = survey.open(disk, root, siblings[0].directory) else {
            continue;
        };
        // A tree may forbid its owner to change it.
        disk.set_dir_mode(&at, 0o700)
            .during("remove", siblings[0].path)?;
        for batch in siblings.chunks(BATCH) {
            for place in batch {
                if let Entry::File(file) = place.entry {
                    let path = place.path;
                    files += usize::from(store.unlink(Wanted { path, file }, &at)?);
                }
            }
            pace(batch.len());
        }
    }
    Ok(files)
}
