//! `cargo xtask fuzz TARGET`: looks for inputs that take new paths through what reads bytes from outside.
//!
//! libFuzzer, driven by the coverage instruments of the stable compiler. (cargo-fuzz sets the same flags, but wants a
//! nightly compiler for its sanitizers, which find nothing in safe code.) What crashes is put into the corpus at once,
//! where the tests find it; of the rest, the corpus takes what reaches code that nothing in it reached.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// The instruments: a counter for each edge, and a look at each comparison.
const INSTRUMENTS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Longer inputs show nothing that short ones do not, and are slower.
const INPUT_LEN_MAX: u32 = 4096;
/// What takes longer is a fault: work is bounded.
const INPUT_SECONDS_MAX: u32 = 20;

pub(crate) fn run(words: &[String]) -> Result<()> {
    let (target, seconds) = match words {
        [target] => (target, "60"),
        [target, option, seconds] if option == "--seconds" => (target, seconds.as_str()),
        _ => bail!("cargo xtask fuzz TARGET [--seconds N]; targets are the folders in fuzz/corpus"),
    };
    let corpus = shell::root().join("fuzz/corpus").join(target);
    if !corpus.is_dir() {
        bail!("no such target: there is no {}", corpus.display());
    }
    let binary = build()?;
    let work = shell::root().join("target/fuzz/work").join(target);
    let seeds = shell::root().join("target/fuzz/seeds").join(target);
    for folder in [&work, &seeds] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let engine = || {
        let mut command = Command::new(&binary);
        command.env("FUZZ_TARGET", target).env("FUZZ_SEEDS", &seeds);
        command.arg(format!("-max_len={INPUT_LEN_MAX}"));
        command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        command.arg(format!("-artifact_prefix={}/", corpus.display()));
        command
    };
    let mut search = engine();
    search.arg(format!("-max_total_time={seconds}"));
    search.arg("-print_final_stats=1");
    shell::run(search.args([&work, &corpus, &seeds]))
        .context("what it stumbled over lies in the corpus now; repair it and keep the file")?;
    // How often a path was taken matters to the search, but not to who keeps the files.
    let mut merge = engine();
    merge.args(["-set_cover_merge=1", "-use_counters=0"]);
    shell::run(merge.args([&corpus, &seeds, &work]))
}

fn build() -> Result<PathBuf> {
    let host = host()?;
    let folder = shell::root().join("target/fuzz");
    let mut command = shell::cargo();
    command.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTS.join("\x1f"));
    // Naming the target keeps the instruments out of build scripts.
    command.args([
        "build",
        "--locked",
        "--package=bellwether-fuzz",
        "--profile=fuzz",
    ]);
    command.arg(format!("--target={host}"));
    command.arg("--target-dir").arg(&folder);
    shell::run(&mut command)?;
    Ok(folder.join(Path::new(&host).join("fuzz/bellwether-fuzz")))
}

/// The platform that the compiler runs on.
fn host() -> Result<String> {
    let version = shell::read(Command::new("rustc").arg("-vV").current_dir(shell::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
