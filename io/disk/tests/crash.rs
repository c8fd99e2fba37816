//! Every step of everything that changes a site is the last one once, and what was not synced is
//! forgotten in many ways.

mod kit;

use std::time::Duration;

use bellwether_disk::disk::MemoryOptions;
use bellwether_disk::{
    Aborted, Disk, Mandate, MemoryDisk, RealDisk, Retention, Site, SiteError, Stopping,
};
use bellwether_types::{Serial, Term};
use kit::{Job, Matrix, Tree, assert_sound, memory, release_path, site, trees, with_versions};

const SEEDS: u64 = 12;

struct Stage<'a> {
    tree: &'a Tree,
    base: Option<&'a Tree>,
}

impl Job for Stage<'_> {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        self.tree.stage(site, 9, self.base).map(drop)
    }
}

struct Commit<'a>(&'a Tree);

impl Job for Commit<'_> {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        site.commit(Some(self.0.version())).map(drop)
    }
}

struct Rollback<'a>(&'a Tree);

impl Job for Rollback<'_> {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        site.rollback(Some(self.0.version())).map(drop)
    }
}

struct Abort<'a>(&'a Tree);

impl Job for Abort<'_> {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        site.abort(self.0.version(), Some(by(7))).map(drop)
    }
}

struct Remove;

impl Job for Remove {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        site.remove(Some(by(7)))
    }
}

fn by(serial: u64) -> Mandate {
    Mandate {
        term: Term(1),
        serial: Serial(serial),
    }
}

struct Fsck;

impl Job for Fsck {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        let checked = site.fsck()?;
        assert_eq!(
            (checked.mended.lost.len(), checked.manifests_lost.len()),
            (0, 0)
        );
        Ok(())
    }
}

struct Collect;

impl Job for Collect {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        let retention = Retention {
            keep: 1,
            grace: Duration::ZERO,
        };
        site.collect(retention, &mut |_| {}).map(drop)
    }
}

struct Recover;

impl Job for Recover {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        site.recover().map(drop)
    }
}

fn check(before: &MemoryDisk, job: &impl Job) -> u64 {
    let matrix = Matrix {
        before,
        seeds: SEEDS,
        damaged: false,
    };
    matrix.check(job)
}

#[test]
fn a_first_stage_is_whole_or_nothing() {
    let [a, ..] = trees();
    check(
        &memory(),
        &Stage {
            tree: &a,
            base: None,
        },
    );
}

/// INTERP-05, INTERP-08.
#[test]
fn a_stage_on_a_base_is_whole_or_nothing() {
    let [a, b, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    check(
        &disk,
        &Stage {
            tree: &c,
            base: Some(&b),
        },
    );
}

#[test]
fn a_stage_that_must_copy_for_want_of_links_is_whole_or_nothing() {
    let [a, b, c] = trees();
    let disk = MemoryDisk::new(MemoryOptions {
        links_max: 3,
        ..MemoryOptions::default()
    });
    with_versions(&disk, &[&a, &b]);
    // More names than the held object may have.
    let c = (0..4).fold(c, |c, n| c.file(format!("twin-{n}"), "unchanged"));
    check(
        &disk,
        &Stage {
            tree: &c,
            base: Some(&b),
        },
    );
}

#[test]
fn a_stage_of_reflinks_is_whole_or_nothing() {
    let [a, b, c] = trees();
    let disk = MemoryDisk::new(MemoryOptions {
        reflink: true,
        ..MemoryOptions::default()
    });
    with_versions(&disk, &[&a, &b]);
    check(
        &disk,
        &Stage {
            tree: &c,
            base: Some(&b),
        },
    );
}

/// COMMIT-06, COMMIT-07, COMMIT-10.
#[test]
fn a_commit_is_old_or_new() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a]);
    b.stage(&site(disk.clone()), 2, Some(&a)).unwrap();
    check(&disk, &Commit(&b));
}

#[test]
fn a_first_commit_is_nothing_or_new() {
    let [a, ..] = trees();
    let disk = memory();
    a.stage(&site(disk.clone()), 1, None).unwrap();
    check(&disk, &Commit(&a));
}

