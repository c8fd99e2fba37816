//! What the tests of this crate share: trees as values, a site on any disk, and the crash matrix.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bellwether_content::{Entry, File, Manifest, Mode, Timestamp};
use bellwether_disk::disk::{Kind, MemoryOptions};
use bellwether_disk::{
    Disk, MemoryDisk, Mended, Options, Recovery, Site, SiteError, StageRequest, Status, Stopping,
};
use bellwether_types::{Hash, Serial, Term, TreePath, VersionId};

/// A tree with its content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<TreePath, Entry>,
    contents: BTreeMap<Hash, Vec<u8>>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.file_with_mode(path, content, 0o644)
    }

    pub(crate) fn file_with_mode(
        mut self,
        path: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
        mode: u32,
    ) -> Self {
        let content = content.as_ref();
        let hash = Hash::of(content);
        self.contents.insert(hash, content.to_vec());
        let file = File {
            mode: Mode::new(mode).unwrap(),
            owner: None,
            size: content.len() as u64,
            hash,
            // First seen: the same for the same content.
            modified: Timestamp::new(1_600_000_000 + i64::from(hash.0[0]), 0).unwrap(),
        };
        self.put(path.as_ref(), Entry::File(file))
    }

    pub(crate) fn directory(self, path: impl AsRef<[u8]>, mode: u32) -> Self {
        let mode = Mode::new(mode).unwrap();
        self.put(path.as_ref(), Entry::Directory { mode, owner: None })
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        let target = target.as_bytes().into();
        self.put(
            path.as_bytes(),
            Entry::Symlink {
                target,
                owner: None,
            },
        )
    }

    fn put(mut self, path: &[u8], entry: Entry) -> Self {
        let path = TreePath::new(path).unwrap();
        let mut above = path.parent();
        while let Some(directory) = above {
            above = directory.parent();
            let mode = Mode::new(0o755).unwrap();
            self.entries
                .entry(directory)
                .or_insert(Entry::Directory { mode, owner: None });
        }
        self.entries.insert(path, entry);
        self
    }

    pub(crate) fn manifest(&self) -> Manifest {
        Manifest::from_entries(self.entries.clone()).unwrap()
    }

    pub(crate) fn version(&self) -> VersionId {
        self.manifest().version()
    }

    pub(crate) fn content(&self, hash: &Hash) -> &[u8] {
        &self.contents[hash]
    }

    /// Stages the tree: content that the base lacks is written.
    pub(crate) fn stage<D: Disk>(
        &self,
        site: &Site<D>,
        serial: u64,
        base: Option<&Self>,
    ) -> Result<VersionId, SiteError> {
        let staging = site.stage(StageRequest {
            serial: Serial(serial),
            term: Term(1),
            base: base.map(Self::version),
            bytes_new: 0,
        })?;
        let manifest = Arc::new(self.manifest());
        let base = Arc::clone(staging.base_manifest());
        let held: BTreeSet<Hash> = base.files().map(|(_, file)| file.hash).collect();
        staging.create_directories(manifest.iter())?;
        let mut writer = staging.writer();
        let mut written = Vec::new();
        for (number, (path, entry)) in manifest.iter().enumerate() {
            if let Entry::File(file) = entry
                && !held.contains(&file.hash)
            {
                let mut new = writer.create(path, file)?;
                for piece in self.contents[&file.hash].chunks(1000) {
                    new.write(piece)?;
                }
                assert_eq!(new.finish()?, (file.size, file.hash));
                written.push(number);
            }
        }
        staging.finish(Arc::clone(&manifest), &manifest.encode(), &written)
    }
}

static NOW: AtomicI64 = AtomicI64::new(1_700_000_000);

/// One thread, and a clock that moves a second each time it is looked at.
pub(crate) fn options() -> Options {
    Options {
        threads: 1,
        clock: Arc::new(|| Timestamp::new(NOW.fetch_add(1, Ordering::Relaxed), 0).unwrap()),
        ..Options::default()
    }
}

pub(crate) fn site<D: Disk>(disk: D) -> Site<D> {
    Site::open(disk, "shop".parse().unwrap(), options())
}

pub(crate) fn memory() -> MemoryDisk {
    MemoryDisk::new(MemoryOptions::default())
}

