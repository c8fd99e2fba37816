//! The node's agent: run it, and speak with one that runs.

mod group;
mod keygen;
mod leave;
mod offer;
mod run;
mod status;
mod step_down;
mod transfers;

use std::fmt;
use std::path::PathBuf;

use bellwether_agent::{Answer, AskError, Request, ask};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    Run(Box<run::Run>),
    Status(status::StatusCommand),
    StepDown(step_down::StepDown),
    Leave(leave::Leave),
    Offer(offer::OfferCommand),
    Transfers(transfers::TransfersCommand),
    Group(group::GroupCommand),
    Keygen(keygen::Keygen),
}

impl AgentCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Run(command) => command.run(),
            Self::Status(command) => command.run(output),
            Self::StepDown(command) => command.run(output),
            Self::Leave(command) => command.run(output),
            Self::Offer(command) => command.run(output),
            Self::Transfers(command) => command.run(output),
            Self::Group(command) => command.run(output),
            Self::Keygen(command) => command.run(output),
        }
    }
}

/// The agent that is spoken with.
#[derive(Debug, Clone, Args)]
struct Running {
    /// The data directory of the agent.
    #[arg(long, env = "BELLWETHER_DATA")]
    data: PathBuf,
}

impl Running {
    fn ask(&self, request: Request) -> Result<Answer, Failure> {
        ask(&self.data, request).map_err(|error| match &error {
            AskError::Nobody { source, .. } => {
                let exit = match source.kind() {
                    std::io::ErrorKind::PermissionDenied => Exit::Permission,
                    _ => Exit::NotFound,
                };
                Failure::new(exit, error).hint(
                    "give the directory of an agent that runs; only its user may speak with it",
                )
            }
            AskError::Refused(_) => Failure::new(Exit::Conflict, error),
            AskError::Silent { .. } => {
                Failure::new(Exit::TimedOut, error).hint("its log says what it is doing; ask again")
            }
        })
    }

    /// For requests that are answered by having been done.
    fn order(&self, request: Request, output: &Output) -> Result<Exit, Failure> {
        match self.ask(request)? {
            Answer::Done(done) => output.report(&Done { done })?,
            Answer::Status(_) | Answer::Transfers(_) => {
                let error = "the agent gave another answer than was asked for";
                return Err(Failure::new(Exit::Failed, error)
                    .hint("use a command of the agent's own release"));
            }
        }
        Ok(Exit::Done)
    }
}

#[derive(Debug, Serialize)]
struct Done {
    done: String,
}

impl Report for Done {
    const KIND: &'static str = "agent.done";
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.done)
    }
}
