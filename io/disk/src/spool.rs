//! Where assignments wait until the rest of their set has come. Whole files under names, nothing
//! more: what they mean and whether they may be believed is decided by who reads them.

use std::io::{self, Read};

use bellwether_types::Name;

use crate::disk::{Disk, Errno, Kind};
use crate::error::{During, Fault, SiteError};
use crate::layout::{self, Layout, NEXT};
use crate::session::Session;
use crate::site::Site;

/// The files that wait for a site.
#[derive(Debug)]
pub struct Spool<'s, D: Disk> {
    session: Session<'s, D>,
}

/// A file that waits.
#[derive(Debug)]
pub struct SpooledFile<'s, D: Disk> {
    disk: &'s D,
    file: D::File,
    offset: u64,
}

/// Why a file was not spooled.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Where the content came from.
    #[error("cannot read what is to be spooled")]
    Source(#[from] io::Error),
}

const PIECE_LEN: usize = 256 << 10;

impl<D: Disk> Site<D> {
    /// Opens the spool, making the site if there is none. Takes the lock.
    pub fn spool(&self) -> Result<Spool<'_, D>, SiteError> {
        Layout::create(self.disk(), self.name())?;
        let session = Session::begin(self, "spool")?;
        Ok(Spool { session })
    }
}

impl<'s, D: Disk> Spool<'s, D> {
    /// Keeps everything `source` yields under `name`, in place of what was there: all of it, and
    /// durably, or nothing.
    pub fn put(&self, name: &Name, source: &mut dyn Read) -> Result<u64, SpoolError> {
        let disk = self.session.disk();
        let next = [name.as_str().as_bytes(), NEXT].concat();
        self.unlink(&next)?;
        let file = disk
            .create_file(self.dir(), &next, 0o600)
            .during("create", name);
        let written = file.map_err(SpoolError::from).and_then(|file| {
            let len = fill(disk, &file, name, source)?;
            disk.sync_file(&file).during("sync", name)?;
            disk.rename(self.dir(), &next, self.dir(), name.as_str().as_bytes())
                .during("name", name)?;
            disk.sync_dir(self.dir()).during("sync", name)?;
            Ok(len)
        });
        if written.is_err() {
            // The first failure is the one to tell; the next stage or recovery sweeps the rest.
            let _ = self.unlink(&next);
        }
        written
    }

    /// Opens what waits under `name`, if anything does.
    pub fn open(&self, name: &Name) -> Result<Option<SpooledFile<'s, D>>, SiteError> {
        let disk = self.session.disk();
        match disk.open_file(self.dir(), name.as_str().as_bytes()) {
            Ok(file) => Ok(Some(SpooledFile {
                disk,
                file,
                offset: 0,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).during("open", name).map_err(Into::into),
        }
    }

    /// What waits, sorted.
    pub fn names(&self) -> Result<Vec<Name>, SiteError> {
        let listed = self
            .session
            .disk()
            .list(self.dir())
            .during("list", "spool")?;
        let files = listed
            .into_iter()
            .filter(|listed| listed.kind == Kind::File);
        let names = files
            .filter(|listed| !listed.name.ends_with(NEXT))
            .filter_map(|listed| {
                String::from_utf8(listed.name)
                    .ok()
                    .and_then(|name| name.parse().ok())
            });
        Ok(names.collect())
    }

    /// Forgets what waits under `name`.
    pub fn remove(&self, name: &Name) -> Result<(), SiteError> {
        Ok(self.unlink(name.as_str().as_bytes())?)
    }

    fn dir(&self) -> &D::Dir {
        &self.session.layout.spool
    }

    fn unlink(&self, name: &[u8]) -> Result<(), Fault> {
        layout::remove(self.session.disk(), self.dir(), name).map(drop)
    }
}

impl From<Fault> for SpoolError {
    fn from(fault: Fault) -> Self {
        Self::Site(fault.into())
    }
}

impl<D: Disk> Read for SpooledFile<'_, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.disk.read_at(&self.file, buffer, self.offset)?;
        self.offset += len as u64;
        Ok(len)
    }
}

fn fill<D: Disk>(
    disk: &D,
    file: &D::File,
    name: &Name,
    source: &mut dyn Read,
) -> Result<u64, SpoolError> {
    let mut piece = vec![0; PIECE_LEN];
    let mut offset = 0;
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(offset),
            Ok(len) => {
                disk.write_at(file, &piece[..len], offset)
                    .during("write", name)?;
                offset += len as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;
    use crate::site::Options;

    fn site(disk: MemoryDisk) -> Site<MemoryDisk> {
        Site::open(disk, "shop".parse().unwrap(), Options::default())
    }

    fn read(spool: &Spool<'_, MemoryDisk>, name: &Name) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        spool.open(name).unwrap()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn what_was_spooled_survives_a_crash_and_recovery() {
        let name: Name = "set-1.2".parse().unwrap();
        let disk = MemoryDisk::new(Default::default());
        let content = vec![5; 600_000];
        site(disk.clone())
            .spool()
            .unwrap()
            .put(&name, &mut &content[..])
            .unwrap();
        for seed in 0..20 {
            let site = site(disk.crashed(seed));
            site.recover().unwrap();
            let spool = site.spool().unwrap();
            assert_eq!(spool.names().unwrap(), std::slice::from_ref(&name));
            assert_eq!(read(&spool, &name).as_ref(), Some(&content));
            spool.remove(&name).unwrap();
            assert_eq!(read(&spool, &name), None);
        }
    }

    #[test]
    fn a_source_that_fails_halfway_leaves_what_was_there() {
        struct Failing(bool);
        impl Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let first = std::mem::replace(&mut self.0, true);
                if first {
                    Err(io::ErrorKind::ConnectionReset.into())
                } else {
                    Ok(buffer.len())
                }
            }
        }
        let name: Name = "a".parse().unwrap();
        let site = site(MemoryDisk::new(Default::default()));
        let spool = site.spool().unwrap();
        spool.put(&name, &mut b"old".as_slice()).unwrap();
        assert!(matches!(
            spool.put(&name, &mut Failing(false)),
            Err(SpoolError::Source(_))
        ));
        assert_eq!(read(&spool, &name).unwrap(), b"old");
        assert_eq!(spool.names().unwrap(), [name]);
    }
}
