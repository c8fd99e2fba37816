//! What a control server keeps: nothing counts before it is whole, and what counts survives.

mod kit;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use bellwether_content::assignment::{Action, Header, Trust};
use bellwether_content::update::Coding;
use bellwether_content::{Manifest, Timestamp};
use bellwether_delta::Effort;
use bellwether_disk::depot::{Cleared, Content, DepotError, Imported};
use bellwether_disk::disk::MemoryOptions;
use bellwether_disk::publish::{Making, Source, SourceError, publish};
use bellwether_disk::scan::{self, Fingerprints, ScanPolicy};
use bellwether_disk::stage::{Accepting, stage};
use bellwether_disk::{Depot, Disk, MemoryDisk, RealDisk, Site, Stopping};
use bellwether_types::{Hash, Serial, Term, VersionId};
use kit::{Tree, memory, trees};

/// Sends what is missing of a tree, in pieces of `piece` bytes from where the last attempt ended; from the start again if
/// that was worth nothing.
fn send<D: Disk>(depot: &Depot<D>, tree: &Tree, piece: usize) -> Result<VersionId, DepotError> {
    for content in depot.missing(&tree.manifest())? {
        let bytes = tree.content(&content.hash);
        let began = depot.received(content)?;
        match send_from(depot, content, began, bytes, piece) {
            Err(DepotError::OtherContent { .. }) if began > 0 => {
                send_from(depot, content, 0, bytes, piece)?;
            }
            sent => sent?,
        }
    }
    depot.keep(&tree.manifest())
}

fn send_from<D: Disk>(
    depot: &Depot<D>,
    content: Content,
    mut offset: u64,
    bytes: &[u8],
    piece: usize,
) -> Result<(), DepotError> {
    loop {
        let rest = &bytes[offset as usize..];
        offset = depot.receive(content, offset, &rest[..rest.len().min(piece)])?;
        if offset == content.size {
            return Ok(());
        }
    }
}

/// Every version that counts is whole.
fn assert_whole(disk: &MemoryDisk, trees: &[&Tree], when: &str) -> BTreeSet<VersionId> {
    let depot = Depot::open(disk.clone()).unwrap_or_else(|error| panic!("{when}: {error}"));
    let versions = depot.versions().unwrap();
    for version in &versions {
        let tree = trees.iter().find(|tree| tree.version() == *version);
        let tree = tree.unwrap_or_else(|| panic!("{when}: {version} was never kept"));
        let manifest = depot
            .manifest(version)
            .unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(manifest, tree.manifest(), "{when}");
        for (path, file) in manifest.files() {
            let hash = file.hash.to_string();
            let place = format!("objects/{}/{hash}", &hash[..2]);
            let object = disk.open_file(&disk.root().unwrap(), place.as_bytes());
            let object = object.unwrap_or_else(|error| panic!("{when}: {path}: {error}"));
            let mut bytes = vec![0; 4096];
            let len = disk.read_at(&object, &mut bytes, 0).unwrap();
            assert_eq!(Hash::of(&bytes[..len]), file.hash, "{when}: {path}");
        }
    }
    versions
}

#[test]
fn a_version_is_kept_once_all_of_it_came() {
    let [a, b, _] = trees();
    let disk = memory();
    let depot = Depot::open(disk.clone()).unwrap();
    assert!(matches!(
        depot.keep(&a.manifest()),
        Err(DepotError::Incomplete { count: 4, .. })
    ));
    assert_eq!(send(&depot, &a, 3).unwrap(), a.version());
    assert!(depot.missing(&a.manifest()).unwrap().is_empty());
    // What the first version brought is not asked for again.
    let missing: BTreeSet<Hash> = depot
        .missing(&b.manifest())
        .unwrap()
        .iter()
        .map(|content| content.hash)
        .collect();
    let new = ["two", "program", "within"].map(|content| Hash::of(content.as_bytes()));
    assert_eq!(missing, new.into());
    send(&depot, &b, usize::MAX).unwrap();
    drop(depot);
    assert_eq!(
        assert_whole(&disk.restarted(), &[&a, &b], "restarted"),
        [a.version(), b.version()].into()
    );
}

