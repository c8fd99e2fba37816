use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bellwether_content::assignment::Header;
use bellwether_types::{Hash, Name};
use bellwether_wire::transfer::AssignmentId;
use bellwether_wire::uplink;

/// Where assignments lie.
///
/// ```text
/// FOLDER/ID               an assignment, whole
/// FOLDER/.made/JOB/KEY    which of them one making for a job came to: a line for each, in order
/// FOLDER/.making/KEY/     what is being made
/// ```
///
/// Only what a making came to is held: a file that none names was cut short before the making was done.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
}

/// A place to write the files of a making to, removed unless they are kept.
#[derive(Debug)]
pub(super) struct Draft<'s> {
    shelf: &'s Shelf,
    key: Hash,
    path: PathBuf,
}

const MADE: &str = ".made";
const MAKING: &str = ".making";
/// Longer than the lines of any making: an update has at most 65,536 files.
const LINES_LEN_MAX: u64 = 16 << 20;

impl Shelf {
    /// Opens a folder, and removes what was not finished there.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let shelf = Self {
            folder: folder.to_owned(),
        };
        fs::create_dir_all(folder.join(MADE))?;
        absent(fs::remove_dir_all(folder.join(MAKING)))?;
        fs::create_dir(folder.join(MAKING))?;
        let mut held = BTreeSet::new();
        for job in fs::read_dir(folder.join(MADE))? {
            for making in fs::read_dir(job?.path())? {
                let files = read(&making?.path())?.unwrap_or_default();
                held.extend(files.into_iter().map(|file| file.id.0));
            }
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let id: Option<Hash> = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if id.is_some_and(|id| !held.contains(&id)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(shelf)
    }

    /// What a making for a job came to, if it was done and all of it is there.
    pub(super) fn made(&self, job: &Name, key: Hash) -> io::Result<Option<Vec<uplink::File>>> {
        let Some(files) = read(&self.made_by(job).join(key.to_string()))? else {
            return Ok(None);
        };
        for file in &files {
            match fs::metadata(self.path(file.id)) {
                Ok(metadata) if metadata.len() == file.len => {}
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(files))
    }

    /// An assignment, and its length.
    pub(super) fn find(&self, id: AssignmentId) -> io::Result<Option<(File, u64)>> {
        match File::open(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => {
                let file = file?;
                let len = file.metadata()?.len();
                Ok(Some((file, len)))
            }
        }
    }

    /// Begins a making; what an earlier attempt left is removed.
    pub(super) fn begin(&self, key: Hash) -> io::Result<Draft<'_>> {
        let path = self.folder.join(MAKING).join(key.to_string());
        absent(fs::remove_dir_all(&path))?;
        fs::create_dir(&path)?;
        Ok(Draft {
            shelf: self,
            key,
            path,
        })
    }

    /// Removes what was made for a job.
    pub(super) fn forget(&self, job: &Name) -> io::Result<()> {
        let made = self.made_by(job);
        let makings = match fs::read_dir(&made) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            makings => makings?,
        };
        for making in makings {
            for file in read(&making?.path())?.unwrap_or_default() {
                absent(fs::remove_file(self.path(file.id)))?;
            }
        }
        // Last: what is cut short before is done the next time.
        fs::remove_dir_all(made)
    }

    /// Removes what was made for other jobs than these.
    pub(super) fn retain(&self, jobs: &BTreeSet<Name>) -> io::Result<()> {
        for made in fs::read_dir(self.folder.join(MADE))? {
            let name = made?.file_name();
            let job: Option<Name> = name.to_str().and_then(|name| name.parse().ok());
            if let Some(job) = job.filter(|job| !jobs.contains(job)) {
                self.forget(&job)?;
            }
        }
        Ok(())
    }

    fn path(&self, id: AssignmentId) -> PathBuf {
        self.folder.join(id.0.to_string())
    }

    fn made_by(&self, job: &Name) -> PathBuf {
        self.folder.join(MADE).join(job.as_str())
    }
}

impl Draft<'_> {
    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts finished files, of which each is durable, where they lie from now on. Durable when this returns.
    pub(super) fn keep(
        self,
        job: &Name,
        parts: &[(PathBuf, Header, u64)],
    ) -> io::Result<Vec<uplink::File>> {
        let mut files = Vec::with_capacity(parts.len());
        for (path, header, len) in parts {
            let mut head = Vec::new();
            File::open(path)?
                .take(len - header.data_len)
                .read_to_end(&mut head)?;
            let id = AssignmentId(Hash::of(&head));
            fs::rename(path, self.shelf.path(id))?;
            files.push(uplink::File { id, len: *len });
        }
        sync(&self.shelf.folder)?;
        let draft = self.path.join("made");
        let mut record = File::create_new(&draft)?;
        for file in &files {
            writeln!(record, "{} {}", file.id.0, file.len)?;
        }
        record.sync_all()?;
        let made = self.shelf.made_by(job);
        match fs::create_dir(&made) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => {
                created?;
                sync(&self.shelf.folder.join(MADE))?;
            }
        }
        fs::rename(draft, made.join(self.key.to_string()))?;
        sync(&made)?;
        Ok(files)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Reads what a making came to; `None` if there is no such making, or none that can be understood.
fn read(path: &Path) -> io::Result<Option<Vec<uplink::File>>> {
    let mut text = String::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => match file?.take(LINES_LEN_MAX).read_to_string(&mut text) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
            read => read?,
        },
    };
    let file = |line: &str| {
        let (id, len) = line.split_once(' ')?;
        Some(uplink::File {
            id: AssignmentId(id.parse().ok()?),
            len: len.parse().ok()?,
        })
    };
    Ok(text.lines().map(file).collect())
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What is not there needs no removal.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
