use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use bellwether_content::Entry;
use bellwether_types::Hash;
use tempfile::TempDir;

use super::*;

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

/// A tree of files, named by path, that hold their own path; names that end in `/` are
/// directories.
fn tree(names: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in names {
        let at = root.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(at).unwrap();
        } else {
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, name).unwrap();
        }
    }
    root
}

/// Scans at a time when everything on disk is old enough to be believed.
fn later() -> ScanPolicy {
    ScanPolicy {
        started: Some(SystemTime::now() + Duration::from_secs(3600)),
        ..ScanPolicy::default()
    }
}

fn check(root: &TempDir, policy: &ScanPolicy) -> Result<Scan, ScanError> {
    scan(root.path(), policy, Fingerprints::default(), &())
}

fn paths(scan: &Scan) -> Vec<String> {
    scan.manifest
        .iter()
        .map(|(path, _)| path.to_string())
        .collect()
}

/// Runs something once or each time the scanner is about to read a file.
struct Meddler<F>(F);

impl<F: Fn(&TreePath) + Sync> Watch for Meddler<F> {
    fn reading(&self, path: &TreePath) {
        self.0(path);
    }
}

fn append(file: PathBuf) {
    OpenOptions::new()
        .append(true)
        .open(file)
        .unwrap()
        .write_all(b"!")
        .unwrap();
}

