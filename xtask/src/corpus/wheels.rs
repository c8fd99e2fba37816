//! A pair from PyPI: executables and shared libraries out of wheels, which keep native code of every old version.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Pair, scratch, tree};
use crate::shell;

/// (requirement, SHA-256 of its wheel): compiled from Rust, C and Cython; one executable, the others libraries.
const WHEELS: [[(&str, &str); 4]; 2] = [
    [
        (
            "ruff==0.4.8",
            "d05f8d6f0c3cce5026cecd83b7a143dcad503045857bc49662f736437380ad45",
        ),
        (
            "psycopg-binary==3.1.18",
            "7121acc783c4e86d2d320a7fb803460fab158a7f0a04c5e8c5d49065118c1e73",
        ),
        (
            "lxml==5.2.1",
            "764b521b75701f60683500d8621841bec41a65eb739b8466000c6fdbc256c240",
        ),
        (
            "cryptography==42.0.7",
            "0d563795db98b4cd57742a78a288cdbdc9daedac29f2239793071fe114f13785",
        ),
    ],
    [
        (
            "ruff==0.4.9",
            "88bffe9c6a454bf8529f9ab9091c99490578a593cc9f9822b7fc065ee0712a06",
        ),
        (
            "psycopg-binary==3.1.19",
            "0106e42b481677c41caa69474fe530f786dcef88b11b70000f0e45a03534bc8f",
        ),
        (
            "lxml==5.2.2",
            "303f540ad2dddd35b92415b74b900c749ec2010e703ab3bfd6660979d01fd4ed",
        ),
        (
            "cryptography==42.0.8",
            "a0608251135d0e03111152e41f0cc2392d1e74e35703960d4190b2e0f4ca9c70",
        ),
    ],
];

pub(super) const DIGESTS: [&str; 2] = [
    "e89adea31346fb28b2d80c9ad0bf13590edcfaa8df182e7d45a07ad34398365d",
    "4be8323a81b3b63ee522d3a21d649cde0c03f059dc3514d8276f75aa1f0fcd79",
];

/// The machine the wheels are for is fixed, so that every machine measures on the same bytes.
const PLATFORM: &[&str] = &[
    "--platform=manylinux2014_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--python-version=311",
    "--implementation=cp",
    "--only-binary=:all:",
];

pub(super) fn binaries(pair: &Pair) -> Result<()> {
    for (tree, wheels) in [&pair.old, &pair.new].into_iter().zip(&WHEELS) {
        let folder = scratch("wheels")?;
        let list: String = wheels
            .iter()
            .map(|(wanted, sha256)| format!("{wanted} --hash=sha256:{sha256}\n"))
            .collect();
        let list_file = folder.join("requirements.txt");
        std::fs::write(&list_file, list)?;
        let words = [
            "python3",
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ];
        let mut download = shell::command(words);
        download
            .args(PLATFORM)
            .args(["--require-hashes", "-d"])
            .arg(&folder)
            .arg("-r")
            .arg(&list_file);
        shell::run(download.stdout(std::io::stderr()))?;
        for (wanted, _) in wheels {
            let name = wanted
                .split("==")
                .next()
                .unwrap_or(wanted)
                .replace('-', "_");
            let unpacked = folder.join(&name);
            let wheel = wheel(&folder, &name)?;
            shell::read(
                shell::command(["python3", "-m", "zipfile", "-e"])
                    .arg(&wheel)
                    .arg(&unpacked),
            )?;
            keep_native_code(&unpacked, &tree.join(&name))?;
        }
    }
    Ok(())
}

fn wheel(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut entries = folder
        .read_dir()?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.ends_with(".whl") && file.starts_with(&format!("{name}-"))
    };
    entries
        .find(is_it)
        .with_context(|| format!("pip brought no wheel of {name}"))
}

fn keep_native_code(unpacked: &Path, kept: &Path) -> Result<()> {
    for file in tree::files(unpacked)? {
        let mut magic = [0; 4];
        let is_elf = File::open(unpacked.join(&file))?
            .read_exact(&mut magic)
            .is_ok()
            && magic == *b"\x7fELF";
        if is_elf {
            // Folders that bear the version (`ruff-0.4.8.data`) would make every file of the new tree a new one.
            let target: PathBuf = file
                .iter()
                .filter(|part| !part.to_string_lossy().ends_with(".data"))
                .collect();
            let target = kept.join(target);
            std::fs::create_dir_all(target.parent().context("a file lies in a folder")?)?;
            std::fs::rename(unpacked.join(&file), &target)?;
        }
    }
    Ok(())
}
