use std::num::NonZeroUsize;
use std::time::SystemTime;

use bellwether_types::TreePath;

use super::Filter;

/// What to read and what to refuse.
#[derive(Debug, Clone, Default)]
pub struct ScanPolicy {
    /// Which entries belong to the site.
    pub filter: Filter,
    /// What to do about devices, sockets and FIFOs.
    pub specials: Specials,
    /// Whose the entries are on the nodes.
    pub ownership: Ownership,
    /// Accept files that set the user or group id of who runs them. Directories with such bits
    /// are always accepted: the bits tell how files are made on the staging host and are no
    /// content, so unless this is set they are left out.
    pub allow_set_id: bool,
    /// Accept files with capabilities; the capabilities themselves are not distributed.
    pub allow_capabilities: bool,
    /// How many threads; as many as the machine has unless said otherwise.
    pub threads: Option<NonZeroUsize>,
    /// When the scan starts, for tests that need every file to be old; the clock's time if none.
    pub started: Option<SystemTime>,
}

/// What to do about entries that no site can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Specials {
    /// The scan fails and names the entry.
    #[default]
    Refuse,
    /// They are left out and named in the result.
    Skip,
}

/// Whose the entries are on the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// All belong to the owner of the site.
    #[default]
    Site,
    /// User and group are kept by name, as `/etc/passwd` and `/etc/group` tell.
    ByName,
}

/// Is told how a scan gets on, from several threads at once.
pub trait Watch: Sync {
    /// Files were found.
    fn found(&self, _files: u64, _bytes: u64) {}
    /// A file was looked at and will now be opened and read.
    fn reading(&self, _path: &TreePath) {}
    /// Bytes were read.
    fn hashed(&self, _bytes: u64) {}
}

/// Nobody watches.
impl Watch for () {}
