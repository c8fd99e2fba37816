//! The real process, killed with SIGKILL at random moments of everything that changes a site.
//!
//! Two sites go round and round through three versions. Each command is killed after a delay
//! drawn from how long that command takes here, until it ends by itself; what is found after
//! each kill must be wholly old or wholly new, and recoverable. A kill that hits only a process
//! that has ended is not counted.
//!
//! `BELLWETHER_KILLS` says how many kills (2,000 otherwise), `BELLWETHER_SEED` which ones. The
//! seed repeats the delays; what the scheduler makes of them is its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::place::{Ended, Place};
use crate::tree::{self, Luck, Snapshot};

const KILLS: u64 = 2000;
const SITES: [&str; 2] = ["shop", "blog"];
/// A command is let through after so many kills in a row.
const KILLS_IN_A_ROW: u32 = 4;

/// COMMIT-10.
#[test]
fn killed_at_any_moment_a_site_is_wholly_old_or_wholly_new_and_goes_on() {
    let number = |name, otherwise| {
        std::env::var(name).map_or(otherwise, |text: String| text.parse().expect(name))
    };
    let kills = number("BELLWETHER_KILLS", KILLS);
    let seed = number("BELLWETHER_SEED", u64::from(std::process::id()));
    println!("BELLWETHER_SEED={seed} BELLWETHER_KILLS={kills}");
    let place = Place::new();
    let versions = versions(&place);
    let left = AtomicU64::new(kills);
    thread::scope(|scope| {
        for (site, seed) in SITES.into_iter().zip(seed..) {
            let mut victim = Victim {
                place: &place,
                site,
                versions: &versions,
                luck: Luck::new(seed),
                left: &left,
                live: None,
                times: BTreeMap::new(),
                kills: BTreeMap::new(),
            };
            scope.spawn(move || {
                victim.publish_first();
                while left_any(victim.left) {
                    victim.round();
                }
                println!("{site}: kills {:?}, times {:?}", victim.kills, victim.times);
            });
        }
    });
    assert_eq!(left.load(Ordering::SeqCst), 0);
}

fn left_any(left: &AtomicU64) -> bool {
    left.load(Ordering::SeqCst) > 0
}

struct Version {
    id: String,
    tree: Snapshot,
    /// Brings it from nothing.
    full: String,
    /// Brings it from the one before, in the round.
    delta: String,
}

/// Three versions in a round, each some thirty files.
fn versions(place: &Place) -> Vec<Version> {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    for (number, name) in (0_u64..).zip(NAMES) {
        let root = place.at(name);
        fs::create_dir(&root).unwrap();
        for page in 0..20 {
            // A third of the pages is other in each version.
            let title = if page % 3 == number { name } else { "Same" };
            tree::page(&root, &format!("pages/{page}.html"), title, 1_700_000_000);
        }
        for file in 0..6 {
            let path = format!("{name}/{file}.bin");
            let noise = tree::noise(file, 3000);
            tree::file(&root, path, &noise, 0o644, 1_700_000_000);
        }
        let large = tree::noise(number / 2, 400_000);
        tree::file(&root, "large.bin", &large, 0o644, 1_700_000_000);
        let mode = [0o755, 0o700, 0o755][number as usize];
        tree::file(&root, "run", b"#!/bin/sh", mode, 1_700_000_000);
        tree::directory(&root, &format!("empty-{name}"), 0o755);
        std::os::unix::fs::symlink(format!("{name}/0.bin"), root.join("link")).unwrap();
    }
    let made = NAMES.iter().enumerate().map(|(number, name)| {
        let before = NAMES[(number + NAMES.len() - 1) % NAMES.len()];
        let (full, delta) = (format!("{name}.full"), format!("{name}.delta"));
        let planned = place.done(&format!("plan --new {name} --out {full}"));
        let again = place.done(&format!("plan --old {before} --new {name} --out {delta}"));
        assert_eq!(planned["target"], again["target"]);
        Version {
            id: planned["target"].as_str().unwrap().to_owned(),
            tree: Snapshot::of(&place.at(name)),
            full,
            delta,
        }
    });
    made.collect()
}

struct Victim<'a> {
    place: &'a Place,
    site: &'static str,
    versions: &'a [Version],
    luck: Luck,
    left: &'a AtomicU64,
    /// Which version is live.
    live: Option<usize>,
    /// How long each kind of command takes when it is let through.
    times: BTreeMap<&'static str, Duration>,
    kills: BTreeMap<&'static str, u32>,
}