/// COMMIT-08, COMMIT-10.
#[test]
fn a_rollback_is_new_or_old() {
    let [a, b, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b, &c]);
    check(&disk, &Rollback(&a));
}

/// JOB-12.
#[test]
fn an_abort_drops_what_is_staged_wholly_or_not_at_all() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a]);
    b.stage(&site(disk.clone()), 2, Some(&a)).unwrap();
    disk.sync_all().unwrap();
    check(&disk, &Abort(&b));
    let site = site(disk);
    assert_eq!(
        site.abort(b.version(), Some(by(7))).unwrap(),
        Aborted::Dropped
    );
    assert_eq!(
        site.abort(b.version(), Some(by(7))).unwrap(),
        Aborted::NotStaged
    );
    assert_eq!(site.status().unwrap().live, Some(a.version()));
    // What the abort was for comes late: it is not staged any more.
    let late = b.stage(&site, 6, Some(&a)).unwrap_err();
    assert!(matches!(late, SiteError::SerialPassed { .. }), "{late}");
}

/// JOB-12: a version that was live before is kept for a rollback.
#[test]
fn an_abort_of_a_version_that_was_live_once_keeps_it() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    a.stage(&site(disk.clone()), 3, Some(&b)).unwrap();
    disk.sync_all().unwrap();
    check(&disk, &Abort(&a));
    let site = site(disk);
    site.abort(a.version(), Some(by(7))).unwrap();
    let status = site.status().unwrap();
    assert_eq!((status.staged, status.previous), (None, Some(a.version())));
}

/// JOB-08.
#[test]
fn a_removal_of_all_content_is_all_or_nothing() {
    let [a, b, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    c.stage(&site(disk.clone()), 3, Some(&b)).unwrap();
    disk.sync_all().unwrap();
    check(&disk, &Remove);
    let site = site(disk);
    site.remove(Some(by(7))).unwrap();
    let status = site.status().unwrap();
    assert_eq!((status.live, status.releases.len()), (None, 0));
    assert_eq!(status.ordered, Serial(7));
    a.stage(&site, 8, None).unwrap();
    site.commit(None).unwrap();
}

/// ASSIGN-18: orders are carried out once or again, and never after a later one.
#[test]
fn an_order_that_a_later_one_has_passed_is_refused() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a]);
    let site = site(disk);
    b.stage(&site, 5, Some(&a)).unwrap();
    let commit = |by| site.decide_commit(Some(b.version()), Some(by))?.switch();
    assert_eq!(commit(by(6)).unwrap().from, Some(a.version()));
    assert_eq!(
        commit(by(6)).unwrap().from,
        Some(b.version()),
        "nothing to do"
    );
    assert!(matches!(commit(by(5)), Err(SiteError::SerialPassed { .. })));
    site.decide_rollback(None, Some(by(8)))
        .unwrap()
        .switch()
        .unwrap();
    assert!(matches!(commit(by(6)), Err(SiteError::SerialPassed { .. })));
    assert!(matches!(
        site.remove(Some(by(7))),
        Err(SiteError::SerialPassed { .. })
    ));
    let aborted = site.abort(b.version(), Some(by(7)));
    assert!(matches!(aborted, Err(SiteError::SerialPassed { .. })));
    assert_eq!(site.status().unwrap().live, Some(a.version()));
    let later = Mandate {
        term: Term(2),
        serial: Serial(1),
    };
    assert_eq!(commit(later).unwrap().to, b.version());
    assert!(matches!(commit(by(9)), Err(SiteError::TermPassed { .. })));
}

