//! The interpreter: an assignment staged on a disk in memory, beside a live tree.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use bellwether_content::assignment::Trust;
use bellwether_disk::disk::Kind;
use bellwether_disk::stage::{Accepting, StageError, Staged, stage};
use bellwether_disk::{Disk, MemoryDisk, Options, Site};
use bellwether_kit::farm::{Farm, Making, build, make};

use crate::assignment::{CONTENT_LEN_MAX, content_len};
use crate::draft::{self, Draft};

/// Either the version comes out that the same bytes make without a disk, and can be made live and
/// left again; or there is an error, and nothing has changed.
pub(crate) fn run(input: &[u8]) {
    let Some(draft) = Draft::read(input) else {
        return;
    };
    let Some(mut header) = draft.header() else {
        return;
    };
    let trust = draft::trust(&header);
    let key = draft::content_key();
    let bytes = draft.sealed(header.clone());
    let announced = content_len(&bytes);
    if announced.is_some_and(|len| len > CONTENT_LEN_MAX) && !draft.brings_nothing() {
        return;
    }
    let mut expected = None;
    if draft.is_in_order() {
        header.content_len = announced.unwrap_or(0);
        let built = build(draft::base(), &[bytes], &trust, Some(&key));
        if let Ok(built) = built {
            header.target = Some(built.manifest.version());
            expected = header.target;
        }
    }
    let disk = published().restarted();
    let site = site(disk.clone());
    let staged = staged(&site, &draft.sealed(header), &trust, draft.allows_set_id());
    match staged {
        Ok(staged) => {
            if draft.is_in_order() {
                assert_eq!(Some(staged.version), expected);
            }
            assert_eq!(
                site.status().expect("a status").staged,
                Some(staged.version)
            );
            assert_eq!(site.verify(Some(staged.version)).expect("it is there"), []);
            let before = site.status().expect("a status").live;
            site.commit(None).expect("what is staged can be live");
            assert_eq!(site.status().expect("a status").live, Some(staged.version));
            if before != Some(staged.version) {
                site.rollback(None).expect("there is a version before");
            }
            assert_eq!(site.status().expect("a status").live, before);
            assert_eq!(site.verify(None).expect("it is there"), []);
        }
        Err(error) => {
            let policy = matches!(error, StageError::SetId { .. });
            assert!(expected.is_none() || policy, "{error:?}");
            let (now, then) = (site.status(), self::site(published().restarted()).status());
            let (now, then) = (now.expect("a status"), then.expect("a status"));
            assert_eq!((now.live, now.staged), (then.live, then.staged));
            assert_eq!((now.releases, now.serial), (then.releases, then.serial));
            site.recover().expect("a refusal leaves nothing to fail at");
            assert_eq!(names(&disk), names(published()), "after {error:?}");
        }
    }
}

/// A disk with the base live. Nobody changes it.
fn published() -> &'static MemoryDisk {
    static DISK: LazyLock<MemoryDisk> = LazyLock::new(|| {
        let disk = MemoryDisk::new(Default::default());
        let parts = make(&Farm::default(), draft::base(), &Making::default());
        let site = site(disk.clone());
        staged(&site, &parts[0], &Trust::Anyone, false).expect("the base can be staged");
        site.commit(None).expect("and committed");
        site.recover().expect("and swept");
        disk
    });
    &DISK
}

fn site(disk: MemoryDisk) -> Site<MemoryDisk> {
    let options = Options {
        threads: 1,
        clock: Arc::new(Default::default),
        // Any owner is somebody here.
        owners: Arc::new(|_| Ok(None)),
        ..Options::default()
    };
    Site::open(disk, "shop".parse().expect("a name"), options)
}

fn staged(
    site: &Site<MemoryDisk>,
    bytes: &[u8],
    trust: &Trust,
    allow_set_id: bool,
) -> Result<Staged, StageError> {
    let accepting = Accepting {
        trust,
        content_key: Some(&draft::content_key()),
        allow_set_id,
        progress: &|_, _| {},
    };
    stage(site, [bytes], &accepting)
}

/// Every path on the disk, apart from what is only a cache or a note.
fn names(disk: &MemoryDisk) -> BTreeSet<Vec<u8>> {
    let root = disk.root().expect("there is a root");
    let mut names = BTreeSet::new();
    let mut waiting = vec![b"shop".to_vec()];
    while let Some(path) = waiting.pop() {
        let dir = disk.open_dir(&root, &path).expect("it was listed");
        for listed in disk.list(&dir).expect("it is open") {
            let path = [&path, b"/".as_slice(), &listed.name].concat();
            if listed.kind == Kind::Directory {
                waiting.push(path.clone());
            }
            let noted = [&b"fingerprints"[..], b"lock"].contains(&&listed.name[..]);
            // Shards of the object store may stay when they are empty.
            let shard =
                path.starts_with(b"shop/.bellwether/objects/") && listed.kind == Kind::Directory;
            if !noted && !shard {
                names.insert(path);
            }
        }
    }
    names
}
