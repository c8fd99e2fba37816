//! File systems that share content between files: each tree has inodes of its own, so that an
//! edit of a live file harms nothing else. Needs root, `mkfs.btrfs` or `mkfs.xfs`, and loop
//! devices; says so and passes where they are missing.

mod kit;

use std::path::Path;
use std::process::Command;

use bellwether_disk::RealDisk;
use kit::{assert_sound, site, trees};

#[test]
fn on_btrfs_an_edit_of_a_live_file_harms_nothing_else() {
    on("btrfs", &["-q"]);
}

#[test]
fn on_xfs_an_edit_of_a_live_file_harms_nothing_else() {
    on("xfs", &["-q", "-m", "reflink=1"]);
}

fn on(kind: &str, options: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(directory.path(), kind, options) else {
        eprintln!("skipped: cannot make and mount {kind} here");
        return;
    };
    let [a, b, c] = trees();
    let disk = RealDisk::open(&mounted.0).unwrap();
    let site = site(disk.clone());
    a.stage(&site, 1, None).unwrap();
    site.commit(None).unwrap();
    b.stage(&site, 2, Some(&a)).unwrap();
    site.commit(None).unwrap();
    let live = mounted.0.join("shop/live/same");
    let older = mounted.0.join(kit::release_path(&a, "same"));
    assert_ne!(
        inode(&live),
        inode(&older),
        "hard links where reflinks are possible"
    );
    std::fs::write(&live, "EDITED").unwrap();
    c.stage(&site, 3, Some(&b)).unwrap();
    assert_eq!(std::fs::read(&older).unwrap(), b"unchanged");
    site.commit(None).unwrap();
    // A rollback puts the edited file right.
    site.rollback(None).unwrap();
    assert_eq!(std::fs::read(&live).unwrap(), b"unchanged");
    assert_sound(&disk, kind);
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

/// A file system in a file, unmounted when dropped.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(directory: &Path, kind: &str, options: &[&str]) -> Option<Self> {
        let (image, at) = (directory.join("image"), directory.join("mounted"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(512 << 20)
            .unwrap();
        let ran =
            |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let made = ran(Command::new(format!("mkfs.{kind}"))
            .args(options)
            .arg(&image));
        let mounted = made
            && ran(Command::new("mount")
                .args(["-o", "loop", "-t", kind])
                .arg(&image)
                .arg(&at));
        mounted.then_some(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
