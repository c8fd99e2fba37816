//! The Debian packages that tests and benchmarks use beyond cargo, in one place.
//!
//! Installed where we may (root, and apt-get); elsewhere named, and whoever needs one skips and says so.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use anyhow::Result;

use crate::shell;

/// A program somebody here calls, and the package it comes in.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// File systems with reflinks, for the tests that mount one on a loop device; and what makes networks.
pub(crate) const FOR_TESTS: &[Tool] = &[
    tool("mkfs.btrfs", "btrfs-progs"),
    tool("mkfs.xfs", "xfsprogs"),
    tool("ip", "iproute2"),
    tool("nft", "nftables"),
    tool("ethtool", "ethtool"),
];

/// Package managers of the registries the corpus comes from.
pub(crate) const FOR_CORPUS: &[Tool] = &[
    tool("npm", "npm"),
    tool("python3", "python3"),
    tool("pip", "python3-pip"),
];

/// The peers of the benchmarks.
pub(crate) const FOR_BENCH: &[Tool] = &[
    tool("zstd", "zstd"),
    tool("xdelta3", "xdelta3"),
    tool("bsdiff", "bsdiff"),
    tool("casync", "casync"),
    tool("rsync", "rsync"),
    tool("b3sum", "b3sum"),
    tool("tar", "tar"),
    tool("find", "findutils"),
    tool("ip", "iproute2"),
    tool("nft", "nftables"),
    tool("ethtool", "ethtool"),
    tool("keepalived", "keepalived"),
    tool("serf", "serf"),
    tool("uftp", "uftp"),
    tool("udp-sender", "udpcast"),
    tool("strace", "strace"),
];

/// Installs what is missing, where we may. Never an error: the user of a tool knows best what its absence means.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    if !may_install() {
        eprintln!(
            "xtask: not installed, and we may not install: {}",
            missing.join(" ")
        );
        return Ok(());
    }
    // The lists of a fresh image are empty, those of a used one are good enough: ask for new ones only if need be.
    if install(&missing).is_err() {
        let _ = shell::run(&mut apt_get(&["update", "-qq"]));
        if let Err(error) = install(&missing) {
            eprintln!("xtask: going on without {}: {error:#}", missing.join(" "));
        }
    }
    Ok(())
}

/// `package version`, for every tool that is there.
pub(crate) fn versions(tools: &[Tool]) -> Vec<String> {
    let version = |tool: &Tool| {
        let mut query = shell::command(["dpkg-query", "-W", "-f=${Version}", tool.package]);
        shell::read(&mut query)
            .map(|version| format!("{} {version}", tool.package))
            .ok()
    };
    tools
        .iter()
        .filter(|tool| shell::found(tool.program).is_some())
        .filter_map(version)
        .collect()
}

fn missing(tools: &[Tool]) -> Vec<&'static str> {
    tools
        .iter()
        .filter(|tool| shell::found(tool.program).is_none())
        .map(|tool| tool.package)
        .collect()
}

fn may_install() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    root && shell::found("apt-get").is_some()
}

fn install(packages: &[&str]) -> Result<()> {
    let _quiet = NoServices::new();
    let mut command = apt_get(&["install", "-y", "-qq", "--no-install-recommends"]);
    shell::run(command.args(packages))
}

fn apt_get(words: &[&str]) -> std::process::Command {
    let mut command = shell::command(["apt-get"]);
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    // Standard output is kept for what the chore itself has to say.
    command.stdout(std::io::stderr());
    command
}

/// While it lives, packages that bring a service do not start it: we want the program, not a daemon on this machine.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    /// Debian asks this program whether a service may be started; 101 means no.
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn new() -> Self {
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(Self::POLICY);
        // Where there is one, the administrator has decided.
        let written = file.and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n"));
        Self {
            is_ours: written.is_ok(),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_file(Self::POLICY);
        }
    }
}
