//! Whatever is wrong with the disk, the order or the names: a clear error, and no effect.

mod kit;

use std::sync::Arc;
use std::time::Duration;

use bellwether_content::{File, Mode, Owner};
use bellwether_disk::disk::{MemoryOptions, NameRule};
use bellwether_disk::{
    DifferenceKind, Disk, ErrorKind, Hook, Hooks, MemoryDisk, Options, RealDisk, Retention, Site,
    SiteError, StageRequest,
};
use bellwether_types::{Hash, Serial, Term, TreePath, VersionId};
use kit::{
    Tree, assert_sound, memory, options, read, release_path, site, summary, trees, with_versions,
};

fn request(serial: u64, base: Option<VersionId>) -> StageRequest {
    StageRequest {
        serial: Serial(serial),
        term: Term(1),
        base,
        bytes_new: 0,
    }
}

/// A disk with A live, whose options are then changed.
fn with_a(change: impl FnOnce(&mut MemoryOptions)) -> MemoryDisk {
    let [a, ..] = trees();
    let disk = memory();
    with_versions(&disk, &[&a]);
    let mut options = disk.options();
    change(&mut options);
    disk.set_options(options);
    disk
}

/// Staging B fails so, and once the disk is well again all is as it was.
fn refuses_b(disk: &MemoryDisk, kind: ErrorKind) -> SiteError {
    let [a, b, _] = trees();
    let before = summary(&well(disk));
    let error = b.stage(&site(disk.clone()), 2, Some(&a)).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    disk.set_options(MemoryOptions::default());
    site(disk.clone()).recover().unwrap();
    assert_eq!(summary(disk), before);
    assert_sound(disk, "after a refusal");
    error
}

/// A copy without anything wrong.
fn well(disk: &MemoryDisk) -> MemoryDisk {
    let disk = disk.restarted();
    disk.set_options(MemoryOptions::default());
    disk
}

/// Overwrites in place, as an editor may that knows nothing of links.
fn scribble<D: Disk>(disk: &D, path: &str, bytes: &[u8]) {
    let file = disk
        .open_file(&disk.root().unwrap(), path.as_bytes())
        .unwrap();
    disk.write_at(&file, bytes, 0).unwrap();
}

fn remove<D: Disk>(disk: &D, path: &str) {
    let (at, name) = path.rsplit_once('/').unwrap();
    let at = disk.open_dir(&disk.root().unwrap(), at.as_bytes()).unwrap();
    disk.unlink(&at, name.as_bytes()).unwrap();
}