#[test]
fn everything_in_a_tree_is_in_its_manifest() {
    let root = tree(&["a/b/file", "a-b", "empty/", "z"]);
    symlink("b/file", root.path().join("a/link")).unwrap();
    fs::set_permissions(root.path().join("z"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(root.path().join("empty"), PermissionsExt::from_mode(0o700)).unwrap();
    let scan = check(&root, &ScanPolicy::default()).unwrap();

    assert_eq!(
        paths(&scan),
        ["a", "a/b", "a/b/file", "a/link", "a-b", "empty", "z"]
    );
    let Some(Entry::File(file)) = scan.manifest.get(&path("a/b/file")) else {
        panic!("a file")
    };
    assert_eq!((file.size, file.hash), (8, Hash::of(b"a/b/file")));
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!((since.as_secs() as i64 - file.modified.seconds).abs() < 60);
    let Some(Entry::File(program)) = scan.manifest.get(&path("z")) else {
        panic!("a file")
    };
    assert_eq!(program.mode.bits(), 0o755);
    let Some(Entry::Directory { mode, .. }) = scan.manifest.get(&path("empty")) else {
        panic!("a directory")
    };
    assert_eq!(mode.bits(), 0o700);
    assert!(matches!(
        scan.manifest.get(&path("a/link")),
        Some(Entry::Symlink { target, .. }) if **target == *b"b/file"
    ));
    assert_eq!((scan.files_hashed, scan.bytes_hashed), (3, 12));
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    let names: Vec<String> = (0..1500)
        .map(|i| format!("{}/{}/{i}", i % 7, i % 3))
        .collect();
    let root = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for i in 0..1000 {
        fs::write(root.path().join(format!("flat-{i}")), "x").unwrap();
    }
    let large: Vec<u8> = (0..9_000_001_u32).map(|i| (i >> 3) as u8).collect();
    fs::write(root.path().join("large"), &large).unwrap();
    let scans = [1, 2, 8].map(|threads| {
        let threads = std::num::NonZeroUsize::new(threads);
        check(&root, &ScanPolicy { threads, ..later() }).unwrap()
    });
    assert_eq!(scans[0].manifest.files().count(), 2501);
    for other in &scans[1..] {
        assert_eq!(other.manifest, scans[0].manifest);
        assert_eq!(other.fingerprints, scans[0].fingerprints);
    }
    let Some(Entry::File(file)) = scans[0].manifest.get(&path("large")) else {
        panic!("a file")
    };
    assert_eq!(file.hash, Hash::of(&large));
}

#[test]
fn names_that_are_not_utf8_work() {
    use std::os::unix::ffi::OsStrExt;
    let root = tree(&[]);
    let name = b"caf\xe9";
    fs::create_dir(root.path().join(std::ffi::OsStr::from_bytes(name))).unwrap();
    fs::write(
        root.path()
            .join(std::ffi::OsStr::from_bytes(b"caf\xe9/\xff")),
        "x",
    )
    .unwrap();
    let scan = check(&root, &ScanPolicy::default()).unwrap();
    assert!(
        scan.manifest
            .contains(&TreePath::new(*b"caf\xe9/\xff").unwrap())
    );
}

#[test]
fn a_tree_deeper_than_the_limit_of_open_files_is_walked() {
    let root = tree(&[&"d/".repeat(1500)]);
    assert_eq!(
        check(&root, &ScanPolicy::default()).unwrap().manifest.len(),
        1500
    );
}

/// DELTA-03.
#[test]
fn only_files_that_changed_are_read_again() {
    let root = tree(&["kept", "touched", "written"]);
    let first = check(&root, &later()).unwrap();
    fs::File::options()
        .write(true)
        .open(root.path().join("touched"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    append(root.path().join("written"));

    let read = Mutex::new(Vec::new());
    let watch = Meddler(|path: &TreePath| read.lock().unwrap().push(path.to_string()));
    let second = scan(root.path(), &later(), first.fingerprints.clone(), &watch).unwrap();
    let mut read = read.into_inner().unwrap();
    read.sort();
    assert_eq!(read, ["touched", "written"]);
    let hash = |scan: &Scan, name| match scan.manifest.get(&path(name)) {
        Some(Entry::File(file)) => file.hash,
        _ => panic!("a file"),
    };
    assert_eq!(hash(&second, "kept"), hash(&first, "kept"));
    assert_eq!(hash(&second, "touched"), hash(&first, "touched"));
    assert_eq!(hash(&second, "written"), Hash::of(b"written!"));
}

#[test]
fn a_file_touched_just_before_the_scan_is_read_whatever_its_fingerprint() {
    let root = tree(&["file"]);
    let first = check(&root, &later()).unwrap();
    assert_eq!(first.fingerprints.len(), 1);
    let again = scan(
        root.path(),
        &ScanPolicy::default(),
        first.fingerprints.clone(),
        &(),
    )
    .unwrap();
    assert_eq!(again.files_hashed, 1);
    assert!(
        again.fingerprints.is_empty(),
        "the next scan must not believe it either"
    );
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again() {
    for len in [10, 5 << 20] {
        let root = tree(&["other"]);
        let file = root.path().join("file");
        fs::write(&file, vec![7; len]).unwrap();
        let once = std::sync::Once::new();
        let watch = Meddler(|path: &TreePath| {
            if path.as_bytes() == b"file" {
                once.call_once(|| append(file.clone()));
            }
        });
        let scan = scan(root.path(), &later(), Fingerprints::default(), &watch).unwrap();
        let Some(Entry::File(found)) = scan.manifest.get(&path("file")) else {
            panic!("a file")
        };
        assert_eq!(found.size, len as u64 + 1);
        assert_eq!(found.hash, Hash::of(&fs::read(&file).unwrap()));
        assert_eq!(scan.files_hashed, 3, "{len}");
    }
}

#[test]
fn a_file_that_keeps_changing_is_refused_by_name() {
    for len in [10, 5 << 20] {
        let root = tree(&["a/other"]);
        let file = root.path().join("a/file");
        fs::write(&file, vec![7; len]).unwrap();
        let watch = Meddler(|path: &TreePath| {
            if path.as_bytes() == b"a/file" {
                append(file.clone());
            }
        });
        let error = scan(root.path(), &later(), Fingerprints::default(), &watch).unwrap_err();
        assert!(matches!(&error, ScanError::Changing { path } if path.to_string() == "a/file"));
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_read_again() {
    for len in [10, 5 << 20] {
        let root = tree(&[]);
        let file = root.path().join("file");
        fs::write(&file, vec![7; len]).unwrap();
        let once = std::sync::Once::new();
        let watch = Meddler(|_: &TreePath| once.call_once(|| fs::write(&file, "short").unwrap()));
        let scan = scan(root.path(), &later(), Fingerprints::default(), &watch).unwrap();
        let Some(Entry::File(found)) = scan.manifest.get(&path("file")) else {
            panic!("a file")
        };
        assert_eq!(found.hash, Hash::of(b"short"));
    }
}

#[test]
fn a_file_replaced_by_a_link_while_it_is_read_is_not_followed() {
    let root = tree(&["file", "other"]);
    let once = std::sync::Once::new();
    let watch = Meddler(|path: &TreePath| {
        if path.as_bytes() == b"file" {
            once.call_once(|| {
                fs::remove_file(root.path().join("file")).unwrap();
                symlink("other", root.path().join("file")).unwrap();
            });
        }
    });
    let scan = scan(root.path(), &later(), Fingerprints::default(), &watch).unwrap();
    assert!(matches!(
        scan.manifest.get(&path("file")),
        Some(Entry::Symlink { .. })
    ));
}

/// Moved from a directory that is listed late to one that was listed early, a file would be in
/// neither list.
#[test]
fn a_file_that_moves_between_directories_meanwhile_is_not_missed() {
    let root = tree(&["top", "early/x", "late/y", "late/moving"]);
    let once = std::sync::Once::new();
    let watch = Meddler(|path: &TreePath| {
        let (from, to) = match path.as_bytes() {
            b"early/x" => ("late", "early"),
            b"late/y" | b"late/moving" => ("early", "late"),
            _ => return,
        };
        once.call_once(|| {
            let from = root.path().join(from);
            let name = fs::read_dir(&from)
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .file_name();
            fs::rename(from.join(&name), root.path().join(to).join(&name)).unwrap();
        });
    });
    let threads = std::num::NonZeroUsize::new(1);
    let policy = ScanPolicy { threads, ..later() };
    let scan = scan(root.path(), &policy, Fingerprints::default(), &watch).unwrap();
    assert_eq!(scan.manifest.files().count(), 4, "{:?}", paths(&scan));
}

#[test]
fn a_directory_that_keeps_changing_is_refused_by_name() {
    let root = tree(&["a/file"]);
    let count = std::sync::atomic::AtomicU32::new(0);
    let watch = Meddler(|_: &TreePath| {
        let next = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        fs::write(root.path().join("a").join(next.to_string()), "new").unwrap();
    });
    let error = scan(root.path(), &later(), Fingerprints::default(), &watch).unwrap_err();
    assert!(
        matches!(&error, ScanError::Changing { path } if path.to_string() == "a"),
        "{error}"
    );
}

#[test]
fn sockets_and_fifos_are_refused_or_skipped_by_name() {
    let root = tree(&["a/file"]);
    let _socket = UnixListener::bind(root.path().join("a/socket")).unwrap();
    let error = check(&root, &ScanPolicy::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a/socket: is a socket, which no site can hold"
    );

    let fifo = root.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let policy = ScanPolicy {
        specials: Specials::Skip,
        ..ScanPolicy::default()
    };
    let mut scan = check(&root, &policy).unwrap();
    scan.skipped.sort();
    assert_eq!(paths(&scan), ["a", "a/file"]);
    assert_eq!(
        scan.skipped,
        [
            (path("a/socket"), SpecialKind::Socket),
            (path("fifo"), SpecialKind::Fifo)
        ]
    );
}

/// Only the super-user can make one.
#[test]
fn devices_are_refused_by_name() {
    let root = tree(&["a/file"]);
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        root.path().join("a/null"),
        rustix::fs::FileType::CharacterDevice,
        0o600.into(),
        rustix::fs::makedev(1, 3),
    );
    if made.is_err() {
        eprintln!("no devices can be made here, so none is refused");
        return;
    }
    let error = check(&root, &ScanPolicy::default()).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("a/null: is a device"), "{said}");
}

#[test]
fn files_that_set_ids_are_refused_unless_policy_allows() {
    let root = tree(&["bin/su"]);
    let program = root.path().join("bin/su");
    fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    let error = check(&root, &ScanPolicy::default()).unwrap_err();
    assert!(
        matches!(&error, ScanError::SetId { path, mode: 0o4755 } if path.as_bytes() == b"bin/su")
    );
    let policy = ScanPolicy {
        allow_set_id: true,
        ..ScanPolicy::default()
    };
    let scan = check(&root, &policy).unwrap();
    assert!(
        matches!(scan.manifest.get(&path("bin/su")), Some(Entry::File(file)) if file.mode.sets_id())
    );
}

#[test]
fn a_shared_staging_directory_keeps_its_group_bit_to_itself() {
    let root = tree(&["team/"]);
    let team = root.path().join("team");
    fs::set_permissions(&team, PermissionsExt::from_mode(0o2775)).unwrap();
    let scan = check(&root, &ScanPolicy::default()).unwrap();
    assert!(matches!(
        scan.manifest.get(&path("team")),
        Some(Entry::Directory { mode, .. }) if mode.bits() == 0o775
    ));
}

#[test]
fn file_capabilities_are_refused_even_if_the_file_was_seen_before() {
    let root = tree(&["ping"]);
    let program = root.path().join("ping");
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    // VFS_CAP_REVISION_2 with CAP_NET_RAW permitted and effective.
    let value = [[1, 0, 0, 2], [0, 0x20, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
    let flags = rustix::fs::XattrFlags::empty();
    if let Err(errno) = rustix::fs::setxattr(&program, "security.capability", &value, flags) {
        eprintln!("skipped: capabilities cannot be set here: {errno}");
        return;
    }
    let allowing = ScanPolicy {
        allow_capabilities: true,
        ..later()
    };
    let allowed = check(&root, &allowing).unwrap();
    assert_eq!(allowed.manifest.len(), 1);
    let error = scan(root.path(), &later(), allowed.fingerprints.clone(), &()).unwrap_err();
    assert!(matches!(error, ScanError::Capability { .. }), "{error}");
}

#[test]
fn a_link_out_of_the_tree_is_refused_with_its_target() {
    let root = tree(&["a/file"]);
    symlink("../../etc/passwd", root.path().join("a/link")).unwrap();
    let error = check(&root, &ScanPolicy::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a/link") && error.contains("../../etc/passwd"),
        "{error}"
    );
}

#[test]
fn owners_are_kept_by_name_where_policy_says_so() {
    let root = tree(&["file"]);
    let policy = ScanPolicy {
        ownership: Ownership::ByName,
        ..ScanPolicy::default()
    };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root's name is the same everywhere");
        return;
    }
    let scan = check(&root, &policy).unwrap();
    let owner = scan
        .manifest
        .get(&path("file"))
        .unwrap()
        .owner()
        .unwrap()
        .clone();
    assert_eq!(
        (owner.user.as_str(), owner.group.as_str()),
        ("root", "root")
    );

    std::os::unix::fs::chown(root.path().join("file"), Some(3_999_999_999), None).unwrap();
    let error = check(&root, &policy).unwrap_err();
    assert_eq!(error.to_string(), "file: user 3999999999 has no name here");
}

/// CCM-03.
#[test]
fn filters_combine() {
    let root = tree(&[
        "index.html",
        "logo.png",
        "docs/a.html",
        "docs/b.txt",
        "docs/draft/c.html",
        "img/x.png",
        "cache/y.html",
        "void/",
    ]);
    let kept = |include: &[&str], exclude: &[&str], types: &[&str]| {
        let filter = Filter::new(include, exclude, types).unwrap();
        paths(
            &check(
                &root,
                &ScanPolicy {
                    filter,
                    ..ScanPolicy::default()
                },
            )
            .unwrap(),
        )
    };
    assert_eq!(
        kept(&[], &["cache", "draft", "*.png"], &[]),
        [
            "docs",
            "docs/a.html",
            "docs/b.txt",
            "img",
            "index.html",
            "void"
        ]
    );
    assert_eq!(
        kept(&["docs"], &["draft"], &[]),
        ["docs", "docs/a.html", "docs/b.txt"]
    );
    assert_eq!(
        kept(&["docs/draft", "*.png"], &[], &[]),
        [
            "docs",
            "docs/draft",
            "docs/draft/c.html",
            "img",
            "img/x.png",
            "logo.png"
        ]
    );
    assert_eq!(
        kept(&["docs", "img"], &["draft"], &["html", ".png"]),
        ["docs", "docs/a.html", "img", "img/x.png"]
    );
    assert_eq!(kept(&["docs"], &["docs"], &[]), [""; 0]);
}

#[test]
fn a_directory_that_cannot_be_opened_is_named() {
    let missing = scan(
        Path::new("/nonexistent"),
        &later(),
        Fingerprints::default(),
        &(),
    );
    assert!(missing.unwrap_err().to_string().contains("/nonexistent"));

    let root = tree(&["a/locked/"]);
    fs::set_permissions(
        root.path().join("a/locked"),
        PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root opens everything");
        return;
    }
    let error = check(&root, &ScanPolicy::default()).unwrap_err();
    assert_eq!(error.to_string(), "a/locked: cannot open it");
}