#[test]
fn a_content_goes_on_where_it_was_and_wrong_pieces_are_refused() {
    let disk = memory();
    let content = Content {
        hash: Hash::of(b"0123456789"),
        size: 10,
    };
    let depot = Depot::open(disk.clone()).unwrap();
    assert_eq!(depot.receive(content, 0, b"0123").unwrap(), 4);
    drop(depot);
    let depot = Depot::open(disk.restarted()).unwrap();
    assert_eq!(depot.received(content).unwrap(), 4);
    assert!(matches!(
        depot.receive(content, 5, b"56"),
        Err(DepotError::NotNext {
            received: 4,
            offset: 5,
            ..
        })
    ));
    assert!(matches!(
        depot.receive(content, 4, b"4567890"),
        Err(DepotError::TooLong { end: 11, .. })
    ));
    assert!(matches!(
        depot.receive(content, u64::MAX, b"4"),
        Err(DepotError::TooLong { .. })
    ));
    assert_eq!(depot.receive(content, 4, b"456789").unwrap(), 10);
    // Again, as after a lost answer.
    assert_eq!(depot.receive(content, 4, b"456789").unwrap(), 10);
    assert_eq!(depot.received(content).unwrap(), 10);
}

/// CRYPT-02.
#[test]
fn what_is_something_else_is_forgotten() {
    let content = Content {
        hash: Hash::of(b"right"),
        size: 5,
    };
    let depot = Depot::open(memory()).unwrap();
    assert!(matches!(
        depot.receive(content, 0, b"wrong"),
        Err(DepotError::OtherContent { .. })
    ));
    depot.receive(content, 0, b"wr").unwrap();
    assert!(matches!(
        depot.receive(content, 2, b"ong"),
        Err(DepotError::OtherContent { .. })
    ));
    assert_eq!(depot.received(content).unwrap(), 0);
    assert_eq!(depot.receive(content, 0, b"right").unwrap(), 5);
}

#[test]
fn one_process_has_it_at_a_time() {
    let disk = memory();
    let _depot = Depot::open(disk.clone()).unwrap();
    assert!(matches!(Depot::open(disk), Err(DepotError::InUse { .. })));
}

#[test]
fn whatever_a_crash_takes_a_version_that_counts_is_whole() {
    let [a, b, c] = trees();
    let before = memory();
    send(&Depot::open(before.clone()).unwrap(), &a, 3).unwrap();
    before.sync_all().unwrap();
    let job = |disk: Stopping<MemoryDisk>| {
        let depot = Depot::open(disk)?;
        send(&depot, &b, 1000)?;
        send(&depot, &c, 1000)?;
        depot.clear(&[b.version(), c.version()].into(), LATER)
    };
    let counting = Stopping::at(u64::MAX, before.restarted());
    let steps = counting.steps();
    job(counting).unwrap();
    let all = [&a, &b, &c];
    for step in 0..=steps.load(Ordering::SeqCst) {
        let stopped = before.restarted();
        let result = job(Stopping::at(step, stopped.clone()));
        assert!(result.is_ok() || step < steps.load(Ordering::SeqCst));
        for seed in 0..8 {
            let when = format!("power lost before step {step}, seed {seed}");
            let disk = stopped.crashed(seed);
            let versions = assert_whole(&disk.restarted(), &all, &when);
            if result.is_ok() {
                assert!(
                    versions.is_superset(&[b.version(), c.version()].into()),
                    "{when}"
                );
            }
            let again = job(Stopping::at(u64::MAX, disk.restarted()));
            again.unwrap_or_else(|error| panic!("{when}, done again: {error}"));
        }
    }
}

const LATER: Timestamp = Timestamp {
    seconds: i64::MAX,
    nanoseconds: 0,
};

#[test]
fn what_no_version_needs_is_cleared_away_unless_it_just_came() {
    let [a, b, _] = trees();
    let disk = memory();
    let depot = Depot::open(disk.clone()).unwrap();
    send(&depot, &a, 1000).unwrap();
    send(&depot, &b, 1000).unwrap();
    let young = Content {
        hash: Hash::of(b"young"),
        size: 5,
    };
    depot.receive(young, 0, b"you").unwrap();
    let before = Timestamp {
        seconds: i64::MIN,
        nanoseconds: 0,
    };
    let cleared = depot.clear(&[b.version()].into(), before).unwrap();
    assert_eq!((cleared.versions, cleared.contents), (1, 0));
    let cleared = depot.clear(&[b.version()].into(), LATER).unwrap();
    // "one", "gone", and what was coming.
    assert_eq!(
        cleared,
        Cleared {
            versions: 0,
            contents: 3,
            bytes: 3 + 4 + 3
        }
    );
    drop(depot);
    assert_eq!(assert_whole(&disk, &[&b], "cleared"), [b.version()].into());
}

