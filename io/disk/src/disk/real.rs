//! The system's file systems, through calls relative to an open directory.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bellwether_content::Timestamp;
use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags};

use super::{Disk, Errno, Ids, Kind, Listed, Space, Stat, Step, TryLock};

/// A directory of this machine. Clones are the same directory.
#[derive(Debug, Clone)]
pub struct RealDisk {
    root: Arc<OwnedFd>,
    path: PathBuf,
}

/// A lock of a [`RealDisk`].
#[derive(Debug)]
pub struct RealLock(OwnedFd);

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing would not do: while another thread starts a process, that process has the file
        // open too, from its fork to its exec, and would hold the lock for that time.
        let _ = fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// The most bytes of a lock's note that are read.
const HOLDER_LEN_MAX: usize = 256;

impl RealDisk {
    /// Opens the directory at `path`; symbolic links on the way to it are the operator's choice
    /// and are followed, those beneath it are not.
    pub fn open(path: &Path) -> Step<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: Arc::new(fs::open(path, flags, Mode::empty())?),
            path: path.to_owned(),
        })
    }
}

/// Opens beneath `at` whatever `path` says; a kernel without `openat2` (before Linux 5.6) is
/// given single components only.
fn open_beneath(at: &OwnedFd, path: &[u8], flags: OFlags) -> Step<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if !path.contains(&b'/') && !matches!(path, b"" | b"." | b"..") {
        return fs::openat(at, path, flags, Mode::empty());
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    fs::openat2(at, path, flags, Mode::empty(), resolve)
}

impl Disk for RealDisk {
    type Dir = OwnedFd;
    type File = OwnedFd;
    type Lock = RealLock;

    fn path(&self) -> &Path {
        &self.path
    }

    fn root(&self) -> Step<OwnedFd> {
        rustix::io::fcntl_dupfd_cloexec(&*self.root, 0)
    }

