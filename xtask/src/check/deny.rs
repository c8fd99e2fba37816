//! Licences, bans and sources of what we depend on, by cargo-deny with `deny.toml`.

use anyhow::{Context, Result};

use crate::shell;

/// Advisories need a database fetched from the network: their absence is said aloud and is no failure, for a machine
/// without that network must still be able to check the rest.
pub(super) fn check() -> Result<()> {
    if shell::found("cargo-deny").is_none() {
        let words = ["install", "cargo-deny", "--locked", "--quiet"];
        shell::run(shell::cargo().args(words))
            .context("cargo-deny is neither installed nor installable")?;
    }
    shell::run(shell::cargo().args([
        "deny",
        "--locked",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))?;
    advisories()
}

fn advisories() -> Result<()> {
    let outcome = shell::read(shell::cargo().args([
        "deny",
        "--locked",
        "--log-level",
        "error",
        "check",
        "advisories",
    ]));
    match outcome {
        Err(error) if format!("{error:#}").contains("failed to fetch advisory database") => {
            eprintln!(
                "check deny: the advisory database is out of reach, advisories were not checked"
            );
            Ok(())
        }
        outcome => outcome.map(|_| ()),
    }
}
