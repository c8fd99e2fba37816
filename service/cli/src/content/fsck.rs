use std::fmt;

use bellwether_disk::Damage;
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
    objects: usize,
    restored: Vec<Damaged>,
    lost: Vec<Damaged>,
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
        let (restored, lost) = (self.restored.len(), self.lost.len());
        write!(
            f,
            "checked  {} objects: {restored} restored, {lost} lost",
            self.objects
        )?;
        for (damaged, fate) in [(&self.restored, "restored"), (&self.lost, "lost")] {
            for Damaged { version, path } in damaged {
                write!(f, "\n  {fate:8} {path} of {}", &version[..12])?;
            }
        }
        if lost > 0 {
            write!(
                f,
                "\nstage an assignment that starts from nothing to bring back what is lost"
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
        let report = Checked {
            objects: checked.objects,
            restored: checked.mended.restored.iter().map(damaged).collect(),
            lost: checked.mended.lost.iter().map(damaged).collect(),
        };
        output.report(&report)?;
        Ok(if report.lost.is_empty() {
            Exit::Done
        } else {
            Exit::BaseDamaged
        })
    }
}