    fn open_dir(&self, at: &OwnedFd, path: &[u8]) -> Step<OwnedFd> {
        open_beneath(at, path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn open_file(&self, at: &OwnedFd, path: &[u8]) -> Step<OwnedFd> {
        open_beneath(at, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    fn open_file_to_write(&self, at: &OwnedFd, path: &[u8]) -> Step<OwnedFd> {
        open_beneath(at, path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    fn open_to_write(&self, at: &OwnedFd, name: &[u8]) -> Step<OwnedFd> {
        open_beneath(at, name, OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    fn read_at(&self, file: &OwnedFd, buffer: &mut [u8], offset: u64) -> Step<usize> {
        retrying(|| rustix::io::pread(file, &mut *buffer, offset))
    }

    fn read_link(&self, at: &OwnedFd, name: &[u8]) -> Step<Vec<u8>> {
        Ok(fs::readlinkat(at, name, Vec::new())?.into_bytes())
    }

    fn list(&self, at: &OwnedFd) -> Step<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in fs::Dir::read_from(at)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => self.stat(at, name)?.kind,
                known => kind(known),
            };
            listed.push(Listed {
                name: name.to_vec(),
                kind,
            });
        }
        listed.sort_unstable();
        Ok(listed)
    }

    fn stat(&self, at: &OwnedFd, name: &[u8]) -> Step<Stat> {
        fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map(stat)
    }

    fn stat_file(&self, file: &OwnedFd) -> Step<Stat> {
        fs::fstat(file).map(stat)
    }

    fn space(&self) -> Step<Space> {
        let vfs = fs::fstatvfs(&*self.root)?;
        Ok(Space {
            bytes: vfs.f_bavail.saturating_mul(vfs.f_frsize),
            // Some file systems make inodes as they go and report none at all.
            files: if vfs.f_files == 0 {
                u64::MAX
            } else {
                vfs.f_favail
            },
        })
    }

    fn create_dir(&self, at: &OwnedFd, name: &[u8], mode: u32) -> Step<()> {
        fs::mkdirat(at, name, Mode::from_raw_mode(mode))
    }

    fn create_file(&self, at: &OwnedFd, name: &[u8], mode: u32) -> Step<OwnedFd> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(at, name, flags, Mode::from_raw_mode(mode))
    }

    fn write_at(&self, file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Step<()> {
        while !bytes.is_empty() {
            let written = retrying(|| rustix::io::pwrite(file, bytes, offset))?;
            if written == 0 {
                return Err(Errno::NOSPC);
            }
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }

    fn set_len(&self, file: &OwnedFd, len: u64) -> Step<()> {
        fs::ftruncate(file, len)
    }

    fn reflink(&self, source: &OwnedFd, target: &OwnedFd) -> Step<()> {
        fs::ioctl_ficlone(target, source)
    }

    fn link(&self, from: &OwnedFd, from_name: &[u8], to: &OwnedFd, to_name: &[u8]) -> Step<()> {
        fs::linkat(from, from_name, to, to_name, AtFlags::empty())
    }

    fn symlink(&self, target: &[u8], at: &OwnedFd, name: &[u8]) -> Step<()> {
        fs::symlinkat(target, at, name)
    }

    fn rename(&self, from: &OwnedFd, from_name: &[u8], to: &OwnedFd, to_name: &[u8]) -> Step<()> {
        fs::renameat(from, from_name, to, to_name)
    }

    fn unlink(&self, at: &OwnedFd, name: &[u8]) -> Step<()> {
        fs::unlinkat(at, name, AtFlags::empty())
    }

    fn remove_dir(&self, at: &OwnedFd, name: &[u8]) -> Step<()> {
        fs::unlinkat(at, name, AtFlags::REMOVEDIR)
    }

    fn set_mode(&self, file: &OwnedFd, mode: u32) -> Step<()> {
        fs::fchmod(file, Mode::from_raw_mode(mode))
    }

    fn set_dir_mode(&self, dir: &OwnedFd, mode: u32) -> Step<()> {
        fs::fchmod(dir, Mode::from_raw_mode(mode))
    }

    fn set_mtime(&self, file: &OwnedFd, mtime: Timestamp) -> Step<()> {
        let omit = fs::Timespec {
            tv_sec: 0,
            tv_nsec: fs::UTIME_OMIT,
        };
        let last_modification = fs::Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: mtime.nanoseconds.into(),
        };
        fs::futimens(
            file,
            &fs::Timestamps {
                last_access: omit,
                last_modification,
            },
        )
    }

    fn set_owner(&self, at: &OwnedFd, name: &[u8], ids: Ids) -> Step<()> {
        let user = fs::Uid::from_raw(ids.user);
        let group = fs::Gid::from_raw(ids.group);
        fs::chownat(at, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn sync_file(&self, file: &OwnedFd) -> Step<()> {
        fs::fsync(file)
    }

    fn sync_dir(&self, dir: &OwnedFd) -> Step<()> {
        fs::fsync(dir)
    }

    fn sync_all(&self) -> Step<()> {
        fs::syncfs(&*self.root)
    }

    fn try_lock(&self, at: &OwnedFd, name: &[u8], holder: &[u8]) -> Step<TryLock<RealLock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(at, name, flags, Mode::from_raw_mode(0o600))?;
        match retrying(|| fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {
                let lock = RealLock(file);
                self.set_len(&lock.0, 0)?;
                self.write_at(&lock.0, holder, 0)?;
                Ok(TryLock::Held(lock))
            }
            Err(Errno::WOULDBLOCK) => {
                let mut note = vec![0; HOLDER_LEN_MAX];
                let len = self.read_at(&file, &mut note, 0)?;
                note.truncate(len);
                Ok(TryLock::Busy(note))
            }
            Err(errno) => Err(errno),
        }
    }
}

fn retrying<T>(mut call: impl FnMut() -> Step<T>) -> Step<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    }
}

fn stat(stat: fs::Stat) -> Stat {
    let time = |seconds, nanoseconds| Timestamp {
        seconds,
        nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
    };
    Stat {
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        mode: stat.st_mode & 0o7777,
        size: stat.st_size.unsigned_abs(),
        inode: stat.st_ino,
        links: stat.st_nlink,
        ids: Ids {
            user: stat.st_uid,
            group: stat.st_gid,
        },
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lock_is_free_while_a_process_being_started_has_its_file_open() {
        let place = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(place.path()).unwrap();
        let root = disk.root().unwrap();
        let lock = |disk: &RealDisk| disk.try_lock(&root, b"lock", b"test").unwrap();
        let TryLock::Held(first) = lock(&disk) else {
            panic!("nobody has it");
        };
        assert!(matches!(lock(&disk), TryLock::Busy(holder) if holder == b"test"));
        // What a fork does to every open file.
        let _inherited = first.0.try_clone().unwrap();
        drop(first);
        assert!(matches!(lock(&disk), TryLock::Held(_)));
    }
}
