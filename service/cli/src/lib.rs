//! The command line: one command a file. Data goes to standard output, talk to standard error;
//! every command also speaks JSON; every failure has its exit code (`bellwether help exit-codes`).

mod agent;
mod cli;
mod content;
mod control;
mod demo;
mod exit;
mod failure;
mod help;
mod keys;
mod log;
mod multicast;
mod output;
mod progress;
mod sim;

use std::process::ExitCode;

use clap::Parser;

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let output = output::Output::new(cli.talk);
    match cli.command.run(&output) {
        Ok(exit) => exit.into(),
        Err(failure) => output.fail(&failure),
    }
}