impl Victim<'_> {
    fn publish_first(&mut self) {
        self.job(
            "stage",
            &format!("stage {} --allow-unsigned", self.versions[0].full),
            None,
        );
        self.job(
            "commit",
            &format!("commit {}", self.versions[0].id),
            Some(0),
        );
    }

    /// From one version to the next: updated, taken back, made live again, and what is older
    /// than that removed.
    fn round(&mut self) {
        let now = self.live.expect("the first is live");
        let next = (now + 1) % self.versions.len();
        let (old, new) = (&self.versions[now], &self.versions[next]);
        let (old_id, new_id) = (old.id.clone(), new.id.clone());
        // Every fourth brings everything.
        let (kind, file) = match self.luck.draw() % 4 {
            0 => ("stage", &new.full),
            _ => ("stage-delta", &new.delta),
        };
        self.job(kind, &format!("stage {file} --allow-unsigned"), None);
        self.job("commit", &format!("commit {new_id}"), Some(next));
        self.job("rollback", &format!("rollback --to {old_id}"), Some(now));
        self.job("commit", &format!("commit {new_id}"), Some(next));
        self.job("gc", "gc --keep 1 --grace 0", None);
    }

    /// Kills the command, looks, recovers and begins it again, until it is let through; then
    /// `live_after` is live, where the command changes that.
    fn job(&mut self, kind: &'static str, line: &str, live_after: Option<usize>) {
        let allowed = [self.live, live_after.or(self.live)];
        for _ in 0..KILLS_IN_A_ROW {
            if !self.kill(kind, line) {
                break;
            }
            self.look(line, &allowed);
            // Recovery is cut short, too.
            if self.luck.draw().is_multiple_of(2) && self.kill("recover", "recover") {
                self.look(&format!("{line}, then recover"), &allowed);
            }
            // Nobody must: whoever comes next sweeps first.
            if self.luck.draw().is_multiple_of(4) {
                continue;
            }
            self.recover(line);
            self.live = self.look(&format!("{line}, recovered"), &allowed);
        }
        self.let_through(kind, line);
        self.live = self.look(line, &[live_after.or(self.live)]);
        self.recover(line);
    }

    /// Runs the command and kills it. Tells whether the kill hit it at work.
    fn kill(&mut self, kind: &'static str, line: &str) -> bool {
        let Some(time) = self.times.get(kind).copied() else {
            return false;
        };
        if !left_any(self.left) {
            return false;
        }
        let nanoseconds = self.luck.draw() % (time.as_nanos() as u64).max(1);
        let started = Instant::now();
        let mut child = self.command(line).spawn().unwrap();
        // A moment drawn by lot is what this is about: no condition stands for it.
        thread::sleep(Duration::from_nanos(nanoseconds).saturating_sub(started.elapsed()));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.signal().is_none() {
            let ended = Ended::from(output);
            assert_eq!(ended.code, 0, "{}: {line}: {}", self.site, ended.err);
            return false;
        }
        *self.kills.entry(kind).or_default() += 1;
        let less = |left: u64| left.checked_sub(1);
        let _ = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        true
    }

    /// Runs the command undisturbed.
    fn let_through(&mut self, kind: &'static str, line: &str) {
        let started = Instant::now();
        let ended = Ended::from(self.command(line).output().unwrap());
        assert_eq!(ended.code, 0, "{}: {line}: {}", self.site, ended.err);
        let now = started.elapsed();
        let time = self.times.entry(kind).or_insert(now);
        // The last run counts half: the first one is slower than all others.
        *time = (*time + now) / 2;
    }

    fn recover(&mut self, when: &str) {
        self.let_through("recover", "recover");
        if self.live.is_some() {
            let ended = Ended::from(self.command("verify").output().unwrap());
            assert_eq!(
                ended.code, 0,
                "{}: {when}: {}{}",
                self.site, ended.out, ended.err
            );
        }
        self.assert_clean(when);
    }

    /// Which version is live: one of `allowed`, and wholly so.
    fn look(&self, when: &str, allowed: &[Option<usize>]) -> Option<usize> {
        let link = fs::read_link(self.at("live")).ok();
        let live = link.map(|link| {
            let name = link.file_name().unwrap().to_str().unwrap().to_owned();
            let found = self.versions.iter().position(|version| version.id == name);
            found.unwrap_or_else(|| panic!("{}: {when}: {name} is live", self.site))
        });
        assert!(
            allowed.contains(&live),
            "{}: {when}: {live:?}, not {allowed:?}",
            self.site
        );
        if let Some(live) = live {
            let what = format!("{}: {when}: live and version {live}", self.site);
            Snapshot::of(&self.at("live/")).assert_equal(&self.versions[live].tree, &what);
        }
        live
    }

    /// Whole releases that are known, their manifests, and nothing else.
    fn assert_clean(&self, when: &str) {
        let when = format!("{}: {when}", self.site);
        let releases = self.names("releases");
        assert_eq!(releases, self.names(".bellwether/manifests"), "{when}");
        for name in &releases {
            let found = self.versions.iter().find(|version| version.id == *name);
            let version = found.unwrap_or_else(|| panic!("{when}: stray {name}"));
            let what = format!("{when}: release {name} and its tree");
            Snapshot::of(&self.at("releases").join(name)).assert_equal(&version.tree, &what);
        }
        let known = |at: &str, known: &[&str]| {
            let stray: Vec<_> = self
                .names(at)
                .into_iter()
                .filter(|name| !known.contains(&name.as_str()))
                .collect();
            assert!(stray.is_empty(), "{when}: {stray:?} in {at}");
        };
        known(".", &["live", "releases", ".bellwether"]);
        known(
            ".bellwether",
            &[
                "manifests",
                "spool",
                "state.0",
                "state.1",
                "fingerprints",
                "lock",
            ],
        );
    }

    fn names(&self, path: &str) -> BTreeSet<String> {
        let listed = fs::read_dir(self.at(path)).unwrap();
        let name = |name: OsString| String::from_utf8_lossy(&name.into_vec()).into_owned();
        listed
            .map(|entry| name(entry.unwrap().file_name()))
            .collect()
    }

    fn command(&self, line: &str) -> std::process::Command {
        self.place.command(&format!("{line} --site {}", self.site))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.place.at("root").join(self.site).join(path)
    }
}
