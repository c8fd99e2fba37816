use std::path::PathBuf;

use bellwether_disk::{Hooks, Options, RealDisk, Site};
use bellwether_types::{SitePart, VersionId};
use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;

/// Where a site lives on this machine.
#[derive(Debug, Clone, Args)]
pub(crate) struct SiteArgs {
    /// The directory that holds the sites of this machine.
    #[arg(long, env = "BELLWETHER_ROOT")]
    pub(crate) root: PathBuf,
    /// The site, or SITE@PART.
    #[arg(long, env = "BELLWETHER_SITE")]
    pub(crate) site: SitePart,
}

impl SiteArgs {
    /// Opens the site; nothing is touched before it is used.
    pub(crate) fn open(&self) -> Result<Site<RealDisk>, Failure> {
        self.open_with(Hooks::default())
    }

    /// Opens the site, with what this node runs around a switch.
    pub(crate) fn open_with(&self, hooks: Hooks) -> Result<Site<RealDisk>, Failure> {
        let disk = RealDisk::open(&self.root)
            .map_err(|errno| Failure::io("open", &self.root, errno.into()))?;
        let options = Options {
            hooks,
            ..Options::default()
        };
        Ok(Site::open(disk, self.site.clone(), options))
    }
}

/// Digits that tell versions apart well enough.
const PREFIX_LEN_MIN: usize = 6;

/// The held version that `text` names, in full or by its first digits.
pub(crate) fn held_version(site: &Site<RealDisk>, text: &str) -> Result<VersionId, Failure> {
    if let Ok(version) = text.parse() {
        return Ok(version);
    }
    let is_prefix = text.len() >= PREFIX_LEN_MIN && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_prefix {
        let error = format!("`{text}` is not a version: give its digits, at least the first six");
        return Err(Failure::new(Exit::Usage, error));
    }
    let releases = site.status()?.releases;
    let mut found = releases
        .into_keys()
        .filter(|id| id.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(version), None) => Ok(version),
        (None, _) => {
            let error = format!("no version that begins with {text} is held");
            Err(Failure::new(Exit::NotFound, error).hint("`content status` lists those held"))
        }
        (Some(_), Some(_)) => {
            let error = format!("several versions begin with {text}");
            Err(Failure::new(Exit::Usage, error).hint("give more digits"))
        }
    }
}
