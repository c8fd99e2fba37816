use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use bellwether_wire::transfer::AssignmentId;

/// Where assignments lie that came whole, under their ids.
pub trait Shelf: Send + Sync {
    /// The assignments that are there; also such as are not whole: what is read is proved anyway.
    fn list(&self) -> io::Result<Vec<AssignmentId>>;

    /// Opens one: head and data file, end to end.
    fn open(&self, id: AssignmentId) -> io::Result<Box<dyn Read + Send>>;
}

/// A folder in which each assignment is a file called by its id, in 64 hexadecimal digits.
#[derive(Debug, Clone)]
pub struct FolderShelf(pub PathBuf);

const READ_LEN: usize = 256 << 10;
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
        Ok(Box::new(BufReader::with_capacity(READ_LEN, file)))
    }
}
