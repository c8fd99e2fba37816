use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use bellwether_disk::scan::{self, Filter, Fingerprints, Ownership, Scan, ScanPolicy, Specials};
use bellwether_types::Hash;
use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// How a staging tree is read.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Reading the tree")]
pub(crate) struct TreeArgs {
    /// Only what this pattern names; can be given several times.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Not what this pattern names; can be given several times.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Only files with this extension; can be given several times.
    #[arg(long = "type", value_name = "EXTENSION")]
    types: Vec<String>,
    /// What to do about devices, sockets and FIFOs.
    #[arg(long, value_enum, default_value_t)]
    special: Special,
    /// Accept files with setuid or setgid bits.
    #[arg(long)]
    allow_set_id: bool,
    /// Accept files with capabilities, and send them without.
    #[arg(long)]
    allow_capabilities: bool,
    /// Keep owners by name; else everything belongs to the owner of the site.
    #[arg(long)]
    keep_owners: bool,
    /// Read every file, also those that have not changed since they were last read.
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
    /// Where to remember what was read; in the user's cache directory unless said otherwise.
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// How many threads read; as many as the machine has unless said otherwise.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Special {
    /// Fail and name the entry.
    #[default]
    Refuse,
    /// Leave them out and name them.
    Skip,
}

impl TreeArgs {
    /// Reads the tree at `root`, and remembers what it read for the next time.
    pub(crate) fn scan(&self, root: &Path, output: &Output) -> Result<Scan, Failure> {
        let policy = self.policy()?;
        let cache = self.cache_for(root);
        let known = cache.as_deref().map(Fingerprints::load).unwrap_or_default();
        let progress = Progress::new(output, "scanning");
        let scan = scan::scan(root, &policy, known, &progress)?;
        drop(progress);
        for (path, kind) in &scan.skipped {
            output.say(format_args!("left out: {path} is a {kind}"));
        }
        if let Some(cache) = cache
            && scan.fingerprints_changed
            && let Err(error) = scan.fingerprints.save(&cache)
        {
            // The result is right without it; only the next scan is slower.
            output.detail(format_args!(
                "cannot remember the scan in {}: {error}",
                cache.display()
            ));
        }
        Ok(scan)
    }

    fn policy(&self) -> Result<ScanPolicy, Failure> {
        Ok(ScanPolicy {
            filter: Filter::new(&self.include, &self.exclude, &self.types)?,
            specials: match self.special {
                Special::Refuse => Specials::Refuse,
                Special::Skip => Specials::Skip,
            },
            ownership: if self.keep_owners {
                Ownership::ByName
            } else {
                Ownership::Site
            },
            allow_set_id: self.allow_set_id,
            allow_capabilities: self.allow_capabilities,
            threads: self.threads,
            started: None,
        })
    }

    /// One cache for each tree, named by the hash of its path.
    fn cache_for(&self, root: &Path) -> Option<PathBuf> {
        if self.no_cache {
            return None;
        }
        if let Some(cache) = &self.cache {
            return Some(cache.clone());
        }
        let root = root.canonicalize().ok()?;
        let name = Hash::of(root.as_os_str().as_encoded_bytes()).to_string();
        Some(cache_directory()?.join("bellwether/scan").join(&name[..32]))
    }
}

fn cache_directory() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
}