#[test]
fn a_full_disk_is_named_and_nothing_is_lost() {
    let [a, _, _] = trees();
    let disk = memory();
    let depot = Depot::open(disk.clone()).unwrap();
    send(&depot, &a, 1000).unwrap();
    disk.set_options(MemoryOptions {
        capacity: 1,
        ..MemoryOptions::default()
    });
    let more = Tree::new().file("more", vec![1; 5000]);
    let error = send(&depot, &more, 1000).unwrap_err();
    assert_eq!(error.kind(), bellwether_disk::ErrorKind::NoSpace);
    drop(depot);
    disk.set_options(MemoryOptions::default());
    assert_eq!(assert_whole(&disk, &[&a], "full"), [a.version()].into());
}

fn scanned(path: &Path) -> Source {
    let scan = scan::scan(path, &ScanPolicy::default(), Fingerprints::default(), &()).unwrap();
    Source::scanned(path, scan).unwrap()
}

/// DELTA-09, VERSION-02: the shadow serves as base and as target of a plan.
#[test]
fn an_update_between_two_kept_versions_makes_the_second_of_the_first() {
    let place = tempfile::tempdir().unwrap();
    let (staging, root) = (place.path().join("staging"), place.path().join("root"));
    for dir in [&staging, &root, &place.path().join("depot")] {
        fs::create_dir(dir).unwrap();
    }
    let depot = Depot::open(RealDisk::open(&place.path().join("depot")).unwrap()).unwrap();
    fs::write(staging.join("page"), "one ".repeat(100_000)).unwrap();
    fs::write(staging.join("same"), "same").unwrap();
    fs::write(staging.join("empty"), "").unwrap();
    let import = |first_seen: &Manifest| {
        let source = scanned(&staging);
        let imported = depot.import(&source, 2).unwrap();
        let goal = source.manifest().clone().with_first_seen(first_seen);
        (imported, depot.keep(&goal).unwrap())
    };
    let (imported, one) = import(&Manifest::empty());
    assert_eq!(
        imported,
        Imported {
            contents: 3,
            bytes: 400_004
        }
    );
    fs::write(staging.join("page"), "two ".repeat(100_000)).unwrap();
    let (imported, two) = import(&depot.manifest(&one).unwrap());
    assert_eq!(
        imported,
        Imported {
            contents: 1,
            bytes: 400_000
        }
    );
    // The staging tree is needed no longer.
    fs::remove_dir_all(&staging).unwrap();

    let site = Site::open(
        RealDisk::open(&root).unwrap(),
        "shop".parse().unwrap(),
        kit::options(),
    );
    for (serial, base, target) in [(1, None, one), (2, Some(one), two)] {
        let base = base.map_or_else(Source::empty, |base| depot.source(&base).unwrap());
        let making = Making {
            coding: Coding {
                effort: Effort::Default,
                size_max: None,
            },
            first_seen: base.manifest(),
            compressible: &|_| true,
            header: Header::new(Action::Publish, Serial(serial), Term(1)),
            signing: None,
            sealing: None,
            threads: None,
            progress: &|_, _| {},
        };
        let out = place.path().join("assignment");
        publish(&base, &depot.source(&target).unwrap(), &making, &out).unwrap();
        let accepting = Accepting {
            trust: &Trust::Anyone,
            content_key: None,
            allow_set_id: false,
            progress: &|_, _| {},
        };
        let staged = stage(&site, [fs::File::open(&out).unwrap()], &accepting).unwrap();
        assert_eq!(staged.version, target);
        site.commit(None).unwrap();
    }
    let live = fs::read_to_string(root.join("shop/live/page")).unwrap();
    assert_eq!(live, "two ".repeat(100_000));
}

#[test]
fn a_tree_that_changes_while_it_is_copied_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let staging = place.path().join("staging");
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("page"), "one").unwrap();
    let source = scanned(&staging);
    fs::write(staging.join("page"), "two").unwrap();
    let depot = Depot::open(memory()).unwrap();
    assert!(matches!(
        depot.import(&source, 1),
        Err(DepotError::Source(SourceError::Changed { .. }))
    ));
    assert_eq!(depot.missing(source.manifest()).unwrap().len(), 1);
}