/// COMMIT-10: that a switch has happened is not made durable at once, so what comes next must not write over what is.
#[test]
fn switches_one_after_the_other_can_be_cut_short_anywhere() {
    let [a, b, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a]);
    b.stage(&site(disk.clone()), 2, Some(&a)).unwrap();
    disk.sync_all().unwrap();
    let life = |site: &Site<Stopping<MemoryDisk>>| -> Result<(), SiteError> {
        site.commit(Some(b.version()))?;
        site.rollback(None)?;
        site.commit(Some(b.version()))?;
        c.stage(site, 3, Some(&b))?;
        site.commit(None).map(drop)
    };
    let counting = Stopping::at(u64::MAX, disk.restarted());
    let steps = counting.steps();
    life(&site(counting)).unwrap();
    let versions = [a.version(), b.version(), c.version()];
    for step in 0..=steps.load(std::sync::atomic::Ordering::SeqCst) {
        let stopped = disk.restarted();
        let _ = life(&site(Stopping::at(step, stopped.clone())));
        for seed in 0..SEEDS * 2 {
            let when = format!("power lost before step {step}, seed {seed}");
            let crashed = stopped.crashed(seed);
            let site = site(crashed.clone());
            site.recover()
                .unwrap_or_else(|error| panic!("{when}: {error}"));
            let live = site.status().unwrap().live.unwrap();
            assert!(versions.contains(&live), "{when}");
            assert_sound(&crashed, &when);
        }
    }
}

/// The state is in one of two files, whole, or the site is not touched.
#[test]
fn a_damaged_state_is_told_unless_the_other_knows_what_is_live() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    let damaged = |names: &[&str]| {
        let disk = disk.restarted();
        let private = disk
            .open_dir(&disk.root().unwrap(), b"shop/.bellwether")
            .unwrap();
        for name in names {
            let file = disk.open_to_write(&private, name.as_bytes()).unwrap();
            disk.write_at(&file, b"?", 40).unwrap();
        }
        disk
    };
    for name in ["state.0", "state.1"] {
        let disk = damaged(&[name]);
        site(disk.clone()).recover().unwrap();
        assert_eq!(site(disk.clone()).status().unwrap().live, Some(b.version()));
        assert_sound(&disk, name);
    }
    let disk = damaged(&["state.0", "state.1"]);
    for refused in [
        site(disk.clone()).status().map(drop),
        site(disk.clone()).recover().map(drop),
        site(disk.clone()).commit(None).map(drop),
    ] {
        assert!(matches!(refused, Err(SiteError::StateDamaged { .. })));
    }
    assert!(kit::names(&disk, "shop/releases").len() >= 2);
    // Older than what is live: it is not believed.
    let old = {
        let disk = memory();
        with_versions(&disk, &[&a]);
        disk
    };
    let older = ["state.0", "state.1"].map(|name| {
        let path = format!("shop/.bellwether/{name}");
        kit::read(&old, &path).unwrap()
    });
    let disk = damaged(&["state.0", "state.1"]);
    let private = disk
        .open_dir(&disk.root().unwrap(), b"shop/.bellwether")
        .unwrap();
    let file = disk.open_to_write(&private, b"state.0").unwrap();
    disk.write_at(&file, &older[0], 0).unwrap();
    disk.set_len(&file, older[0].len() as u64).unwrap();
    let refused = site(disk.clone()).recover().unwrap_err();
    assert!(
        matches!(refused, SiteError::StateDamaged { .. }),
        "{refused}"
    );
}

/// A version with a file replaced, one removed, and no manifest.
fn damaged(a: &Tree, disk: &MemoryDisk) {
    let root = disk.root().unwrap();
    let path = |path| release_path(a, path);
    let tree = disk.open_dir(&root, path("moved").as_bytes()).unwrap();
    disk.unlink(&tree, b"from").unwrap();
    let edited = disk.create_file(&tree, b"edited", 0o644).unwrap();
    disk.write_at(&edited, b"edited", 0).unwrap();
    let above = disk.open_dir(&root, release_path(a, "").trim_end_matches('/').as_bytes());
    disk.rename(&tree, b"edited", &above.unwrap(), b"same")
        .unwrap();
    let manifests = disk.open_dir(&root, b"shop/.bellwether/manifests");
    let version = a.version().to_string();
    disk.unlink(&manifests.unwrap(), version.as_bytes())
        .unwrap();
    disk.sync_all().unwrap();
}

fn check_damaged(before: &MemoryDisk, job: &impl Job) {
    let matrix = Matrix {
        before,
        seeds: SEEDS,
        damaged: true,
    };
    matrix.check(job);
}

/// INTERP-08.
#[test]
fn a_version_that_is_held_and_damaged_is_restored_by_another_stage() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    damaged(&a, &disk);
    let (tree, base) = (&a, None);
    check_damaged(&disk, &Stage { tree, base });
}

