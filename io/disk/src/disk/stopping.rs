//! A disk that dies at a chosen step.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_content::Timestamp;

use super::{Disk, Errno, Ids, Listed, Space, Stat, Step, TryLock};

/// Numbers every call that changes something, from 0, and at step `stop` dies: that call and all
/// later ones, reads too, do nothing and fail with `ECANCELED`, as for a process that is no more.
#[derive(Debug)]
pub struct Stopping<D> {
    disk: D,
    steps: Arc<AtomicU64>,
    stop: u64,
}

impl<D> Stopping<D> {
    /// Dies at step `stop`; `u64::MAX` only counts.
    pub fn at(stop: u64, disk: D) -> Self {
        Self {
            disk,
            steps: Arc::default(),
            stop,
        }
    }

    /// Counts the steps taken, those refused included; outlives the disk.
    pub fn steps(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.steps)
    }

    fn change<T>(&self, call: impl FnOnce(&D) -> Step<T>) -> Step<T> {
        if self.steps.fetch_add(1, Ordering::SeqCst) < self.stop {
            call(&self.disk)
        } else {
            Err(Errno::CANCELED)
        }
    }

    fn look<T>(&self, call: impl FnOnce(&D) -> Step<T>) -> Step<T> {
        if self.steps.load(Ordering::SeqCst) <= self.stop {
            call(&self.disk)
        } else {
            Err(Errno::CANCELED)
        }
    }
}

impl<D: Disk> Disk for Stopping<D> {
    type Dir = D::Dir;
    type File = D::File;
    type Lock = D::Lock;

    fn path(&self) -> &Path {
        self.disk.path()
    }
    fn root(&self) -> Step<D::Dir> {
        self.look(D::root)
    }
    fn open_dir(&self, at: &D::Dir, path: &[u8]) -> Step<D::Dir> {
        self.look(|d| d.open_dir(at, path))
    }
    fn open_file(&self, at: &D::Dir, path: &[u8]) -> Step<D::File> {
        self.look(|d| d.open_file(at, path))
    }
    fn open_file_to_write(&self, at: &D::Dir, path: &[u8]) -> Step<D::File> {
        self.look(|d| d.open_file_to_write(at, path))
    }
    fn open_to_write(&self, at: &D::Dir, name: &[u8]) -> Step<D::File> {
        self.look(|d| d.open_to_write(at, name))
    }
    fn read_at(&self, file: &D::File, buffer: &mut [u8], offset: u64) -> Step<usize> {
        self.look(|d| d.read_at(file, buffer, offset))
    }
    fn read_link(&self, at: &D::Dir, name: &[u8]) -> Step<Vec<u8>> {
        self.look(|d| d.read_link(at, name))
    }
    fn list(&self, at: &D::Dir) -> Step<Vec<Listed>> {
        self.look(|d| d.list(at))
    }
    fn stat(&self, at: &D::Dir, path: &[u8]) -> Step<Stat> {
        self.look(|d| d.stat(at, path))
    }
    fn stat_file(&self, file: &D::File) -> Step<Stat> {
        self.look(|d| d.stat_file(file))
    }
    fn space(&self) -> Step<Space> {
        self.look(D::space)
    }
    fn create_dir(&self, at: &D::Dir, path: &[u8], mode: u32) -> Step<()> {
        self.change(|d| d.create_dir(at, path, mode))
    }
    fn create_file(&self, at: &D::Dir, name: &[u8], mode: u32) -> Step<D::File> {
        self.change(|d| d.create_file(at, name, mode))
    }
    fn write_at(&self, file: &D::File, bytes: &[u8], offset: u64) -> Step<()> {
        self.change(|d| d.write_at(file, bytes, offset))
    }
    fn set_len(&self, file: &D::File, len: u64) -> Step<()> {
        self.change(|d| d.set_len(file, len))
    }
    fn reflink(&self, source: &D::File, target: &D::File) -> Step<()> {
        self.change(|d| d.reflink(source, target))
    }
    fn link(&self, from: &D::Dir, from_name: &[u8], to: &D::Dir, to_name: &[u8]) -> Step<()> {
        self.change(|d| d.link(from, from_name, to, to_name))
    }
    fn symlink(&self, target: &[u8], at: &D::Dir, name: &[u8]) -> Step<()> {
        self.change(|d| d.symlink(target, at, name))
    }
    fn rename(&self, from: &D::Dir, from_name: &[u8], to: &D::Dir, to_name: &[u8]) -> Step<()> {
        self.change(|d| d.rename(from, from_name, to, to_name))
    }
    fn unlink(&self, at: &D::Dir, name: &[u8]) -> Step<()> {
        self.change(|d| d.unlink(at, name))
    }
    fn remove_dir(&self, at: &D::Dir, name: &[u8]) -> Step<()> {
        self.change(|d| d.remove_dir(at, name))
    }
    fn set_mode(&self, file: &D::File, mode: u32) -> Step<()> {
        self.change(|d| d.set_mode(file, mode))
    }
    fn set_dir_mode(&self, dir: &D::Dir, mode: u32) -> Step<()> {
        self.change(|d| d.set_dir_mode(dir, mode))
    }
    fn set_mtime(&self, file: &D::File, mtime: Timestamp) -> Step<()> {
        self.change(|d| d.set_mtime(file, mtime))
    }
    fn set_owner(&self, at: &D::Dir, name: &[u8], ids: Ids) -> Step<()> {
        self.change(|d| d.set_owner(at, name, ids))
    }
    fn sync_file(&self, file: &D::File) -> Step<()> {
        self.change(|d| d.sync_file(file))
    }
    fn sync_dir(&self, dir: &D::Dir) -> Step<()> {
        self.change(|d| d.sync_dir(dir))
    }
    fn sync_all(&self) -> Step<()> {
        self.change(D::sync_all)
    }
    fn try_lock(&self, at: &D::Dir, name: &[u8], holder: &[u8]) -> Step<TryLock<D::Lock>> {
        self.change(|d| d.try_lock(at, name, holder))
    }
}