#[test]
fn no_space_before_staging_is_told_with_both_numbers() {
    let disk = with_a(|options| options.capacity = 100_000);
    let request = StageRequest {
        bytes_new: 1 << 20,
        ..request(2, None)
    };
    let error = site(disk.clone()).stage(request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(
        error.to_string().starts_with("1.0 MiB are needed and "),
        "{error}"
    );
    assert_sound(&disk, "after a refusal");
}

/// INTERP-03.
#[test]
fn no_space_while_staging_leaves_nothing_behind_and_frees_what_was_taken() {
    let [a, _, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a]);
    let free = |disk: &MemoryDisk| disk.space().unwrap().bytes;
    let used = u64::MAX - free(&disk);
    // Room for the state, but not for the big file.
    disk.set_options(MemoryOptions {
        capacity: used + 2000,
        ..MemoryOptions::default()
    });
    let error = c.stage(&site(disk.clone()), 2, Some(&a)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert_sound(&disk, "with a full disk");
    disk.set_options(MemoryOptions::default());
    c.stage(&site(disk.clone()), 2, Some(&a)).unwrap();
}

#[test]
fn a_read_only_root_is_refused() {
    let error = refuses_b(
        &with_a(|options| options.read_only = true),
        ErrorKind::Permission,
    );
    assert!(error.to_string().contains("shop"), "{error}");
}

/// INTERP-03.
#[test]
fn denied_permission_names_the_place() {
    for name in ["manifests", "releases", "index.html"] {
        let denied = Some(name.as_bytes().to_vec());
        let error = refuses_b(
            &with_a(|options| options.denied = denied),
            ErrorKind::Permission,
        );
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn names_that_differ_only_in_case_are_refused_with_both() {
    collide(
        NameRule::IgnoreCase,
        "docs/Readme",
        "docs/README",
        "differing",
    );
    collide(
        NameRule::IgnoreCase,
        "docs/Readme",
        "docs/README",
        "content",
    );
}

#[test]
fn names_that_differ_only_in_composition_are_refused_with_both() {
    collide(NameRule::Normalise, "caf\u{e9}", "cafe\u{301}", "content");
}

fn collide(names: NameRule, first: &str, second: &str, content: &str) {
    let disk = with_a(|options| options.names = names);
    let tree = Tree::new()
        .file("x", "content")
        .file(first, "content")
        .file(second, content);
    let before = summary(&disk);
    let error = tree.stage(&site(disk.clone()), 2, None).unwrap_err();
    let SiteError::NamesCollide { path, other } = &error else {
        panic!("{error:?}")
    };
    let name = |path: &str| path.rsplit('/').next().unwrap().as_bytes().to_vec();
    let mut found = [path.file_name().escape_ascii().to_string(), other.clone()];
    let mut expected = [first, second].map(|path| name(path).escape_ascii().to_string());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(summary(&disk), before);
    assert_sound(&disk, "after a collision");
}

#[test]
fn names_that_are_not_utf8_work() {
    let disk = memory();
    let tree = Tree::new()
        .file(b"caf\xe9/\xff\xfe", "content")
        .directory(b"\x80", 0o755);
    tree.stage(&site(disk.clone()), 1, None).unwrap();
    site(disk.clone()).commit(None).unwrap();
    assert_sound(&disk, "with odd names");
}

#[test]
fn a_second_stage_and_a_commit_wait_for_nobody_but_tell_who_works() {
    let disk = with_a(|_| {});
    let site = site(disk.clone());
    let staging = site.stage(request(2, None)).unwrap();
    for error in [
        site.stage(request(3, None)).unwrap_err(),
        site.commit(None).unwrap_err(),
    ] {
        let SiteError::Busy { holder, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(holder.contains("stage"), "{holder}");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    // Readers need no lock.
    assert!(site.status().unwrap().unswept);
    assert_eq!(site.verify(None).unwrap(), []);
    drop(staging);
    assert_sound(&disk, "after a dropped stage");
}

#[test]
fn no_stage_begins_while_a_commit_is_decided() {
    let [_, b, _] = trees();
    let disk = with_a(|_| {});
    let site = site(disk.clone());
    b.stage(&site, 2, None).unwrap();
    let decided = site.decide_commit(None, None).unwrap();
    assert!(matches!(
        site.stage(request(3, None)),
        Err(SiteError::Busy { .. })
    ));
    assert_ne!(site.status().unwrap().live, Some(b.version()));
    // Whoever comes next finishes what was decided.
    drop(decided);
    assert_eq!(
        site.recover().unwrap().switch.map(|switch| switch.to),
        Some(b.version())
    );
    assert_eq!(site.status().unwrap().live, Some(b.version()));
}

#[test]
fn lower_terms_and_passed_serials_are_refused() {
    let disk = with_a(|_| {});
    let site = site(disk.clone());
    let request = |serial, term| StageRequest {
        term: Term(term),
        ..request(serial, None)
    };
    let [_, b, c] = trees();
    b.stage(&site, 5, None).unwrap();
    assert!(matches!(
        site.stage(request(9, 0)),
        Err(SiteError::TermPassed { .. })
    ));
    assert!(matches!(
        site.stage(request(4, 1)),
        Err(SiteError::SerialPassed { .. })
    ));
    // Again is fine, and so is a new reign that counts anew.
    drop(site.stage(request(5, 1)).unwrap());
    drop(site.stage(request(1, 2)).unwrap());
    c.stage(&site, 6, None).unwrap();
}

#[test]
fn a_base_that_is_not_held_is_named() {
    let [_, b, _] = trees();
    let site = site(with_a(|_| {}));
    let error = site.stage(request(2, Some(b.version()))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains(&b.version().to_string()),
        "{error}"
    );
}

#[test]
fn content_that_was_never_given_is_named() {
    let disk = with_a(|_| {});
    let site = site(disk.clone());
    let staging = site.stage(request(2, None)).unwrap();
    let tree = Tree::new().file("deep/new", "never written");
    let manifest = Arc::new(tree.manifest());
    staging.create_directories(manifest.iter()).unwrap();
    let error = staging
        .finish(manifest, &tree.manifest().encode(), &[])
        .unwrap_err();
    assert!(matches!(&error, SiteError::ContentMissing { path } if path.to_string() == "deep/new"));
    assert_sound(&disk, "after a refusal");
}

#[test]
fn a_version_that_is_held_is_staged_again_without_a_trace() {
    let [a, b, _] = trees();
    let disk = with_a(|_| {});
    let site = site(disk.clone());
    b.stage(&site, 2, Some(&a)).unwrap();
    for base in [Some(&a), Some(&b), None] {
        b.stage(&site, 2, base).unwrap();
        assert_sound(&disk, "staged again");
    }
    assert_eq!(site.status().unwrap().staged, Some(b.version()));
}

/// What `fsck` and a refused rollback tell people to do.
#[test]
fn a_damaged_version_that_is_sent_again_in_full_is_whole_again() {
    let [a, ..] = trees();
    let disk = with_a(|_| {});
    let site = site(disk.clone());
    scribble(&disk, &release_path(&a, "same"), b"UNCHANGED");
    remove(&disk, &release_path(&a, "moved/from"));
    scribble(&disk, &manifest_path(&a), b"??");
    let error = site.stage(request(2, Some(a.version()))).unwrap_err();
    assert!(
        error.to_string().contains("stage that version again"),
        "{error}"
    );
    a.stage(&site, 2, None).unwrap();
    assert_sound(&disk, "sent again");
}

fn manifest_path(tree: &Tree) -> String {
    format!("shop/.bellwether/manifests/{}", tree.version())
}

#[test]
fn a_damaged_manifest_is_made_anew_from_its_tree() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    scribble(&disk, &manifest_path(&a), b"??");
    remove(&disk, &manifest_path(&b));
    let mut both = [a.version(), b.version()];
    both.sort();
    let checked = site(disk.clone()).fsck().unwrap();
    assert_eq!(checked.manifests_restored, both);
    assert_sound(&disk, "mended");
}

#[test]
fn a_manifest_whose_tree_is_damaged_too_is_told_and_the_rest_is_mended() {
    let [a, b, _] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    let site = site(disk.clone());
    scribble(&disk, &manifest_path(&a), b"??");
    remove(&disk, &release_path(&a, "index.html"));
    remove(&disk, &release_path(&b, "same"));
    let checked = site.fsck().unwrap();
    assert_eq!(checked.manifests_lost, [a.version()]);
    assert_eq!(checked.mended.restored.len(), 1, "{checked:?}");
    // It can still be removed, and then all is in order.
    a.stage(&site, 3, None).unwrap();
    assert_sound(&disk, "sent again");
}

#[test]
fn a_version_whose_manifest_is_damaged_can_be_removed() {
    let [a, b, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b, &c]);
    scribble(&disk, &manifest_path(&a), b"??");
    let retention = Retention {
        keep: 0,
        grace: Duration::ZERO,
    };
    let collected = site(disk.clone()).collect(retention, &mut |_| {}).unwrap();
    assert_eq!(collected.versions, [a.version()]);
    assert_sound(&disk, "removed");
}

#[test]
fn a_stage_that_cannot_succeed_makes_no_site() {
    let [a, ..] = trees();
    let disk = MemoryDisk::new(MemoryOptions {
        capacity: 1000,
        ..MemoryOptions::default()
    });
    let site = site(disk.clone());
    let error = site.stage(request(2, Some(a.version()))).unwrap_err();
    assert!(
        matches!(error, SiteError::VersionNotHeld { .. }),
        "{error:?}"
    );
    let large = StageRequest {
        bytes_new: 2000,
        ..request(2, None)
    };
    let error = site.stage(large).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert_eq!(kit::names(&disk, "."), [].into());
}

/// DELTA-08.
#[test]
fn a_hand_edited_live_file_never_reaches_a_later_release() {
    let [a, b, _] = trees();
    let disk = with_a(|_| {});
    scribble(&disk, &release_path(&a, "moved/from"), b"MOVED");
    let differences = site(disk.clone()).verify(None).unwrap();
    let found: Vec<_> = differences.iter().map(|d| (&d.path[..], d.kind)).collect();
    assert_eq!(found, [(b"moved/from".as_slice(), DifferenceKind::Content)]);
    let site = site(disk.clone());
    let staging = site.stage(request(2, Some(a.version()))).unwrap();
    let path = TreePath::new(*b"moved/from").unwrap();
    let error = staging.base_content(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
    drop(staging);
    let error = b.stage(&site, 2, Some(&a)).unwrap_err();
    assert!(
        matches!(error, SiteError::ContentDamaged { .. }),
        "{error:?}"
    );
    // Sent in full, it is whole again.
    b.stage(&site, 2, None).unwrap();
    site.commit(None).unwrap();
    assert_eq!(site.verify(None).unwrap(), []);
    // Now there is an intact copy to mend the old release from.
    assert_eq!(site.fsck().unwrap().mended.restored.len(), 1);
    assert_sound(&disk, "mended");
}

/// Trees share inodes, so an edit in one is an edit in all.
#[test]
fn an_edit_of_what_two_releases_share_is_seen_in_both() {
    let [a, b, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b]);
    scribble(&disk, &release_path(&b, "moved/to/here"), b"MOVED");
    let site = site(disk.clone());
    for (tree, path) in [(&a, "moved/from"), (&b, "moved/to/here")] {
        let differences = site.verify(Some(tree.version())).unwrap();
        let found: Vec<_> = differences.iter().map(|d| d.path.clone()).collect();
        assert_eq!(found, [path.as_bytes()]);
    }
    let error = site.rollback(None).unwrap_err();
    assert!(
        matches!(error, SiteError::ContentDamaged { .. }),
        "{error:?}"
    );
    assert_eq!(site.status().unwrap().live, Some(b.version()));
    c.stage(&site, 3, Some(&b)).unwrap();
    assert_eq!(site.fsck().unwrap().mended.lost.len(), 2);
    // One sends the content again, and the other is mended from it.
    b.stage(&site, 3, None).unwrap();
    site.rollback(None).unwrap();
    assert_sound(&disk, "mended");
}

#[test]
fn an_editor_that_replaces_files_harms_only_the_live_tree() {
    let [a, b, _] = trees();
    let disk = with_a(|_| {});
    let live = disk
        .open_dir(
            &disk.root().unwrap(),
            release_path(&a, "").trim_end_matches('/').as_bytes(),
        )
        .unwrap();
    let file = disk.create_file(&live, b"same~", 0o644).unwrap();
    disk.write_at(&file, b"edited", 0).unwrap();
    disk.rename(&live, b"same~", &live, b"same").unwrap();
    let site = site(disk.clone());
    b.stage(&site, 2, Some(&a)).unwrap();
    assert_eq!(
        read(&disk, &release_path(&b, "same")).unwrap(),
        b"unchanged"
    );
    // And a rollback to it puts it right first.
    site.commit(None).unwrap();
    site.rollback(None).unwrap();
    assert_eq!(
        read(&disk, &release_path(&a, "same")).unwrap(),
        b"unchanged"
    );
    assert_sound(&disk, "restored");
}

#[test]
fn a_vanished_base_file_is_taken_from_wherever_else_it_stands_or_refused_by_name() {
    let [a, b, _] = trees();
    let disk = with_a(|_| {});
    let site = site(disk.clone());
    remove(&disk, &release_path(&a, "same"));
    b.stage(&site, 2, Some(&a)).unwrap();
    assert_eq!(site.verify(Some(b.version())).unwrap(), []);
    let disk = with_a(|_| {});
    remove(&disk, &release_path(&a, "moved/from"));
    let error = b.stage(&kit::site(disk), 2, Some(&a)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("moved/to/here"), "{error}");
}

#[test]
fn touching_a_file_costs_reading_it_and_nothing_else() {
    let [a, b, _] = trees();
    let disk = with_a(|_| {});
    let path = release_path(&a, "same");
    let file = disk
        .open_file(&disk.root().unwrap(), path.as_bytes())
        .unwrap();
    disk.set_mtime(&file, Default::default()).unwrap();
    disk.set_mode(&file, 0o666).unwrap();
    b.stage(&site(disk.clone()), 2, Some(&a)).unwrap();
    assert_sound(&disk, "after a touch");
}

#[test]
fn a_damaged_base_file_is_taken_from_a_release_that_has_its_own_copy() {
    let [a, b, c] = trees();
    let disk = MemoryDisk::new(MemoryOptions {
        reflink: true,
        ..MemoryOptions::default()
    });
    with_versions(&disk, &[&a, &b]);
    for path in ["same", "twin"] {
        scribble(&disk, &release_path(&b, path), b"\xff");
    }
    let site = site(disk.clone());
    let staging = site.stage(request(3, Some(b.version()))).unwrap();
    let path = TreePath::new(*b"same").unwrap();
    let mut content = [0; 9];
    let same = staging.base_content(&path).unwrap();
    same.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"unchanged");
    drop(staging);
    c.stage(&site, 3, Some(&b)).unwrap();
    assert_eq!(site.verify(Some(c.version())).unwrap(), []);
    assert_eq!(site.fsck().unwrap().mended.restored.len(), 2);
    assert_sound(&disk, "mended");
}

#[test]
fn more_links_than_the_file_system_allows_become_copies() {
    for links_max in [1, 2, 5] {
        let disk = MemoryDisk::new(MemoryOptions {
            links_max,
            ..MemoryOptions::default()
        });
        let tree = (0..20).fold(Tree::new(), |tree, n| tree.file(format!("f{n}"), "same"));
        let more = tree.clone().file("more", "same");
        with_versions(&disk, &[&tree, &more]);
        assert_sound(&disk, "with many copies");
    }
}

/// COMMIT-14.
#[test]
fn rolling_back_twice_leads_two_versions_back_and_no_further() {
    let [a, b, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b, &c]);
    let site = site(disk.clone());
    assert_eq!(site.rollback(None).unwrap().to, b.version());
    assert_eq!(site.rollback(None).unwrap().to, a.version());
    let error = site.rollback(None).unwrap_err();
    assert!(
        matches!(error, SiteError::NothingBefore { .. }),
        "{error:?}"
    );
    assert_eq!(site.rollback(Some(c.version())).unwrap().to, c.version());
    assert_sound(&disk, "after rolling about");
}

#[test]
fn what_is_needed_is_never_collected() {
    let [a, b, c] = trees();
    let disk = memory();
    with_versions(&disk, &[&a, &b, &c]);
    let site = site(disk.clone());
    let collect = |keep, seconds| {
        let retention = Retention {
            keep,
            grace: Duration::from_secs(seconds),
        };
        let mut files = 0;
        let collected = site
            .collect(retention, &mut |removed| files += removed)
            .unwrap();
        assert_eq!(collected.versions.is_empty(), files == 0);
        collected.versions
    };
    assert_eq!(collect(0, 1_000_000), [], "in grace");
    assert_eq!(collect(3, 0), [], "to be kept");
    site.pin(a.version(), true).unwrap();
    assert_eq!(collect(0, 0), [], "live, previous and pinned");
    site.pin(a.version(), false).unwrap();
    assert_eq!(collect(0, 0), [a.version()]);
    assert_sound(&disk, "after a removal");
    let error = site.rollback(Some(a.version())).unwrap_err();
    assert!(
        matches!(error, SiteError::VersionNotHeld { .. }),
        "{error:?}"
    );
}

#[test]
fn a_removal_does_not_make_the_rest_look_touched() {
    const SIZE: u64 = 100_000;
    let tree = |n: usize| {
        let tree = Tree::new()
            .file("shared", vec![1; SIZE as usize])
            .file("own", n.to_string());
        tree.file("shared twin", vec![1; SIZE as usize])
    };
    let disk = memory();
    with_versions(&disk, &[&tree(0), &tree(1), &tree(2)]);
    let site = site(disk.clone());
    let verify_reads = || {
        let before = disk.bytes_read();
        assert_eq!(site.verify(None).unwrap(), []);
        disk.bytes_read() - before
    };
    assert!(verify_reads() < SIZE);
    let retention = Retention {
        keep: 0,
        grace: Duration::ZERO,
    };
    assert_eq!(
        site.collect(retention, &mut |_| {}).unwrap().versions.len(),
        1
    );
    assert!(verify_reads() < SIZE, "the shared content was read again");
}

fn hooked(disk: MemoryDisk, before: &str, after: &str) -> Site<MemoryDisk> {
    let hook = |script: &str| Hook {
        command: ["sh", "-c", script].map(String::from).to_vec(),
        time_max: Duration::from_secs(30),
    };
    let options = Options {
        hooks: Hooks {
            before: vec![hook(before)],
            after: vec![hook(after)],
        },
        ..options()
    };
    Site::open(disk, "shop".parse().unwrap(), options)
}

#[test]
fn a_failing_hook_before_calls_the_commit_off_with_its_output() {
    let [a, b, _] = trees();
    let disk = with_a(|_| {});
    let site = hooked(disk.clone(), "echo not now; exit 1", "true");
    b.stage(&site, 2, Some(&a)).unwrap();
    let error = site.commit(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Hook);
    assert!(error.to_string().contains("not now"), "{error}");
    assert_eq!(summary(&disk).live, Some(a.version()));
    assert_eq!(summary(&disk).staged, Some(b.version()));
}

#[test]
fn a_failing_hook_after_is_reported_and_the_commit_stands() {
    let [a, b, _] = trees();
    let disk = with_a(|_| {});
    let site = hooked(disk.clone(), "true", "echo $BELLWETHER_PREVIOUS; exit 7");
    b.stage(&site, 2, Some(&a)).unwrap();
    let switched = site.commit(None).unwrap();
    assert_eq!(switched.after[0].output.trim(), a.version().to_string());
    assert!(!switched.after[0].succeeded());
    assert_eq!(summary(&disk).live, Some(b.version()));
}

#[test]
fn an_owner_that_this_machine_lacks_is_named() {
    let disk = memory();
    let options = Options {
        owners: Arc::new(|owner| if owner.is_some() { Err(()) } else { Ok(None) }),
        ..options()
    };
    let site = Site::open(disk.clone(), "shop".parse().unwrap(), options);
    let staging = site.stage(request(1, None)).unwrap();
    let file = File {
        mode: Mode::new(0o644).unwrap(),
        owner: Some(Arc::new(Owner {
            user: "nobody-here".into(),
            group: "at-all".into(),
        })),
        size: 0,
        hash: Hash::of(b""),
        modified: Default::default(),
    };
    let path = TreePath::new(*b"file").unwrap();
    let error = staging.writer().create(&path, &file).unwrap_err();
    assert!(error.to_string().contains("nobody-here:at-all"), "{error}");
}

#[test]
fn a_real_directory_goes_through_the_same_life() {
    let [a, b, c] = trees();
    let directory = tempfile::tempdir().unwrap();
    let open = || RealDisk::open(directory.path()).unwrap();
    for threads in [1, 4] {
        let options = Options {
            threads,
            ..options()
        };
        let site = Site::open(open(), format!("site{threads}").parse().unwrap(), options);
        a.stage(&site, 1, None).unwrap();
        site.commit(None).unwrap();
        b.stage(&site, 2, Some(&a)).unwrap();
        site.commit(None).unwrap();
        c.stage(&site, 3, Some(&b)).unwrap();
        site.commit(None).unwrap();
        for tree in [&a, &b, &c] {
            assert_eq!(site.verify(Some(tree.version())).unwrap(), []);
        }
        assert_eq!(site.rollback(Some(a.version())).unwrap().to, a.version());
        let live = directory
            .path()
            .join(format!("site{threads}/live/index.html"));
        assert_eq!(std::fs::read(&live).unwrap(), b"one");
        // A hand edit through the link is seen, and the rollback to it refused.
        site.commit(Some(c.version())).unwrap();
        let edited = directory
            .path()
            .join(format!("site{threads}/releases/{}/gone", a.version()));
        std::fs::write(edited, "edited").unwrap();
        let error = site.rollback(Some(a.version())).unwrap_err();
        assert!(
            matches!(error, SiteError::ContentDamaged { .. }),
            "{error:?}"
        );
        assert_eq!(site.status().unwrap().live, Some(c.version()));
    }
}
