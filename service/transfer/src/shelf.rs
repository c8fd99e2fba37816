use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bellwether_content::assignment::{self, Outline, Trust};
use bellwether_types::Hash;
use bellwether_wire::transfer::AssignmentId;

use crate::content::{Content, Kind, Known};
use crate::parcel::Parcel;
use crate::spool::{Layout, Spool};

/// Where what is received goes, and what it is.
///
/// ```text
/// OUT/.bellwether/ID/     the spool of files that `bellwether multicast` receives
/// FOLDER/ID               an assignment that is whole
/// FOLDER/.spool/ID/       the spool of one that is not
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    folder: PathBuf,
    kind: Kind,
}

const PARCELS: &str = ".bellwether";
const SPOOLS: &str = ".spool";

impl Shelf {
    /// For files of any sort.
    pub(crate) fn parcels(out: &Path) -> Self {
        Self {
            folder: out.to_owned(),
            kind: Kind::Parcel,
        }
    }

    /// For assignments that these may have signed.
    pub(crate) fn assignments(folder: &Path, trust: Trust) -> Self {
        Self {
            folder: folder.to_owned(),
            kind: Kind::Assignment(trust),
        }
    }

    /// What of a transfer is here, or room for it.
    pub(crate) fn open(&self, assignment: AssignmentId, head_len: u64) -> io::Result<Content> {
        let layout = match self.kind {
            Kind::Parcel => Layout::Apart,
            Kind::Assignment(_) => Layout::Together { head_len },
        };
        Ok(Content::Received {
            spool: Spool::open(&self.spools(), assignment, layout)?,
            kind: self.kind.clone(),
            known: OnceLock::new(),
        })
    }

    /// Transfers of which something was kept, and what.
    pub(crate) fn kept(&self) -> io::Result<Vec<(AssignmentId, Vec<u8>)>> {
        Spool::kept(&self.spools())
    }

    /// Where an assignment that is whole lies.
    pub(crate) fn path(&self, assignment: AssignmentId) -> PathBuf {
        self.folder.join(assignment.0.to_string())
    }

    /// Assignments that are whole, the newest first.
    pub(crate) fn whole(&self) -> io::Result<Vec<AssignmentId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                found.push((entry.metadata()?.modified()?, AssignmentId(id)));
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().rev().map(|(_, id)| id).collect())
    }

    /// One that is whole, and what its head says of it. What else came of it is of no use any more.
    pub(crate) fn take(&self, assignment: AssignmentId) -> io::Result<(Content, Outline)> {
        let file = File::open(self.path(assignment))?;
        let outline = assignment::outline(io::BufReader::new(&file), &Trust::Anyone)
            .map_err(io::Error::other)?;
        let content = Content::Received {
            spool: Spool::of_whole(file, outline.head_len)?,
            kind: self.kind.clone(),
            known: OnceLock::from(Known::Assignment(outline.blocks.clone())),
        };
        match fs::remove_dir_all(self.spool(assignment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok((content, outline)),
        }
    }

    /// Proves a file that lies elsewhere, and keeps a copy of it with the others. Which it is.
    pub(crate) fn adopt(&self, file: &Path) -> io::Result<AssignmentId> {
        let assignment = prove(file)?;
        if self.path(assignment).exists() {
            return Ok(assignment);
        }
        let spools = self.spools();
        fs::create_dir_all(&spools)?;
        let next = spools.join(format!("{}.next", assignment.0));
        fs::copy(file, &next)?;
        File::open(&next)?.sync_data()?;
        fs::rename(next, self.path(assignment))?;
        Ok(assignment)
    }

    /// Removes an assignment, whole or not.
    pub(crate) fn remove(&self, assignment: AssignmentId) -> io::Result<()> {
        let gone = [
            fs::remove_file(self.path(assignment)),
            fs::remove_dir_all(self.spool(assignment)),
        ];
        for removed in gone {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the folder, if it is not there.
    pub(crate) fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)
    }

    /// Where assignments that are not whole lie, of those in `folder`.
    pub(crate) fn spools_of_assignments(folder: &Path) -> PathBuf {
        folder.join(SPOOLS)
    }

    fn spool(&self, assignment: AssignmentId) -> PathBuf {
        self.spools().join(assignment.0.to_string())
    }

    fn spools(&self) -> PathBuf {
        match self.kind {
            Kind::Parcel => self.folder.join(PARCELS),
            Kind::Assignment(_) => Self::spools_of_assignments(&self.folder),
        }
    }
}

/// Which assignment a file is, all of it being what its head says.
fn prove(file: &Path) -> io::Result<AssignmentId> {
    let mut head = Vec::new();
    let outline = assignment::outline(io::BufReader::new(File::open(file)?), &Trust::Anyone)
        .map_err(io::Error::other)?;
    let mut input = io::BufReader::new(File::open(file)?);
    input
        .by_ref()
        .take(outline.head_len)
        .read_to_end(&mut head)?;
    let block_len = assignment::block_len(outline.header.data_len) as u64;
    let mut block = Vec::new();
    for hash in &outline.blocks.0 {
        block.clear();
        input.by_ref().take(block_len).read_to_end(&mut block)?;
        if Hash::of(&block) != *hash {
            let fault = "its data file is not what its head says: fetch it again";
            return Err(io::Error::other(fault));
        }
    }
    Ok(Parcel::id(&head))
}
