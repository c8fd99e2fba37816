use std::fmt;

use clap::{Args, CommandFactory};
use serde::Serialize;

use crate::cli::Cli;
use crate::exit::{Exit, ExitLine, TABLE};
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Explain a command, or `exit-codes`.
#[derive(Debug, Args)]
pub(crate) struct Help {
    /// A command, such as `content plan`, or `exit-codes`.
    topic: Vec<String>,
}

/// What the exit codes mean.
#[derive(Debug, Serialize)]
struct ExitCodes {
    exit_codes: [ExitLine; TABLE.len()],
}

impl Report for ExitCodes {
    const KIND: &'static str = "exit-codes";
}

impl fmt::Display for ExitCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code  name          meaning")?;
        self.exit_codes.iter().try_for_each(|line| {
            write!(f, "\n{:>4}  {:<12}  {}", line.code, line.name, line.meaning)
        })
    }
}

impl Help {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        if self.topic == ["exit-codes"] {
            output.report(&ExitCodes { exit_codes: TABLE })?;
            return Ok(Exit::Done);
        }
        let mut command = Cli::command();
        command.build();
        let mut topic = &mut command;
        for word in &self.topic {
            topic = topic.find_subcommand_mut(word).ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    format!("there is no command `{}`", self.topic.join(" ")),
                )
                .hint("`bellwether help` lists the commands; `exit-codes` is a topic too")
            })?;
        }
        topic
            .print_long_help()
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        Ok(Exit::Done)
    }
}
