//! What others need to bring a tree from old to new: bytes on the way, and processor time of the sender.
//!
//! Each gets the best form we know of it. Tars are made beforehand and cost the peers nothing; tools that work on
//! single files are charged a name and two lengths for each, about what the smallest container would take.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cost::{self, Cost};
use crate::corpus::{Pair, tree};
use crate::shell::{self, command};

/// A pair made ready for the peers.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) old: PathBuf,
    pub(super) new: PathBuf,
    /// Files of both trees whose bytes differ, and files of the new one alone.
    pub(super) changed: Vec<PathBuf>,
    pub(super) added: Vec<PathBuf>,
    pub(super) bytes: u64,
    folder: PathBuf,
    tars: [PathBuf; 2],
    digest: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) bytes: u64,
    pub(super) cost: Cost,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) label: &'static str,
    program: &'static str,
    run: fn(&Case) -> Result<Outcome>,
    /// Speed is part of a promise: measured in every run, several times.
    pub(super) is_timed: bool,
}

pub(super) const ZSTD_3: &str = "zstd -3 --long=31 --patch-from";
pub(super) const ZSTD_19: &str = "zstd -19 --long=31 --patch-from";

pub(super) const PEERS: &[Peer] = &[
    Peer {
        label: ZSTD_3,
        program: "zstd",
        run: |case| zstd_on_tar(case, "-3"),
        is_timed: true,
    },
    Peer {
        label: ZSTD_19,
        program: "zstd",
        run: |case| zstd_on_tar(case, "-19"),
        is_timed: true,
    },
    Peer {
        label: "zstd -19 --patch-from per file",
        program: "zstd",
        run: zstd_per_file,
        is_timed: false,
    },
    Peer {
        label: "tar, zstd -19 --long=31",
        program: "zstd",
        run: whole,
        is_timed: false,
    },
    Peer {
        label: "xdelta3 -9 -S lzma -B",
        program: "xdelta3",
        run: xdelta3_on_tar,
        is_timed: false,
    },
    Peer {
        label: "xdelta3 -S none per file, one zstd -19",
        program: "xdelta3",
        run: xdelta3_in_one_stream,
        is_timed: false,
    },
    Peer {
        label: "bsdiff per file",
        program: "bsdiff",
        run: bsdiff_per_file,
        is_timed: false,
    },
    Peer {
        label: "casync",
        program: "casync",
        run: casync,
        is_timed: false,
    },
    Peer {
        label: "rsync -az",
        program: "rsync",
        run: rsync,
        is_timed: false,
    },
];

impl Peer {
    pub(super) fn is_there(&self) -> bool {
        shell::found(self.program).is_some()
    }

    pub(super) fn measure(&self, case: &Case) -> Result<Outcome> {
        (self.run)(case).with_context(|| self.label)
    }

    /// Tells this peer's result on this case from every other: version of the tool and bytes of the trees are in it.
    pub(super) fn key(&self, case: &Case) -> String {
        let version = shell::read(&mut command([
            "dpkg-query",
            "-W",
            "-f=${Version}",
            self.program,
        ]))
        .unwrap_or_default();
        format!("{}-{version}-{}", self.label, case.digest)
    }
}

impl Case {
    pub(super) fn new(pair: &Pair, folder: PathBuf) -> Result<Self> {
        let tars = ["old.tar", "new.tar"].map(|name| folder.join(name));
        for (from, tar) in [&pair.old, &pair.new].into_iter().zip(&tars) {
            let words = [
                "tar",
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
                "-cf",
            ];
            shell::read(command(words).arg(tar).arg("-C").arg(from).arg("."))?;
        }
        let sums = shell::read(command(["sha256sum"]).args(&tars))?;
        let digest = sums.lines().map(|line| &line[..16]).collect();
        let (mut changed, mut added, mut bytes) = (Vec::new(), Vec::new(), 0);
        for file in tree::files(&pair.new)? {
            let (old, new) = (pair.old.join(&file), pair.new.join(&file));
            bytes += new.metadata()?.len();
            if !old.exists() {
                added.push(file);
            } else if !tree::same(&old, &new)? {
                changed.push(file);
            }
        }
        Ok(Self {
            old: pair.old.clone(),
            new: pair.new.clone(),
            changed,
            added,
            bytes,
            folder,
            tars,
            digest,
        })
    }

