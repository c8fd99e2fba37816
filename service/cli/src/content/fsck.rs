use std::fmt;

use bellwether_disk::Damage;
use bellwether_types::VersionId;
use clap::Args;
use serde::Serialize;

use super::site::SiteArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Hash everything that is held, and repair what can be repaired.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Serialize)]
struct Checked {
    files: usize,
    restored: Vec<Damaged>,
    lost: Vec<Damaged>,
    manifests_restored: Vec<String>,
    manifests_lost: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Damaged {
    version: String,
    path: String,
}

impl Report for Checked {
    const KIND: &'static str = "content.fsck";
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let restored = self.restored.len() + self.manifests_restored.len();
        let lost = self.lost.len() + self.manifests_lost.len();
        write!(
            f,
            "checked  {} files: {restored} restored, {lost} lost",
            self.files
        )?;
        for (manifests, damaged, fate) in [
            (&self.manifests_restored, &self.restored, "restored"),
            (&self.manifests_lost, &self.lost, "lost"),
        ] {
            for version in manifests {
                write!(f, "\n  {fate:8} the manifest of {}", &version[..12])?;
            }
            for Damaged { version, path } in damaged {
                write!(f, "\n  {fate:8} {path} of {}", &version[..12])?;
            }
        }
        if lost > 0 {
            write!(
                f,
                "\nstage each version that lost something again, by an assignment that starts from nothing"
            )?;
        }
        Ok(())
    }
}

impl Fsck {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let checked = self.site.open()?.fsck()?;
        let damaged = |damage: &Damage| Damaged {
            version: damage.version.to_string(),
            path: damage.path.to_string(),
        };
        let versions = |versions: &[VersionId]| versions.iter().map(VersionId::to_string).collect();
        let report = Checked {
            files: checked.files,
            restored: checked.mended.restored.iter().map(damaged).collect(),
            lost: checked.mended.lost.iter().map(damaged).collect(),
            manifests_restored: versions(&checked.manifests_restored),
            manifests_lost: versions(&checked.manifests_lost),
        };
        output.report(&report)?;
        Ok(
            if report.lost.is_empty() && report.manifests_lost.is_empty() {
                Exit::Done
            } else {
                Exit::BaseDamaged
            },
        )
    }
}