/// Three versions: B changes, removes, moves, links and empties; C goes on from there.
pub(crate) fn trees() -> [Tree; 3] {
    let a = Tree::new()
        .file("index.html", "one")
        .file("same", "unchanged")
        .file("twin", "unchanged")
        .file("gone", "gone")
        .file("moved/from", "moved content")
        .directory("empty", 0o755)
        .link("link", "index.html");
    let b = Tree::new()
        .file("index.html", "two")
        .file("same", "unchanged")
        .file("twin", "unchanged")
        .file("moved/to/here", "moved content")
        .file_with_mode("run", "program", 0o755)
        .directory("closed", 0o500)
        .file("closed/in", "within")
        .link("link", "same");
    let c = Tree::new()
        .file("index.html", "three")
        .file_with_mode("same", "unchanged", 0o600)
        .file("twin", "unchanged")
        .file_with_mode("run", "program", 0o755)
        .file("big", vec![7; 2500]);
    [a, b, c]
}

/// A disk on which `versions` were staged and committed in order.
pub(crate) fn with_versions(disk: &MemoryDisk, versions: &[&Tree]) {
    let site = site(disk.clone());
    let mut base = None;
    for (serial, tree) in (1..).zip(versions) {
        tree.stage(&site, serial, base).unwrap();
        site.commit(None).unwrap();
        base = Some(*tree);
    }
    disk.sync_all().unwrap();
}

/// Something to be cut short at every step.
pub(crate) trait Job {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError>;
}

/// What must hold of a job that was cut short anywhere.
pub(crate) struct Matrix<'a> {
    /// What the job finds; everything on it is durable.
    pub(crate) before: &'a MemoryDisk,
    /// How often the memory of each step's crash is drawn.
    pub(crate) seeds: u64,
    /// Whether the job finds held versions damaged, and restores them.
    pub(crate) damaged: bool,
}

impl Matrix<'_> {
    /// Stops `job` before each of its steps, forgets in many ways, and demands: what is live is
    /// wholly what was live before or will be after; every held version is whole; nothing is
    /// left over; and the job, begun again, with or without a recovery, ends as if it had not
    /// been disturbed. Once it succeeded, nothing undoes it. Returns how many steps it takes.
    pub(crate) fn check(&self, job: &impl Job) -> u64 {
        let done = self.before.restarted();
        let counting = Stopping::at(u64::MAX, done.clone());
        let steps = counting.steps();
        let before = summary(&done);
        job.run(&site(counting))
            .expect("the job succeeds undisturbed");
        let after = summary(&done);
        assert_sound(&done.restarted(), "undisturbed");
        let total = steps.load(Ordering::SeqCst);
        for step in 0..=total {
            let stopped = self.before.restarted();
            let result = job.run(&site(Stopping::at(step, stopped.clone())));
            assert!(result.is_ok() || step < total, "{result:?}");
            let crash = Crash {
                job,
                before: if result.is_ok() { &after } else { &before },
                after: &after,
                succeeded: result.is_ok(),
                damaged: self.damaged,
            };
            let when = format!("killed before step {step} of {total}");
            crash.check(&stopped.restarted(), &when);
            for seed in 0..self.seeds {
                let when = format!("power lost before step {step} of {total}, seed {seed}");
                crash.check(&stopped.crashed(seed), &when);
            }
        }
        total
    }
}

/// A crash of a job that leads from one state of a site to another.
struct Crash<'a, J> {
    job: &'a J,
    before: &'a Summary,
    after: &'a Summary,
    succeeded: bool,
    damaged: bool,
}

impl<J: Job> Crash<'_, J> {
    fn check(&self, disk: &MemoryDisk, when: &str) {
        if self.succeeded {
            assert_sound(&disk.restarted(), &format!("{when}, after success"));
        }
        self.check_repeated(&disk.restarted(), &format!("{when}, done again"));
        match site(disk.clone()).recover() {
            Ok(_) | Err(SiteError::SiteMissing { .. }) => {}
            Err(error) => panic!("{when}: cannot recover: {error:?}"),
        }
        let (before, after) = (self.before, self.after);
        let found = summary(disk);
        assert!(
            found.live == before.live || found.live == after.live,
            "{when}: {found:?} is live"
        );
        assert!(
            found.held.is_subset(&(&before.held | &after.held)),
            "{when}: {found:?}"
        );
        assert!(
            found.held.is_superset(&(&before.held & &after.held)),
            "{when}: {found:?}"
        );
        assert!(
            before != after || found == *after,
            "{when}: {found:?} after success"
        );
        if !self.damaged {
            assert_sound(&disk.restarted(), when);
        }
        self.check_repeated(disk, &format!("{when}, recovered, done again"));
    }

    fn check_repeated(&self, disk: &MemoryDisk, when: &str) {
        let repeated = self.job.run(&site(disk.clone()));
        repeated.unwrap_or_else(|error| panic!("{when}: {error:?}"));
        assert_eq!(summary(disk), *self.after, "{when}");
        assert_sound(disk, when);
    }
}

