//! What comes in: contents from afar, trees of this machine, and the versions that they make.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use bellwether_content::Manifest;
use bellwether_content::diff::{Change, diff};
use bellwether_disk::depot::{Content, DepotError};
use bellwether_disk::publish::{Source, SourceError};
use bellwether_disk::scan::{self, Fingerprints, ScanError, ScanPolicy};
use bellwether_types::{Hash, Name, VersionId};
use bytes::Bytes;

use super::{Works, blocking};

/// A version that is kept, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) version: VersionId,
    /// Its files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// What a tree would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) target: Kept,
    /// How many entries changed in which way.
    pub(crate) changes: BTreeMap<String, u64>,
    /// Bytes of contents that the base does not have, each once.
    pub(crate) bytes: u64,
}

/// Why a staging source cannot be published. Nothing was kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StagingError {
    /// It cannot be read into a manifest.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// It changed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its contents cannot be kept.
    #[error(transparent)]
    Depot(#[from] DepotError),
    /// It would publish the server's own secrets.
    #[error("the staging source {} and the control server's data directory lie within each other", .0.display())]
    Entangled(PathBuf),
}

impl Works {
    /// The contents of a manifest that are not here, in the order of their hashes.
    pub(crate) async fn missing(
        self: &Arc<Self>,
        manifest: Manifest,
    ) -> Result<Vec<Content>, DepotError> {
        let works = Arc::clone(self);
        blocking(move || works.depot.missing(&manifest)).await
    }

    /// How much of a content came.
    pub(crate) async fn received(self: &Arc<Self>, content: Content) -> Result<u64, DepotError> {
        let works = Arc::clone(self);
        blocking(move || works.depot.received(content)).await
    }

    /// Takes a piece of a content; how much of it is here then.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        content: Content,
        offset: u64,
        piece: Bytes,
    ) -> Result<u64, DepotError> {
        let works = Arc::clone(self);
        blocking(move || works.depot.receive(content, offset, &piece)).await
    }

    /// Reads the staging source of a site, and takes its contents in if they are `wanted`. What has not changed since the
    /// last time is not read.
    pub(crate) async fn scan(
        self: &Arc<Self>,
        site: &Name,
        source: &str,
        wanted: bool,
    ) -> Result<Manifest, StagingError> {
        let works = Arc::clone(self);
        let (cache, source) = (self.scans.join(site.as_str()), PathBuf::from(source));
        blocking(move || {
            works.stand_apart(&source)?;
            let known = Fingerprints::load(&cache);
            let scan = scan::scan(&source, &ScanPolicy::default(), known, &())?;
            if scan.fingerprints_changed
                && let Err(error) = scan.fingerprints.save(&cache)
            {
                // The result is right without it; only the next scan is slower.
                tracing::warn!(cache = %cache.display(), %error, "a scan cannot be remembered");
            }
            if !wanted {
                return Ok(scan.manifest);
            }
            let source = Source::scanned(&source, scan)?;
            let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
            works.depot.import(&source, threads)?;
            Ok(source.manifest().clone())
        })
        .await
    }

    /// Keeps a tree with the times at which its contents were first seen in `base`. All of them must be here.
    pub(crate) async fn keep(
        self: &Arc<Self>,
        manifest: Manifest,
        base: Option<VersionId>,
    ) -> Result<Kept, DepotError> {
        let works = Arc::clone(self);
        blocking(move || {
            let goal = manifest.with_first_seen(&works.known(base)?);
            let kept = Kept::of(&goal);
            if Some(kept.version) != base {
                works.depot.keep(&goal)?;
            }
            Ok(kept)
        })
        .await
    }

    /// What keeping a tree would change.
    pub(crate) async fn compare(
        self: &Arc<Self>,
        manifest: Manifest,
        base: Option<VersionId>,
    ) -> Result<Compared, DepotError> {
        let works = Arc::clone(self);
        blocking(move || {
            let base = works.known(base)?;
            let goal = manifest.with_first_seen(&base);
            let mut changes: BTreeMap<String, u64> = BTreeMap::new();
            for (_, change) in diff(&base, &goal) {
                *changes.entry(word(&change).to_owned()).or_default() += 1;
            }
            let known: BTreeSet<Hash> = base.files().map(|(_, file)| file.hash).collect();
            let new: BTreeMap<Hash, u64> = goal
                .files()
                .filter(|(_, file)| !known.contains(&file.hash))
                .map(|(_, file)| (file.hash, file.size))
                .collect();
            Ok(Compared {
                target: Kept::of(&goal),
                changes,
                bytes: new.values().sum(),
            })
        })
        .await
    }

    /// What a version holds; nothing if there is none, or if it is not kept any more.
    fn known(&self, version: Option<VersionId>) -> Result<Manifest, DepotError> {
        match version.map(|version| self.depot.manifest(&version)) {
            None | Some(Err(DepotError::NotHeld { .. })) => Ok(Manifest::empty()),
            Some(manifest) => manifest,
        }
    }

    /// Refuses what holds the data directory, or lies in it.
    fn stand_apart(&self, source: &Path) -> Result<(), StagingError> {
        // If it is not there, the scan says so.
        let Ok(real) = source.canonicalize() else {
            return Ok(());
        };
        match real.starts_with(&self.data) || self.data.starts_with(&real) {
            true => Err(StagingError::Entangled(source.to_owned())),
            false => Ok(()),
        }
    }
}

impl Kept {
    fn of(manifest: &Manifest) -> Self {
        Self {
            version: manifest.version(),
            files: manifest.files().count() as u64,
            bytes: manifest.content_len(),
        }
    }
}

const fn word(change: &Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Changed => "changed",
        Change::Moved { .. } => "moved",
        Change::Copied { .. } => "copied",
        Change::Attributes => "attributes",
        Change::Deleted => "deleted",
    }
}
