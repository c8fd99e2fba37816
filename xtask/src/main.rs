//! The chores of the project, as commands that need nothing but cargo.
//!
//! The desk and the CI run the same commands, so what is green here is green there, and a change of the procedure is
//! reviewed like any other code. Shell scripts would do for the half of it; the other half (the arrows between crates,
//! the claims of the coverage list, processor time of a child) wants types and tests.
//!
//! It is built on every CI run before anything else, so it has three small dependencies, and of ours the lab alone.

mod bench;
mod broken;
mod check;
mod corpus;
mod fuzz;
mod packages;
mod random;
mod shell;
mod source;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test [ARGS…]     every test of the workspace; ARGS go to the runner
  check [NAME…]    fmt clippy doc deny floors purity coverage: all, or those named
  corpus [NAME…]   fetch the benchmark data into /corpus: pages bundle binaries sources database model
  fuzz TARGET      [--seconds N]: look for inputs that break what reads them; targets are the folders in fuzz/corpus
  broken [NAME…]   leave rules of the protocols out, one by one, and see that the simulator notices
  bench NAME       delta apply switch scan memory election: ours beside its peers, as a Markdown table
                   [--runs N] [--scale F] [--only WORD,…] [--fresh]
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match words.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match command {
        "test" => test::run(rest),
        "check" => check::run(rest),
        "corpus" => corpus::run(rest),
        "fuzz" => fuzz::run(rest),
        "broken" => broken::run(rest),
        "bench" => bench::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(anyhow::anyhow!("no such command: {other}\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