/// What a site holds, apart from times.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    pub(crate) live: Option<VersionId>,
    pub(crate) staged: Option<VersionId>,
    pub(crate) previous: Option<VersionId>,
    pub(crate) held: BTreeSet<VersionId>,
}

pub(crate) fn summary(disk: &MemoryDisk) -> Summary {
    match site(disk.clone()).status() {
        Ok(Status {
            live,
            staged,
            previous,
            releases,
            ..
        }) => Summary {
            live,
            staged,
            previous,
            held: releases.into_keys().collect(),
        },
        Err(SiteError::SiteMissing { .. }) => Summary::default(),
        Err(error) => panic!("{error:?}"),
    }
}

/// Every held version is whole, and there is nothing else.
pub(crate) fn assert_sound<D: Disk + Clone>(disk: &D, when: &str) {
    let site = site(disk.clone());
    let status = match site.status() {
        Err(SiteError::SiteMissing { .. }) => return,
        status => status.unwrap_or_else(|error| panic!("{when}: {error:?}")),
    };
    assert!(!status.unswept, "{when}");
    // That it has happened may be forgotten: then it is finished once more.
    if let Some(switch) = status.decided {
        assert_eq!(Some(switch.to), status.live, "{when}");
        site.recover().unwrap();
        assert_eq!(site.status().unwrap().decided, None, "{when}");
    }
    if let Some(live) = status.live {
        assert!(
            status.releases.contains_key(&live),
            "{when}: what is live is not held"
        );
    }
    for version in status.releases.keys() {
        let differences = site.verify(Some(*version));
        let differences = differences.unwrap_or_else(|error| panic!("{when}: {error:?}"));
        assert_eq!(differences, [], "{when}");
    }
    assert_eq!(site.recover().unwrap(), Recovery::default(), "{when}");
    let checked = site
        .fsck()
        .unwrap_or_else(|error| panic!("{when}: {error:?}"));
    assert_eq!(checked.mended, Mended::default(), "{when}");
    assert_eq!(checked.manifests_restored, [], "{when}");
    assert_eq!(checked.manifests_lost, [], "{when}");

    let names = |path: &str| names(disk, path);
    let held: BTreeSet<String> = status.releases.keys().map(ToString::to_string).collect();
    let known = |known: &[&str], path: &str| {
        let known: BTreeSet<String> = known.iter().copied().map(String::from).collect();
        assert!(
            names(path).is_subset(&known),
            "{when}: {path} holds {:?}",
            names(path)
        );
    };
    known(&["live", "releases", ".bellwether"], "shop");
    known(
        &[
            "manifests",
            "spool",
            "state.0",
            "state.1",
            "fingerprints",
            "lock",
        ],
        "shop/.bellwether",
    );
    assert_eq!(names("shop/releases"), held, "{when}");
    assert_eq!(names("shop/.bellwether/manifests"), held, "{when}");
}

pub(crate) fn names<D: Disk>(disk: &D, path: &str) -> BTreeSet<String> {
    let dir = disk
        .open_dir(&disk.root().unwrap(), path.as_bytes())
        .unwrap();
    let listed = disk.list(&dir).unwrap().into_iter();
    listed
        .map(|listed| String::from_utf8(listed.name).unwrap())
        .collect()
}

/// The content of a file.
pub(crate) fn read<D: Disk>(disk: &D, path: &str) -> Option<Vec<u8>> {
    let file = disk
        .open_file(&disk.root().unwrap(), path.as_bytes())
        .ok()?;
    assert_eq!(disk.stat_file(&file).unwrap().kind, Kind::File);
    let mut bytes = vec![0; 1 << 16];
    let len = disk.read_at(&file, &mut bytes, 0).unwrap();
    bytes.truncate(len);
    Some(bytes)
}

/// Where `path` of a version stands.
pub(crate) fn release_path(tree: &Tree, path: &str) -> String {
    format!("shop/releases/{}/{path}", tree.version())
}
