use std::path::PathBuf;

use bellwether_agent::{OfferRequest, Request};
use clap::Args;

use super::Running;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Let the leader bring an assignment to all members, or to a content group; prints its id. `agent transfers` says how far
/// that is.
#[derive(Debug, Args)]
pub(crate) struct OfferCommand {
    #[command(flatten)]
    agent: Running,
    /// The assignment's file.
    file: PathBuf,
    /// The content group that is to have it.
    #[arg(long)]
    group: Option<String>,
    /// Whose answer is waited for, by name; all of them unless given.
    #[arg(long, value_delimiter = ',')]
    members: Vec<String>,
}

impl OfferCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let file = std::path::absolute(&self.file)
            .map_err(|error| Failure::new(Exit::of_io(&error), error))?;
        let request = OfferRequest {
            file,
            group: self.group,
            members: self.members,
        };
        self.agent.order(Request::Offer(request), output)
    }
}
