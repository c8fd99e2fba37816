use std::fmt;

use bellwether_agent::{Answer, Request, TransferStatus};
use clap::Args;
use serde::Serialize;

use super::Running;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Show what a running agent receives, holds and sends.
#[derive(Debug, Args)]
pub(crate) struct TransfersCommand {
    #[command(flatten)]
    agent: Running,
}

#[derive(Debug, Serialize)]
struct Shown {
    transfers: Vec<TransferStatus>,
}

impl Report for Shown {
    const KIND: &'static str = "agent.transfers";
}

impl TransfersCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self.agent.ask(Request::Transfers)? {
            Answer::Transfers(transfers) => output.report(&Shown { transfers })?,
            other => {
                let error = format!("not what was asked for: {other:?}");
                return Err(Failure::new(Exit::Failed, error));
            }
        }
        Ok(Exit::Done)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.transfers.is_empty() {
            return f.write_str("nothing is here, and nothing comes");
        }
        for (number, one) in self.transfers.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let state = match (&one.failure, &one.path) {
                (Some(why), _) => format!("will not come: {why}"),
                (None, Some(path)) => format!("whole, {}", path.display()),
                (None, None) => format!("{} of {} bytes proved", one.proved, one.bytes),
            };
            write!(f, "{}  {}  {state}", one.assignment, one.name)?;
            for receiver in &one.receivers {
                let fate = match &receiver.fate {
                    Some(fate) => fate.clone(),
                    None => format!("lacks {} pieces", receiver.lacking),
                };
                write!(f, "\n  {:<24}{fate}", receiver.name)?;
            }
        }
        Ok(())
    }
}
