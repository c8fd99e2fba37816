use bellwether_agent::Request;
use clap::Args;

use super::Running;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Let the node leave its segment and its agent end; a leader hands its office over first.
#[derive(Debug, Args)]
pub(crate) struct Leave {
    #[command(flatten)]
    agent: Running,
}

impl Leave {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        self.agent.order(Request::Leave, output)
    }
}
