//! Putting a site right after a stage, a removal or a switch that was cut short.
//!
//! There is nothing to replay. The state says which versions are held, and everything of ours
//! that none of them needs goes. Names that are not ours stay.

use bellwether_types::VersionId;

use crate::disk::{Disk, Kind};
use crate::error::{During, SiteError};
use crate::layout::{self, LIVE_NEXT, NEXT, PARTIAL};
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
    /// Removes what a stage or removal left behind, if one was cut short. That is found by looking: a note of each stage
    /// that begins would have to be durable before it.
    pub(crate) fn sweep(&mut self) -> Result<(), SiteError> {
        self.clean().map(drop)
    }

    /// Gives up a stage. Whether it had come so far as to count, the state on disk knows.
    pub(crate) fn abandon(&mut self) -> Result<(), SiteError> {
        (self.slot, self.state) = session::read_slot(self.site, &self.layout)?;
        self.sweep()
    }

    fn clean(&mut self) -> Result<Recovery, SiteError> {
        let mut recovery = Recovery {
            trees: self.clean_releases()?,
            files: self.clean_files()?,
            switch: None,
        };
        recovery.files += self.clean_manifests()?;
        if self.state.unswept || recovery != Recovery::default() {
            // What was removed must not come back once the state says that all is in order.
            self.sync_all(self.site.name())?;
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

    fn clean_manifests(&self) -> Result<usize, SiteError> {
        self.remove_files(&self.layout.manifests, |name| {
            let version = std::str::from_utf8(name)
                .ok()
                .and_then(|name| name.parse().ok());
            version.is_none_or(|version: VersionId| !self.state.releases.contains_key(&version))
        })
    }

    fn clean_files(&self) -> Result<usize, SiteError> {
        let link = layout::remove(self.disk(), &self.layout.site, LIVE_NEXT)?;
        let half_written = |name: &[u8]| name.ends_with(NEXT);
        Ok(usize::from(link)
            + self.clean_private()?
            + self.remove_files(&self.layout.spool, half_written)?)
    }

    /// Removes files of our own that were on their way to another name.
    pub(crate) fn clean_private(&self) -> Result<usize, SiteError> {
        self.remove_files(&self.layout.private, |name| name.ends_with(NEXT))
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
        if name == PARTIAL {
            return Some(Self::Passing);
        }
        let name = std::str::from_utf8(name).ok()?;
        if let Ok(version) = name.parse() {
            return Some(Self::Whole(version));
        }
        let version = name.strip_prefix('.')?.strip_suffix(".removed")?;
        version.parse::<VersionId>().ok().map(|_| Self::Passing)
    }
}
