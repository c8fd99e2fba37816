//! `cargo xtask check`: what must hold of the code without running it.
//!
//! All checks run even when one fails: the writer wants the whole list, not the first line of it.

mod coverage;
mod deny;
mod floors;
mod purity;

use anyhow::{Context, Result, bail};

use crate::shell;

type Check = fn() -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("fmt", fmt),
    ("floors", floors::check),
    ("purity", purity::check),
    ("coverage", coverage::check),
    ("clippy", clippy),
    ("doc", doc),
    ("deny", deny::check),
];

pub(crate) fn run(names: &[String]) -> Result<()> {
    if let Some(unknown) = names
        .iter()
        .find(|name| CHECKS.iter().all(|(known, _)| known != name))
    {
        bail!("no such check: {unknown}");
    }
    let chosen = CHECKS
        .iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name));
    let mut failed = Vec::new();
    for (name, check) in chosen {
        match check() {
            Ok(()) => eprintln!("check {name}: ok"),
            Err(error) => {
                eprintln!("check {name}: {error:#}");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("failed: {}", failed.join(" "))
    }
}

fn fmt() -> Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--", "--check", "-l"]))
}

fn clippy() -> Result<()> {
    let words = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    shell::run(shell::cargo().args(words))
}

fn doc() -> Result<()> {
    let words = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
        "--quiet",
    ];
    shell::run(
        shell::cargo()
            .args(words)
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// What cargo knows about the workspace: its crates, and everything they depend on.
fn metadata() -> Result<serde_json::Value> {
    let text = shell::read(shell::cargo().args(["metadata", "--format-version=1", "--locked"]))?;
    serde_json::from_str(&text).context("cargo metadata printed no JSON")
}

/// Fails with all the faults, one a line.
fn no_faults(faults: &[String]) -> Result<()> {
    if faults.is_empty() {
        Ok(())
    } else {
        bail!("{} fault(s)\n  {}", faults.len(), faults.join("\n  "))
    }
}
