//! Writing the new files of the tree that is being built, straight to where they stand in it.

use bellwether_content::File;
use bellwether_types::{Hash, TreePath};

use crate::disk::Disk;
use crate::error::{During, SiteError};
use crate::store::{Store, Wanted};
use crate::tree::Siblings;

/// Makes new files; each thread has its own.
#[derive(Debug)]
pub struct Writer<'a, D: Disk> {
    store: &'a Store<'a, D>,
    siblings: Siblings<'a, D>,
}

/// New content, hashed as it is written.
#[derive(Debug)]
pub struct NewFile<'a, D: Disk> {
    store: &'a Store<'a, D>,
    path: &'a TreePath,
    attributes: &'a File,
    file: D::File,
    hasher: blake3::Hasher,
    len: u64,
}

impl<'a, D: Disk> Writer<'a, D> {
    pub(crate) fn new(store: &'a Store<'a, D>, root: &'a D::Dir) -> Self {
        Self {
            store,
            siblings: Siblings::new(store.disk(), root),
        }
    }

    /// Makes a file with this mode, owner and time; size and hash are not looked at. Its
    /// directory is there.
    pub fn create(
        &mut self,
        path: &'a TreePath,
        attributes: &'a File,
    ) -> Result<NewFile<'a, D>, SiteError> {
        let at = self.siblings.of(path).during("open", path)?;
        let file = attributes;
        Ok(NewFile {
            store: self.store,
            path,
            attributes,
            file: self
                .store
                .create(Wanted { path, file }, at, path.file_name())?,
            hasher: blake3::Hasher::new(),
            len: 0,
        })
    }
}

impl<D: Disk> NewFile<'_, D> {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SiteError> {
        self.hasher.update(bytes);
        self.store
            .disk()
            .write_at(&self.file, bytes, self.len)
            .during("write", self.path)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Ends the content, and tells its length and hash.
    pub fn finish(self) -> Result<(u64, Hash), SiteError> {
        let (size, hash) = (self.len, Hash(self.hasher.finalize().into()));
        let right = File {
            size,
            hash,
            ..self.attributes.clone()
        };
        self.store.finish(self.path, &right, &self.file)?;
        Ok((size, hash))
    }
}
