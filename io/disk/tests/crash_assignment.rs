//! The crash matrix of a real assignment: planned from trees, read by the interpreter, and cut
//! short at every step from its first byte to the switch.

mod kit;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bellwether_content::assignment::{Action, DataWriter, Head, Header, Trust};
use bellwether_content::update::Coding;
use bellwether_delta::Effort;
use bellwether_disk::publish::{Making, Source, publish};
use bellwether_disk::scan::{self, Fingerprints, ScanPolicy};
use bellwether_disk::stage::{Accepting, StageError, stage};
use bellwether_disk::{Disk, MemoryDisk, Site, SiteError};
use bellwether_types::{Serial, Term, VersionId};
use bellwether_wire::SigningKey;
use kit::{Job, Matrix, memory, site};

const SEEDS: u64 = 12;

/// An update as it is sent, in one file or several.
struct Update {
    parts: Vec<Vec<u8>>,
    target: VersionId,
    signing: SigningKey,
}

/// The update from nothing to the first tree, and from there to the second.
fn updates(size_max: Option<u64>) -> [Update; 2] {
    let place = tempfile::tempdir().unwrap();
    let (old, new) = (place.path().join("old"), place.path().join("new"));
    write_trees(&old, &new);
    let source = |path: &Path| {
        let policy = ScanPolicy::default();
        let scan = scan::scan(path, &policy, Fingerprints::default(), &()).unwrap();
        Source::scanned(path, scan).unwrap()
    };
    let (old, new) = (source(&old), source(&new));
    let make = |base: &Source, target: &Source| {
        let signing = SigningKey::from_seed([7; 32]);
        let making = Making {
            coding: Coding {
                effort: Effort::Default,
                size_max,
            },
            first_seen: base.manifest(),
            compressible: &|_| true,
            header: Header::new(Action::Publish, Serial(0), Term(1)),
            signing: Some(&signing),
            sealing: None,
            threads: None,
            progress: &|_, _| {},
        };
        let made = publish(base, target, &making, &place.path().join("out")).unwrap();
        let parts = made.parts.iter().map(|(path, ..)| fs::read(path).unwrap());
        Update {
            parts: parts.collect(),
            target: made.target.version(),
            signing,
        }
    };
    [make(&Source::empty(), &old), make(&old, &new)]
}

/// Edited, moved, removed, emptied, given other permissions, and larger than what is written in
/// one piece.
fn write_trees(old: &Path, new: &Path) {
    for root in [old, new] {
        fs::create_dir_all(root.join("docs")).unwrap();
        fs::write(root.join("docs/same"), "unchanged").unwrap();
        fs::write(root.join("tool"), "#!/bin/sh").unwrap();
    }
    fs::write(old.join("index"), "one ".repeat(300)).unwrap();
    fs::write(old.join("gone"), "gone").unwrap();
    fs::create_dir(old.join("from")).unwrap();
    fs::write(old.join("from/page"), "moved content").unwrap();
    symlink("index", old.join("link")).unwrap();

    fs::write(new.join("index"), "one ".repeat(290) + "and two").unwrap();
    fs::create_dir_all(new.join("to/empty")).unwrap();
    fs::write(new.join("to/page"), "moved content").unwrap();
    fs::write(new.join("large"), noise(600_000)).unwrap();
    fs::write(new.join("nothing"), "").unwrap();
    fs::set_permissions(new.join("tool"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("docs/same", new.join("link")).unwrap();
}

/// Repeatable bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

impl Update {
    fn stage<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        let accepting = Accepting {
            trust: &Trust::Keys(vec![self.signing.public()]),
            content_key: None,
            allow_set_id: false,
            progress: &|_, _| {},
        };
        match stage(site, self.parts.iter().map(Vec::as_slice), &accepting) {
            Ok(staged) => {
                assert_eq!(staged.version, self.target);
                Ok(())
            }
            Err(StageError::Site(error)) => Err(error),
            Err(error) => panic!("the assignment is whole: {error:?}"),
        }
    }

    /// A disk on which these were published in order.
    fn publish_all(updates: &[&Self]) -> MemoryDisk {
        let disk = memory();
        let site = site(disk.clone());
        for update in updates {
            update.stage(&site).unwrap();
            site.commit(None).unwrap();
        }
        disk.sync_all().unwrap();
        disk
    }
}

impl Job for Update {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        self.stage(site)
    }
}

/// All of it in one go.
struct Publish<'a>(&'a Update);

impl Job for Publish<'_> {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        self.0.stage(site)?;
        site.commit(Some(self.0.target)).map(drop)
    }
}

struct Rollback<'a>(&'a Update);

impl Job for Rollback<'_> {
    fn run<D: Disk>(&self, site: &Site<D>) -> Result<(), SiteError> {
        site.rollback(Some(self.0.target)).map(drop)
    }
}

fn check(before: &MemoryDisk, job: &impl Job) {
    let matrix = Matrix {
        before,
        seeds: SEEDS,
        damaged: false,
    };
    let steps = matrix.check(job);
    println!("{steps} steps, each killed once and without power {SEEDS} times");
}

/// INTERP-08.
#[test]
fn the_first_assignment_is_staged_whole_or_not_at_all() {
    let [first, _] = updates(None);
    check(&memory(), &first);
}

/// INTERP-08.
#[test]
fn an_update_is_staged_whole_or_not_at_all() {
    let [first, update] = updates(None);
    check(&Update::publish_all(&[&first]), &update);
}

/// INTERP-08, COMMIT-12.
#[test]
fn an_update_in_parts_is_staged_whole_or_not_at_all() {
    let [first, update] = updates(Some(Coding::SIZE_MIN));
    assert!(update.parts.len() > 1);
    check(&Update::publish_all(&[&first]), &update);
}

/// COMMIT-10.
#[test]
fn from_the_first_byte_to_the_switch_what_is_live_is_wholly_old_or_wholly_new() {
    let [first, update] = updates(None);
    check(&Update::publish_all(&[&first]), &Publish(&update));
}

/// COMMIT-10.
#[test]
fn a_rollback_of_an_update_is_wholly_new_or_wholly_old() {
    let [first, update] = updates(None);
    check(&Update::publish_all(&[&first, &update]), &Rollback(&first));
}

/// An order that goes the way of assignments, and has nothing to unpack.
#[test]
fn an_order_to_commit_is_not_staged() {
    let mut header = Header::new(Action::Commit, Serial(1), Term(1));
    header.target = Some(updates(None)[0].target);
    let head = Head {
        blocks: DataWriter::new(None).finish(&mut header, &mut Vec::new()),
        header,
        body: Vec::new(),
    };
    let (_, bytes) = head.encode(Effort::Default, None, None);
    let accepting = Accepting {
        trust: &Trust::Anyone,
        content_key: None,
        allow_set_id: false,
        progress: &|_, _| {},
    };
    let refused = stage(&site(memory()), [bytes.as_slice()], &accepting).unwrap_err();
    let said = refused.to_string();
    assert_eq!(
        said,
        "the assignment is a commit: there is nothing to stage"
    );
}
