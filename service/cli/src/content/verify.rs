use std::fmt;

use bellwether_disk::DifferenceKind;
use clap::Args;
use serde::Serialize;

use super::site::{SiteArgs, held_version};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Compare the live tree with what it should be; changed, missing and extra entries are named.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Another version that is held.
    version: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
}

#[derive(Debug, Serialize)]
struct Verified {
    version: String,
    intact: bool,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Difference {
    path: String,
    kind: &'static str,
}

impl Report for Verified {
    const KIND: &'static str = "content.verify";
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.intact { "intact" } else { "not intact" };
        write!(f, "{verdict}  {}", self.version)?;
        for Difference { path, kind } in &self.differences {
            write!(f, "\n  {kind:8} {path}")?;
        }
        Ok(())
    }
}

impl Verify {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let site = self.site.open()?;
        let version = self
            .version
            .map(|text| held_version(&site, &text))
            .transpose()?;
        let found = site.verify(version)?;
        let version = match version {
            Some(version) => Some(version),
            None => site.status()?.live,
        };
        let differences = found.iter().map(|difference| Difference {
            path: String::from_utf8_lossy(&difference.path).into_owned(),
            kind: match difference.kind {
                DifferenceKind::Missing => "missing",
                DifferenceKind::Extra => "extra",
                DifferenceKind::Kind => "kind",
                DifferenceKind::Mode => "mode",
                DifferenceKind::Content => "content",
            },
        });
        output.report(&Verified {
            version: version
                .map(|version| version.to_string())
                .unwrap_or_default(),
            intact: found.is_empty(),
            differences: differences.collect(),
        })?;
        Ok(if found.is_empty() {
            Exit::Done
        } else {
            Exit::BaseDamaged
        })
    }
}
