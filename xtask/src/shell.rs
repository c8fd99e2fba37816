//! Running other programs, and saying which.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The top of the workspace, known since the build: a chore works from whichever folder it is called.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the workspace")
}

/// The cargo that started us, so that a chosen toolchain stays chosen.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A command, from its words.
pub(crate) fn command<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().expect("a command has a name"));
    command.args(words);
    command
}

/// Shows the command, runs it with our output as its own, and fails with it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs the command without a word and returns what it printed; its complaints belong to the error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            shown(command),
            output.status,
            complaint.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The release binary of a package of this workspace, built now.
pub(crate) fn built(package: &str) -> Result<PathBuf> {
    let words = ["build", "--release", "--locked", "--package", package];
    let messages = read(
        cargo()
            .args(words)
            .arg("--message-format=json-render-diagnostics"),
    )?;
    // Cargo says where it put the binary: the target folder may have been moved by a setting.
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == package)
            .then(|| message["executable"].as_str().map(PathBuf::from))?
    };
    let binary = messages.lines().find_map(executable);
    binary.with_context(|| format!("cargo built no {package}"))
}

/// Where the program of this name lies on the search path, if anywhere.
pub(crate) fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Administrators' tools lie where an ordinary user's path does not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let name = Path::new(&*words[0])
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    std::iter::once(&name)
        .chain(&words[1..])
        .map(|word| &**word)
        .collect::<Vec<_>>()
        .join(" ")
}
