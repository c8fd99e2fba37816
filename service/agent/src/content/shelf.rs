use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use bellwether_transfer::coming;
use bellwether_wire::transfer::AssignmentId;

/// Where assignments lie that came whole, under their ids.
pub trait Shelf: Send + Sync {
    /// The assignments that are there; also such as are not whole: what is read is proved anyway.
    fn list(&self) -> io::Result<Vec<AssignmentId>>;

    /// Opens one: head and data file, end to end.
    fn open(&self, id: AssignmentId) -> io::Result<Box<dyn Read + Send>>;

    /// Opens one that is still coming, of which only what was said to be proved may be read.
    fn open_coming(&self, id: AssignmentId) -> io::Result<Box<dyn Read + Send>>;
}

/// A folder in which each assignment is a file called by its id, in 64 hexadecimal digits.
#[derive(Debug, Clone)]
pub struct FolderShelf(pub PathBuf);

/// More than any node holds at once: what lies there beyond is not looked at.
const LISTED_MAX: usize = 65_536;

impl Shelf for FolderShelf {
    fn list(&self) -> io::Result<Vec<AssignmentId>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries.take(LISTED_MAX) {
            let name = entry?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                ids.push(AssignmentId(id));
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn open(&self, id: AssignmentId) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(self.0.join(id.0.to_string()))?;
        Ok(Box::new(file))
    }

    fn open_coming(&self, id: AssignmentId) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(coming(&self.0, id))?))
    }
}
