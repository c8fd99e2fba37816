//! Pairs from crates.io: sources as they are, and the pages that rustdoc makes of some.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Pair, scratch};
use crate::shell;

struct Crate {
    name: &'static str,
    version: &'static str,
    features: &'static [&'static str],
    sha256: &'static str,
}

const fn one(
    name: &'static str,
    version: &'static str,
    features: &'static [&'static str],
    sha256: &'static str,
) -> Crate {
    Crate {
        name,
        version,
        features,
        sha256,
    }
}

/// Two libraries whose documentation has thousands of pages, each of which bears the version.
const PAGES: [[Crate; 2]; 2] = [
    [
        one(
            "tokio",
            "1.38.0",
            &["full"],
            "ba4f4a02a7a80d6f274636f0aa95c7e383b912d41fe721a31f29e29698585a4a",
        ),
        one(
            "rustix",
            "0.38.34",
            &["all-apis"],
            "70dc5ec042f7a43c4a73241207cecc9873a06d45debb38b329f8541d85c2730f",
        ),
    ],
    [
        one(
            "tokio",
            "1.38.1",
            &["full"],
            "eb2caba9f80616f438e09748d5acda951967e1ea58508ef53d9c6402485a46df",
        ),
        one(
            "rustix",
            "0.38.35",
            &["all-apis"],
            "a85d50532239da68e9addb745ba38ff4612a242c1c7ceea689c4bc7c2f43c36f",
        ),
    ],
];

const SOURCES: [[Crate; 3]; 2] = [
    [
        one(
            "diesel",
            "2.2.1",
            &[],
            "62d6dcd069e7b5fe49a302411f759d4cf1cf2c27fe798ef46fb8baefc053dd2b",
        ),
        one(
            "nalgebra",
            "0.32.5",
            &[],
            "3ea4908d4f23254adda3daa60ffef0f1ac7b8c3e9a864cf3cc154b251908a2ef",
        ),
        one(
            "image",
            "0.25.1",
            &[],
            "fd54d660e773627692c524beaad361aca785a4f9f5730ce91f42aabe5bce3d11",
        ),
    ],
    [
        one(
            "diesel",
            "2.2.2",
            &[],
            "bf97ee7261bb708fa3402fa9c17a54b70e90e3cb98afb3dc8999d5512cb03f94",
        ),
        one(
            "nalgebra",
            "0.32.6",
            &[],
            "7b5c17de023a86f59ed79891b2e5d5a94c705dbe904a5b5c9c952ea6221b03e4",
        ),
        one(
            "image",
            "0.25.2",
            &[],
            "99314c8a2152b8ddb211f924cdae532d8c5e4c8bb54728e12fff1b0cd5963a10",
        ),
    ],
];

/// Where the documentation is read: it spares the download of other platforms' bindings.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

pub(super) const DIGESTS_OF_SOURCES: [&str; 2] = [
    "7d0b3cdbe373352424db1e7bd716b0228ba3a69b35618ed8af24b877522a51f5",
    "16817f5db24103b87d22d0d0c8cd8579cca511b0d21d27ce229be159d5048728",
];

/// A documentation site before and after a release of what it documents.
pub(super) fn pages(pair: &Pair) -> Result<()> {
    let target = scratch("pages-target")?;
    for (tree, crates) in [&pair.old, &pair.new].into_iter().zip(&PAGES) {
        let project = project("pages", crates)?;
        let _ = std::fs::remove_dir_all(target.join("doc"));
        let mut command = cargo("doc", &project);
        command
            .args(["--no-deps", "--quiet", "--target-dir"])
            .arg(&target);
        // Warnings of other people's documentation are none of ours.
        command
            .env("RUSTDOCFLAGS", "--cap-lints=allow")
            .env("RUSTFLAGS", "--cap-lints=allow");
        for one in crates {
            command.args(["--package", one.name]);
        }
        shell::run(&mut command)?;
        std::fs::remove_dir(tree)?;
        std::fs::rename(target.join("doc"), tree)?;
        // Cargo's lock file, and a file about the build: neither is a page.
        for file in [".lock", ".rustdoc_fingerprint.json"] {
            let _ = std::fs::remove_file(tree.join(file));
        }
    }
    Ok(())
}

pub(super) fn sources(pair: &Pair) -> Result<()> {
    for (tree, crates) in [&pair.old, &pair.new].into_iter().zip(&SOURCES) {
        let project = project("sources", crates)?;
        for (name, folder) in folders(&project, crates)? {
            shell::read(
                shell::command(["cp", "-r"])
                    .arg(&folder)
                    .arg(tree.join(name)),
            )?;
            // Cargo's own mark that it unpacked the crate to the end.
            let _ = std::fs::remove_file(tree.join(name).join(".cargo-ok"));
        }
    }
    Ok(())
}

/// A project that does nothing but depend on these crates, downloaded and checked against their pins.
fn project(name: &str, crates: &[Crate]) -> Result<PathBuf> {
    let project = scratch(name)?;
    let dependencies: String = crates
        .iter()
        .map(|one| {
            format!(
                "{} = {{ version = \"={}\", features = {:?} }}\n",
                one.name, one.version, one.features
            )
        })
        .collect();
    // A workspace of its own: this folder lies below ours.
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{dependencies}"
    );
    std::fs::create_dir(project.join("src"))?;
    std::fs::write(project.join("src/lib.rs"), "")?;
    std::fs::write(project.join("Cargo.toml"), manifest)?;
    shell::run(cargo("fetch", &project).args(["--target", PLATFORM]))?;
    let lock = std::fs::read_to_string(project.join("Cargo.lock"))?;
    for one in crates {
        // Cargo verifies what it downloads against the checksum in the lock file; this one says the checksum is ours.
        let found = checksum(&lock, one)
            .with_context(|| format!("{} {} is not locked", one.name, one.version))?;
        if found != one.sha256 {
            bail!(
                "{} {} is {found}, pinned is {}",
                one.name,
                one.version,
                one.sha256
            );
        }
    }
    Ok(project)
}

fn checksum<'a>(lock: &'a str, one: &Crate) -> Option<&'a str> {
    let head = format!("name = \"{}\"\nversion = \"{}\"\n", one.name, one.version);
    let entry = lock
        .split("[[package]]")
        .find(|entry| entry.trim_start().starts_with(&head))?;
    entry.split_once("checksum = \"")?.1.split('"').next()
}

/// Where cargo unpacked them.
fn folders(project: &Path, crates: &[Crate]) -> Result<Vec<(&'static str, PathBuf)>> {
    let printed = shell::read(cargo("metadata", project).args([
        "--format-version=1",
        "--filter-platform",
        PLATFORM,
    ]))?;
    let metadata: Value = serde_json::from_str(&printed)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    let folder = |one: &Crate| {
        let is_it =
            |package: &&Value| package["name"] == one.name && package["version"] == one.version;
        let manifest = packages.iter().find(is_it)?["manifest_path"].as_str()?;
        Some((one.name, Path::new(manifest).parent()?.to_owned()))
    };
    crates
        .iter()
        .map(|one| folder(one).with_context(|| format!("cargo has no {}", one.name)))
        .collect()
}

fn cargo(verb: &str, project: &Path) -> Command {
    let mut command = shell::cargo();
    command
        .arg(verb)
        .arg("--manifest-path")
        .arg(project.join("Cargo.toml"));
    command
}