#[test]
fn a_rollback_restores_what_it_returns_to() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    let manifest = format!("shop/.bellwether/manifests/{}", a.version());
    let manifest = kit::read(&disk, &manifest).unwrap();
    damaged(&a, &disk);
    let root = disk.root().unwrap();
    let manifests = disk.open_dir(&root, b"shop/.bellwether/manifests").unwrap();
    let version = a.version().to_string();
    let file = disk.create_file(&manifests, version.as_bytes(), 0o600);
    disk.write_at(&file.unwrap(), &manifest, 0).unwrap();
    disk.sync_all().unwrap();
    check_damaged(&disk, &Rollback(&a));
}

#[test]
fn a_check_of_everything_can_be_cut_short() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    let root = disk.root().unwrap();
    // A manifest of one, and a file of the other.
    let manifests = disk.open_dir(&root, b"shop/.bellwether/manifests").unwrap();
    disk.unlink(&manifests, a.version().to_string().as_bytes())
        .unwrap();
    let tree = disk.open_dir(&root, release_path(&b, "moved/to").as_bytes());
    disk.unlink(&tree.unwrap(), b"here").unwrap();
    disk.sync_all().unwrap();
    check_damaged(&disk, &Fsck);
}

#[test]
fn a_removal_takes_whole_versions() {
    let [a, b, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b, &c]);
    check(&disk, &Collect);
}

/// COMMIT-10.
#[test]
fn recovery_can_be_cut_short_as_often_as_you_like() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a]);
    // Late in a stage, when there is most to sweep.
    let counting = Stopping::at(u64::MAX, disk.restarted());
    let steps = counting.steps();
    b.stage(&site(counting), 9, Some(&a)).unwrap();
    let total = steps.load(std::sync::atomic::Ordering::SeqCst);
    let stopped = Stopping::at(total - 6, disk.clone());
    b.stage(&site(stopped), 9, Some(&a)).unwrap_err();
    let disk = disk.restarted();
    disk.sync_all().unwrap();
    check(&disk, &Recover);
}

/// The same on the system's own file system, where only the process dies.
#[test]
fn a_real_directory_survives_a_kill_at_every_step() {
    let [a, b, c] = trees();
    // In memory where possible: nothing is forgotten here, and syncs would take minutes.
    let shm = std::path::Path::new("/dev/shm");
    let parent = if shm.is_dir() {
        shm.into()
    } else {
        std::env::temp_dir()
    };
    let prepare = || {
        let directory = tempfile::tempdir_in(&parent).unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        let site = site(disk.clone());
        a.stage(&site, 1, None).unwrap();
        site.commit(None).unwrap();
        b.stage(&site, 2, Some(&a)).unwrap();
        site.commit(None).unwrap();
        (directory, disk)
    };
    let job = StageAndCommit { tree: &c, base: &b };
    let (_directory, disk) = prepare();
    let counting = Stopping::at(u64::MAX, disk);
    let steps = counting.steps();
    job.run(&site(counting)).unwrap();
    for step in 0..steps.load(std::sync::atomic::Ordering::SeqCst) {
        let (_directory, disk) = prepare();
        let _ = job.run(&site(Stopping::at(step, disk.clone())));
        let when = format!("killed before step {step}");
        site(disk.clone()).recover().unwrap();
        let live = site(disk.clone()).status().unwrap().live;
        assert!(
            [Some(b.version()), Some(c.version())].contains(&live),
            "{when}: {live:?}"
        );
        assert_sound(&disk, &when);
        job.run(&site(disk.clone())).unwrap();
        assert_eq!(
            site(disk.clone()).status().unwrap().live,
            Some(c.version()),
            "{when}"
        );
        assert_sound(&disk, &format!("{when}, done again"));
    }
}

struct StageAndCommit<'a> {
    tree: &'a Tree,
    base: &'a Tree,
}

impl Job for StageAndCommit<'_> {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        self.tree.stage(site, 9, Some(self.base))?;
        site.commit(Some(self.tree.version())).map(drop)
    }
}
