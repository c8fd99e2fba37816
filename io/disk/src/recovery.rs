//! Putting a site right after a stage, a removal or a switch that was cut short.
//!
//! There is nothing to replay. The state says which versions are held, and everything of ours
//! that none of them needs goes. Names that are not ours stay.

use bellwether_types::VersionId;

use crate::disk::{Disk, Errno, Kind};
use crate::error::{During, SiteError};
use crate::key::Key;
use crate::layout::{LIVE_NEXT, NEXT};
use crate::session::{self, Session};
use crate::site::Site;
use crate::state::Switch;
use crate::tree;

/// What was put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// A switch that was decided, and is finished now.
    pub switch: Option<Switch>,
    /// Trees that were not complete or no longer held.
    pub trees: usize,
    /// Objects that no held version needs.
    pub objects: usize,
    /// Other files that were left over.
    pub files: usize,
}

impl<D: Disk> Site<D> {
    /// Finishes what was decided and removes what no held version needs. May be repeated, and
    /// does nothing to a site that is in order.
    pub fn recover(&self) -> Result<Recovery, SiteError> {
        let mut session = Session::begin(self, "recover")?;
        let recovery = session.clean()?;
        Ok(Recovery {
            switch: session.switch_finished,
            ..recovery
        })
    }
}

impl<D: Disk> Session<'_, D> {
    /// Removes what a stage or removal left behind, if one was cut short.
    pub(crate) fn sweep(&mut self) -> Result<(), SiteError> {
        if self.state.unswept {
            self.clean()?;
        }
        Ok(())
    }

    /// Gives up a stage. Whether it had come so far as to count, the state on disk knows.
    pub(crate) fn abandon(&mut self) -> Result<(), SiteError> {
        self.state = session::read_state(self.site, &self.layout)?;
        self.sweep()
    }

    fn clean(&mut self) -> Result<Recovery, SiteError> {
        let mut recovery = Recovery {
            trees: self.clean_releases()?,
            objects: self.clean_objects()?,
            files: self.clean_files()?,
            switch: None,
        };
        recovery.files += self.clean_manifests()?;
        if self.state.unswept || recovery != Recovery::default() {
            // What was removed must not come back once the state says that all is in order.
            self.disk().sync_all().during("sync", self.site.name())?;
        }
        if self.state.unswept {
            self.state.unswept = false;
            self.save()?;
        }
        Ok(recovery)
    }

    fn clean_releases(&self) -> Result<usize, SiteError> {
        let (disk, at) = (self.disk(), &self.layout.releases);
        let mut removed = 0;
        for listed in disk.list(at).during("list", "releases")? {
            let ours = match Tree::parse(&listed.name) {
                Some(Tree::Whole(version)) => !self.state.releases.contains_key(&version),
                Some(Tree::Passing) => true,
                None => false,
            };
            if ours && listed.kind == Kind::Directory {
                tree::remove(disk, at, &listed.name, &mut |_| {})?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn clean_objects(&self) -> Result<usize, SiteError> {
        let needed = self.needed(self.state.releases.keys())?;
        let (disk, at) = (self.disk(), &self.layout.objects);
        let mut removed = 0;
        for listed in disk.list(at).during("list", "objects")? {
            if listed.kind != Kind::Directory {
                disk.unlink(at, &listed.name)
                    .during("remove", listed.name.escape_ascii())?;
                removed += 1;
                continue;
            }
            let Some(number) = parse_shard(&listed.name) else {
                continue;
            };
            let shard = disk.open_dir(at, &listed.name).during("open", "objects")?;
            for object in disk.list(&shard).during("list", "objects")? {
                let key = Key::parse(number, &object.name);
                if key.is_none_or(|key| needed.binary_search(&key).is_err()) {
                    disk.unlink(&shard, &object.name)
                        .during("remove", "objects")?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// The objects that these versions need, sorted.
    pub(crate) fn needed<'v>(
        &self,
        versions: impl IntoIterator<Item = &'v VersionId>,
    ) -> Result<Vec<Key>, SiteError> {
        let mut needed = Vec::new();
        for version in versions {
            needed.extend(
                self.manifest(version)?
                    .files()
                    .map(|(_, file)| Key::of(file)),
            );
        }
        needed.sort_unstable();
        needed.dedup();
        Ok(needed)
    }

    fn clean_manifests(&self) -> Result<usize, SiteError> {
        self.remove_files(&self.layout.manifests, |name| {
            let version = std::str::from_utf8(name)
                .ok()
                .and_then(|name| name.parse().ok());
            version.is_none_or(|version: VersionId| !self.state.releases.contains_key(&version))
        })
    }

    fn clean_files(&self) -> Result<usize, SiteError> {
        let link = match self.disk().unlink(&self.layout.site, LIVE_NEXT) {
            Ok(()) => 1,
            Err(Errno::NOENT) => 0,
            Err(errno) => return Err(errno).during("remove", "live.next").map_err(Into::into),
        };
        let half_written = |name: &[u8]| name.ends_with(NEXT);
        Ok(link
            + self.remove_files(&self.layout.private, half_written)?
            + self.remove_files(&self.layout.spool, half_written)?)
    }

    fn remove_files(&self, at: &D::Dir, stray: impl Fn(&[u8]) -> bool) -> Result<usize, SiteError> {
        let listed = self.disk().list(at).during("list", self.site.name())?;
        let strays = listed
            .iter()
            .filter(|entry| entry.kind != Kind::Directory && stray(&entry.name));
        let mut removed = 0;
        for entry in strays {
            self.disk()
                .unlink(at, &entry.name)
                .during("remove", entry.name.escape_ascii())?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// A name in `releases` that we gave.
enum Tree {
    Whole(VersionId),
    /// Being built or removed.
    Passing,
}

impl Tree {
    fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        if let Ok(version) = name.parse() {
            return Some(Self::Whole(version));
        }
        let hidden = name.strip_prefix('.')?;
        let version = hidden
            .strip_suffix(".partial")
            .or_else(|| hidden.strip_suffix(".removed"))?;
        version.parse::<VersionId>().ok().map(|_| Self::Passing)
    }
}

fn parse_shard(name: &[u8]) -> Option<u8> {
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| name.len() == 2)?;
    u8::from_str_radix(name, 16).ok()
}