    fn out(&self) -> PathBuf {
        self.folder.join("peer.out")
    }

    /// Sums what `patch` makes of each changed file, and `alone` of each added one.
    fn per_file(
        &self,
        patch: impl Fn(&Path, &Path, &Path) -> Vec<OsString>,
        mut use_it: impl FnMut(&Path, &Path) -> Result<u64>,
    ) -> Result<Outcome> {
        let (mut bytes, mut cost) = (0, Cost::default());
        let out = self.out();
        for (files, is_changed) in [(&self.changed, true), (&self.added, false)] {
            for file in files {
                let (old, new) = (self.old.join(file), self.new.join(file));
                let words = if is_changed {
                    patch(&old, &new, &out)
                } else {
                    alone(&new, &out)
                };
                cost = cost + cost::of(&mut command(words))?;
                bytes += use_it(file, &out)?;
            }
        }
        Ok(Outcome { bytes, cost })
    }
}

/// Measures one command that writes the case's output file.
fn one(case: &Case, words: Vec<OsString>) -> Result<Outcome> {
    let cost = cost::of(&mut command(words))?;
    Ok(Outcome {
        bytes: case.out().metadata()?.len(),
        cost,
    })
}

fn words(options: &[&str], rest: &[&Path]) -> Vec<OsString> {
    options
        .iter()
        .map(OsString::from)
        .chain(rest.iter().map(|path| path.into()))
        .collect()
}

/// A file without a base, by the strongest setting that all share.
fn alone(new: &Path, out: &Path) -> Vec<OsString> {
    words(&["zstd", "-qq", "-f", "-19", "-o"], &[out, new])
}

/// What a container would add to a patch: the name and two lengths.
fn with_name(file: &Path, out: &Path) -> Result<u64> {
    Ok(out.metadata()?.len() + file.as_os_str().len() as u64 + 8)
}

fn whole(case: &Case) -> Result<Outcome> {
    one(
        case,
        words(
            &["zstd", "-qq", "-f", "-19", "--long=31", "-o"],
            &[&case.out(), &case.tars[1]],
        ),
    )
}

fn zstd_on_tar(case: &Case, level: &str) -> Result<Outcome> {
    let [old, new] = &case.tars;
    one(case, zstd(level, old, new, &case.out()))
}

fn zstd_per_file(case: &Case) -> Result<Outcome> {
    case.per_file(|old, new, out| zstd("-19", old, new, out), with_name)
}

fn zstd(level: &str, old: &Path, new: &Path, out: &Path) -> Vec<OsString> {
    let mut base = OsString::from("--patch-from=");
    base.push(old);
    let mut words = words(
        &["zstd", "-qq", "-f", level, "--long=31", "-o"],
        &[out, new],
    );
    words.push(base);
    words
}

fn xdelta3_on_tar(case: &Case) -> Result<Outcome> {
    let [old, new] = &case.tars;
    let window = window(old)?;
    one(
        case,
        words(
            &[
                "xdelta3", "-e", "-f", "-9", "-S", "lzma", "-B", &window, "-s",
            ],
            &[old, new, &case.out()],
        ),
    )
}

/// The source window that sees all of the old file: a power of two.
fn window(old: &Path) -> Result<String> {
    Ok(old
        .metadata()?
        .len()
        .next_power_of_two()
        .max(1 << 20)
        .to_string())
}

