//! Orders that take something away: what is staged, or all content.

use bellwether_types::VersionId;

use crate::disk::Disk;
use crate::error::{During, SiteError};
use crate::layout::{self, LIVE, LIVE_NEXT};
use crate::session::Session;
use crate::site::Site;
use crate::state::Mandate;

/// What became of an order to drop what is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborted {
    /// It was staged, and is no longer.
    Dropped,
    /// It was not staged. If it is live, it stays so.
    NotStaged,
}

impl<D: Disk> Site<D> {
    /// Drops `version` if it is staged; what is live stays, and so does what was live once (JOB-12). From now on nothing
    /// that comes before `by` is staged or made live.
    pub fn abort(&self, version: VersionId, by: Option<Mandate>) -> Result<Aborted, SiteError> {
        let mut session = Session::begin(self, "abort")?;
        by.map_or(Ok(()), |by| session.check_order(by))?;
        let dropped = session.state.unstage(version);
        let first = by.is_some_and(|by| session.state.obey(by));
        if dropped || first {
            session.save()?;
        }
        session.sweep()?;
        Ok(match dropped {
            true => Aborted::Dropped,
            false => Aborted::NotStaged,
        })
    }

    /// Removes all content, pinned versions too: first what is live, at once, then the trees (JOB-08). Whoever reads a
    /// file goes on reading it.
    pub fn remove(&self, by: Option<Mandate>) -> Result<(), SiteError> {
        let mut session = Session::begin(self, "remove")?;
        by.map_or(Ok(()), |by| session.check_order(by))?;
        let empty = session.state.releases.is_empty() && session.live()?.is_none();
        let first = by.is_some_and(|by| session.state.obey(by));
        if !empty {
            session.state.remove_all();
        }
        if !empty || first {
            session.save()?;
        }
        if session.state.removing {
            session.finish_removal()?;
        }
        session.sweep()
    }
}

impl<D: Disk> Session<'_, D> {
    /// Takes away what is live, once that is decided; may be repeated.
    pub(crate) fn finish_removal(&mut self) -> Result<(), SiteError> {
        let (disk, at) = (self.disk(), &self.layout.site);
        layout::remove(disk, at, LIVE_NEXT)?;
        layout::remove(disk, at, LIVE)?;
        disk.sync_dir(at).during("sync", "live")?;
        self.state.removing = false;
        self.save()
    }
}
