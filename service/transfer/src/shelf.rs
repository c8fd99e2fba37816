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
/// FOLDER/.boot            the start of the machine in which these were last looked at
/// ```
///
/// Assignments are not synced: that would cost each node a sync for what can be had again. What a machine had not written
/// when it lost power is found by [`Shelf::look_over`].
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    folder: PathBuf,
    kind: Kind,
}

const PARCELS: &str = ".bellwether";
const SPOOLS: &str = ".spool";
const BOOT: &str = ".boot";

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

    /// Proves what lies here if that was not done yet since the machine's start of this id: a process that ends loses
    /// nothing. Damaged assignments are removed; why each was.
    pub(crate) fn look_over(&self, boot: &str) -> io::Result<Vec<(AssignmentId, io::Error)>> {
        let known = self.folder.join(BOOT);
        if !boot.is_empty() && fs::read(&known).is_ok_and(|known| known == boot.as_bytes()) {
            return Ok(Vec::new());
        }
        let mut damaged = Vec::new();
        for assignment in self.whole()? {
            let proved = prove(&self.path(assignment)).and_then(|found| match found {
                found if found == assignment => Ok(()),
                _ => Err(io::Error::other("it is another")),
            });
            if let Err(error) = proved {
                self.remove(assignment)?;
                damaged.push((assignment, error));
            }
        }
        fs::write(known, boot)?;
        Ok(damaged)
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

#[cfg(test)]
mod tests {
    use bellwether_content::assignment::{Action, DataWriter, Head, Header};
    use bellwether_delta::Effort;
    use bellwether_types::{Serial, Term};

    use super::*;

    /// Two assignments on a shelf, of which the second was not written to its end.
    fn shelf(folder: &Path) -> (Shelf, [AssignmentId; 2]) {
        let shelf = Shelf::assignments(folder, Trust::Anyone);
        let ids = [1, 2].map(|serial| {
            let mut header = Header::new(Action::Publish, Serial(serial), Term(1));
            let mut data = Vec::new();
            let mut writer = DataWriter::new(None);
            writer.write(&[7; 10_000], &mut data);
            let head = Head {
                blocks: writer.finish(&mut header, &mut data),
                header,
                body: b"commands".to_vec(),
            };
            let (_, mut bytes) = head.encode(Effort::Fast, None, None);
            let id = AssignmentId::of(&bytes);
            bytes.extend(data);
            fs::write(shelf.path(id), bytes).unwrap();
            id
        });
        let last = File::options().write(true).open(shelf.path(ids[1]));
        let last = last.unwrap();
        let len = last.metadata().unwrap().len();
        last.set_len(len - 100).unwrap();
        last.set_len(len).unwrap();
        (shelf, ids)
    }

    #[test]
    fn what_a_machine_lost_with_its_power_is_not_taken_for_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, [sound, damaged]) = shelf(folder.path());
        let found = shelf.look_over("one").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, damaged);
        assert_eq!(shelf.whole().unwrap(), [sound]);
    }

    #[test]
    fn what_lies_there_is_read_once_after_each_start_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, [sound, _]) = shelf(folder.path());
        shelf.look_over("one").unwrap();
        fs::write(shelf.path(sound), "nothing").unwrap();
        assert!(shelf.look_over("one").unwrap().is_empty());
        assert_eq!(shelf.look_over("two").unwrap()[0].0, sound);
        assert_eq!(shelf.whole().unwrap(), []);
    }
}