/// Matching file by file, then one stream of compression over all that was found.
fn xdelta3_in_one_stream(case: &Case) -> Result<Outcome> {
    let stream = case.folder.join("peer.stream");
    let mut file = std::fs::File::create(&stream)?;
    let patch = |old: &Path, new: &Path, out: &Path| {
        let window = window(old).unwrap_or_default();
        words(
            &[
                "xdelta3", "-e", "-f", "-9", "-S", "none", "-n", "-A", "-B", &window, "-s",
            ],
            &[old, new, out],
        )
    };
    let (mut bytes, mut cost) = (Vec::new(), Cost::default());
    for name in case.changed.iter().chain(&case.added) {
        let (old, new, out) = (case.old.join(name), case.new.join(name), case.out());
        bytes.extend_from_slice(name.as_os_str().as_encoded_bytes());
        bytes.push(0);
        if old.exists() {
            cost = cost + cost::of(&mut command(patch(&old, &new, &out)))?;
            bytes.append(&mut std::fs::read(&out)?);
        } else {
            bytes.append(&mut std::fs::read(&new)?);
        }
        file.write_all(&bytes)?;
        bytes.clear();
    }
    drop(file);
    let packed = one(
        case,
        words(
            &["zstd", "-qq", "-f", "-19", "--long=27", "-o"],
            &[&case.out(), &stream],
        ),
    )?;
    Ok(Outcome {
        bytes: packed.bytes,
        cost: cost + packed.cost,
    })
}

fn bsdiff_per_file(case: &Case) -> Result<Outcome> {
    case.per_file(
        |old, new, out| words(&["bsdiff"], &[old, new, out]),
        with_name,
    )
}

/// New chunks and the new index are what travels to a node whose store holds the old tree's chunks.
fn casync(case: &Case) -> Result<Outcome> {
    let stores = ["old", "new"].map(|name| case.folder.join(format!("casync-{name}.castr")));
    let indices = ["old", "new"].map(|name| case.folder.join(format!("casync-{name}.caidx")));
    let mut cost = Cost::default();
    for ((store, index), tree) in stores.iter().zip(&indices).zip([&case.old, &case.new]) {
        std::fs::create_dir_all(store)?;
        let mut store_option = OsString::from("--store=");
        store_option.push(store);
        let mut make = command([
            "casync",
            "make",
            "--without=all",
            "--with=permissions",
            "--with=symlinks",
        ]);
        // What counts is the new tree; the old one was made when it was the new one.
        cost = cost::of(make.arg(store_option).arg(index).arg(tree))?;
    }
    let mut bytes = indices[1].metadata()?.len();
    for chunk in tree::files(&stores[1])? {
        if !stores[0].join(&chunk).exists() {
            bytes += stores[1].join(&chunk).metadata()?.len();
        }
    }
    for store in &stores {
        std::fs::remove_dir_all(store)?;
    }
    Ok(Outcome { bytes, cost })
}

/// Both directions of the conversation count, and the work of both ends.
fn rsync(case: &Case) -> Result<Outcome> {
    let remote = case.folder.join("rsync-remote");
    shell::read(command(["cp", "-a"]).arg(&case.old).arg(&remote))?;
    // Called in place of ssh, with a host that it drops: the other end runs here.
    let shell_script = case.folder.join("here");
    std::fs::write(&shell_script, "#!/bin/sh\nshift\nexec \"$@\"\n")?;
    shell::read(command(["chmod", "+x"]).arg(&shell_script))?;
    let log = case.folder.join("rsync.log");
    let script = r#"rsync -az --delete --no-whole-file --stats -e "$1" "$2/" "host:$3/" > "$4""#;
    let cost = cost::of(command(["sh", "-c", script, "sh"]).args([
        &shell_script,
        &case.new,
        &remote,
        &log,
    ]))?;
    let stats = std::fs::read_to_string(&log)?;
    let count = |what: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(what))?;
        line.replace(',', "").trim().parse::<u64>().ok()
    };
    let (sent, received) = (count("Total bytes sent:"), count("Total bytes received:"));
    let bytes = sent
        .zip(received)
        .map(|(sent, received)| sent + received)
        .context("rsync printed no statistics")?;
    std::fs::remove_dir_all(&remote)?;
    Ok(Outcome { bytes, cost })
}
