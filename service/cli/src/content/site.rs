use std::path::PathBuf;

use bellwether_types::SitePart;
use clap::Args;

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
