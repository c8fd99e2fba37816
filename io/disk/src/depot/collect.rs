use std::collections::BTreeSet;

use bellwether_content::Timestamp;
use bellwether_types::{Hash, VersionId};

use super::{Depot, DepotError, contents, parse};
use crate::disk::Disk;
use crate::error::{During, Fault};
use crate::layout;

/// What was cleared away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Versions.
    pub versions: usize,
    /// Contents that no version needs.
    pub contents: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl<D: Disk> Depot<D> {
    /// Removes all versions but these, and every content that none of these needs and that came before `before`: what
    /// came later may belong to a version that is not kept yet.
    pub fn clear(
        &self,
        kept: &BTreeSet<VersionId>,
        before: Timestamp,
    ) -> Result<Cleared, DepotError> {
        let _one_at_a_time = self.lock_versions();
        let held = self.versions()?;
        let mut needed = BTreeSet::new();
        for version in kept.intersection(&held) {
            needed.extend(contents(&self.manifest(version)?).map(|content| content.hash));
        }
        let mut cleared = Cleared::default();
        for version in held.difference(kept) {
            layout::remove(&self.disk, &self.versions, version.to_string().as_bytes())?;
            cleared.versions += 1;
        }
        // No version may be found after a crash whose contents are gone.
        self.disk
            .sync_dir(&self.versions)
            .during("sync", "versions")?;
        for shelf in self.disk.list(&self.objects).during("list", "objects")? {
            let dir = self.disk.open_dir(&self.objects, &shelf.name);
            let dir = dir.during("open", shelf.name.escape_ascii())?;
            self.clear_folder(&dir, &needed, before, &mut cleared)?;
        }
        for folder in [&self.fresh, &self.incoming] {
            self.clear_folder(folder, &needed, before, &mut cleared)?;
        }
        Ok(cleared)
    }

    fn clear_folder(
        &self,
        folder: &D::Dir,
        needed: &BTreeSet<Hash>,
        before: Timestamp,
        cleared: &mut Cleared,
    ) -> Result<(), Fault> {
        for listed in self
            .disk
            .list(folder)
            .during("list", "a folder of the depot")?
        {
            let hash = parse(&listed.name);
            if hash.is_some_and(|hash| needed.contains(&hash)) {
                continue;
            }
            // Somebody may have moved it meanwhile.
            let Ok(stat) = self.disk.stat(folder, &listed.name) else {
                continue;
            };
            if stat.mtime < before && layout::remove(&self.disk, folder, &listed.name)? {
                cleared.contents += 1;
                cleared.bytes += stat.size;
            }
        }
        Ok(())
    }
}
