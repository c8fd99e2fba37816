//! `cargo xtask test`: every test there is.

use anyhow::Result;
use bellwether_lab::Lab;

use crate::{packages, shell};

/// Examples in the documentation first, so that the last line is the summary of the runner of all other tests.
pub(crate) fn run(filters: &[String]) -> Result<()> {
    packages::ensure(packages::FOR_TESTS)?;
    // A test that is skipped says so itself, but runners show nothing of tests that pass.
    if let Err(reason) = Lab::open() {
        eprintln!("xtask: {reason}; tests that want one are skipped");
    }
    if filters.is_empty() {
        shell::run(shell::cargo().args(["test", "--workspace", "--locked", "--quiet", "--doc"]))?;
    }
    let mut command = shell::cargo();
    if shell::found("cargo-nextest").is_some() {
        command.args([
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ]);
    } else {
        eprintln!("xtask: cargo-nextest is not installed, its place takes cargo's own runner");
        command.args([
            "test",
            "--workspace",
            "--locked",
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
        ]);
    }
    shell::run(command.args(filters))
}
