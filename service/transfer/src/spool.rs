use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bellwether_multicast::{Geometry, Part};
use bellwether_types::TreePath;
use bellwether_wire::transfer::AssignmentId;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::parcel::Parcel;

/// Where the bytes of one transfer wait until all of them are proved: files that nothing else reads.
///
/// ```text
/// SPOOLS/ID/head      the head, where it is apart
/// SPOOLS/ID/data      the data, at its places; holes are what has not come. The head before it, where they are together
/// SPOOLS/ID/repairs   repair symbols, each at the place of its number
/// SPOOLS/ID/kept      what came, for the next start
/// ```
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    /// Where it is apart.
    head: Option<File>,
    data: File,
    /// Where the data begins in its file.
    data_at: u64,
    /// Nothing is repaired in what is whole.
    repairs: Option<File>,
}

/// How head and data lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout {
    /// In a file each.
    Apart,
    /// In one, the head first.
    Together {
        /// Its length.
        head_len: u64,
    },
}

impl Spool {
    /// The spool of a transfer, made if it is not there.
    pub(crate) fn open(
        spools: &Path,
        assignment: AssignmentId,
        layout: Layout,
    ) -> io::Result<Self> {
        let folder = spools.join(assignment.0.to_string());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let open = |name| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.mode(0o600).open(folder.join(name))
        };
        let data = open("data")?;
        let (head, data_at) = match layout {
            Layout::Apart => (Some(open("head")?), 0),
            Layout::Together { head_len } => (None, head_len),
        };
        Ok(Self {
            head,
            data,
            data_at,
            repairs: Some(open("repairs")?),
            folder,
        })
    }

    /// Where the file of a transfer is whose head and data lie together.
    pub(crate) fn path_of_data(spools: &Path, assignment: AssignmentId) -> PathBuf {
        spools.join(assignment.0.to_string()).join("data")
    }

    /// The file of a transfer whose head and data lie together, made if it is not there.
    pub(crate) fn data(spools: &Path, assignment: AssignmentId) -> io::Result<File> {
        let together = Layout::Together { head_len: 0 };
        Self::open(spools, assignment, together).map(|spool| spool.data)
    }

    /// A file with head and data that is whole already.
    pub(crate) fn of_whole(file: File, head_len: u64) -> io::Result<Self> {
        Ok(Self {
            folder: PathBuf::new(),
            head: None,
            data: file,
            data_at: head_len,
            repairs: None,
        })
    }

    /// Transfers of which something was kept, and what.
    pub(crate) fn kept(spools: &Path) -> io::Result<Vec<(AssignmentId, Vec<u8>)>> {
        let mut kept = Vec::new();
        let entries = match fs::read_dir(spools) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(kept),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            if let Some(id) = id
                && let Ok(bytes) = fs::read(entry.path().join("kept"))
            {
                kept.push((AssignmentId(id), bytes));
            }
        }
        Ok(kept)
    }

    /// Keeps these bytes for the next start. They are of use only if the data survive with them, which is proved then.
    pub(crate) fn keep(&self, bytes: &[u8]) -> io::Result<()> {
        let next = self.folder.join("kept.next");
        fs::write(&next, bytes)?;
        fs::rename(next, self.folder.join("kept"))
    }

    pub(crate) fn write(&self, part: Part, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (file, start) = self.part(part);
        file.write_all_at(bytes, start + offset)
    }

    pub(crate) fn read(&self, part: Part, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let (file, start) = self.part(part);
        file.read_exact_at(bytes, start + offset)
    }

    pub(crate) fn write_repair(
        &self,
        geometry: &Geometry,
        block: u32,
        repair: u16,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.repairs()?
            .write_all_at(bytes, place_of_repair(geometry, block, repair))
    }

    pub(crate) fn read_repair(
        &self,
        geometry: &Geometry,
        block: u32,
        repair: u16,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; geometry.symbol_len().into()];
        self.repairs()?
            .read_exact_at(&mut bytes, place_of_repair(geometry, block, repair))?;
        Ok(bytes)
    }

    /// Gives back the room of what came in vain.
    pub(crate) fn clear(&self) -> io::Result<()> {
        if self.repairs.is_none() {
            return Ok(());
        }
        self.data.set_len(0)?;
        self.head.as_ref().map_or(Ok(()), |head| head.set_len(0))?;
        match fs::remove_file(self.folder.join("kept")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.forget_repairs(),
        }
    }

    pub(crate) fn forget_repairs(&self) -> io::Result<()> {
        self.repairs.as_ref().map_or(Ok(()), |file| file.set_len(0))
    }

    fn repairs(&self) -> io::Result<&File> {
        Ok(self.repairs.as_ref().ok_or(io::ErrorKind::NotFound)?)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.head.as_ref().map_or(Ok(()), File::sync_data)?;
        self.data.sync_data()
    }

    /// Puts the files of a transfer that is whole where they belong, each at once and durably; then the spool goes. What
    /// neighbours still want is read from the open file.
    pub(crate) fn place(&self, out: &Path, parcel: &Parcel) -> io::Result<()> {
        let root = File::open(out)?;
        let mut offset = 0;
        let mut above_last = root.try_clone()?;
        for file in &parcel.files {
            let next = self.folder.join("next");
            match parcel.files.as_slice() {
                [_] => {
                    self.data.set_len(file.len)?;
                    fs::rename(self.folder.join("data"), &next)?;
                }
                _ => self.copy(offset, file.len, &next)?,
            }
            let mode = if file.is_executable { 0o755 } else { 0o644 };
            fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
            let (above, name) = parent(&root, &file.path)?;
            rustix::fs::renameat(rustix::fs::CWD, &next, &above, name)?;
            above_last = above;
            offset += file.len;
        }
        match parcel.files.as_slice() {
            // Its bytes are durable already; its name is not.
            [_] => above_last.sync_all()?,
            _ => rustix::fs::syncfs(&root)?,
        }
        fs::remove_dir_all(&self.folder)
    }

    /// Puts an assignment that is whole where it stays; then the spool goes. Neither its bytes nor its name are durable:
    /// whoever loses power before it is staged fetches it again. What neighbours still want is read from the open file.
    pub(crate) fn settle(&self, path: &Path) -> io::Result<()> {
        fs::rename(self.folder.join("data"), path)?;
        fs::remove_dir_all(&self.folder)
    }

    fn copy(&self, offset: u64, len: u64, to: &Path) -> io::Result<()> {
        let file = File::create(to)?;
        let mut piece = vec![0; usize::try_from(len.min(1 << 20)).expect("at most a mebibyte")];
        let mut at = 0;
        while at < len {
            let now = usize::try_from((len - at).min(piece.len() as u64)).expect("at most a piece");
            self.data.read_exact_at(&mut piece[..now], offset + at)?;
            file.write_all_at(&piece[..now], at)?;
            at += now as u64;
        }
        Ok(())
    }

    /// The file of a part, and where in it the part begins.
    const fn part(&self, part: Part) -> (&File, u64) {
        match part {
            Part::Head => match &self.head {
                Some(head) => (head, 0),
                None => (&self.data, 0),
            },
            Part::Data => (&self.data, self.data_at),
        }
    }
}

fn place_of_repair(geometry: &Geometry, block: u32, repair: u16) -> u64 {
    let slot = u64::from(block) * u64::from(geometry.repairs()) + u64::from(repair);
    slot * u64::from(geometry.symbol_len())
}

/// The directory of a path below `root`, made if it is not there, and the last name. No link is followed.
fn parent<'p>(root: &File, path: &'p TreePath) -> io::Result<(File, &'p [u8])> {
    let bytes = path.as_bytes();
    let mut directory = root.try_clone()?;
    let mut rest = bytes;
    while let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
        let name = &rest[..slash];
        match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        directory = rustix::fs::openat2(&directory, name, flags, Mode::empty(), within)?.into();
        rest = &rest[slash + 1..];
    }
    Ok((directory, rest))
}
