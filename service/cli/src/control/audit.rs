use bellwether_api::routes::ListAudit;
use bellwether_api::{AuditInfo, Before};
use clap::Args;

use super::access::Access;
use super::moment::moment;
use super::shown::{Listing, Row};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Show who wanted what, and what came of it, the latest first.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// How many lines at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only those before this number.
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    #[command(flatten)]
    access: Access,
}

impl Row for AuditInfo {
    const ONE: &'static str = "audit.show";
    const LIST: &'static str = "audit.list";
    const HEADINGS: &'static [&'static str] =
        &["number", "time", "actor", "action", "target", "result"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.number.to_string(),
            moment(self.at_ms),
            self.actor.clone(),
            self.action.clone(),
            self.target.clone(),
            self.result.clone(),
        ]
    }
}

impl Audit {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let before = Before {
            before: self.before,
            limit: Some(self.limit),
        };
        let list = self.access.open()?.call::<ListAudit>(&(), &before, &())?;
        output.report(&Listing { items: list.items })?;
        Ok(Exit::Done)
    }
}
