use bellwether_agent::Request;
use clap::Args;

use super::Running;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Let the leader hand its office over to the best other node.
#[derive(Debug, Args)]
pub(crate) struct StepDown {
    #[command(flatten)]
    agent: Running,
}

impl StepDown {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        self.agent.order(Request::StepDown, output)
    }
}
