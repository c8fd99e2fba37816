//! What a node has for its neighbours, and a version put together from what they have: so a node that missed some comes
//! to what is live without a byte of content from further away (JOB-04, VERSION-12).
//!
//! A content is named by its hash and compared with it by whoever gets it. So nothing here is proved before it is handed
//! on, and nothing that came is believed.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use bellwether_content::{Entry, File, Manifest};
use bellwether_types::{Hash, TreePath, VersionId};

use crate::disk::{Disk, Errno};
use crate::error::{During, SiteError};
use crate::index::Index;
use crate::layout::Layout;
use crate::session;
use crate::site::Site;
use crate::stage::set_id;
use crate::staging::StageRequest;
use crate::state::Mandate;

/// The contents of all versions that a site held when it was made.
#[derive(Debug)]
pub struct Inventory {
    index: Index,
}

/// A content, as it stands in a release.
#[derive(Debug)]
pub struct Object<'s, D: Disk> {
    disk: &'s D,
    file: D::File,
    offset: u64,
    size: u64,
}

/// Where contents come from: asked for one, by hash and size, it yields its bytes.
pub type Fetch<'f> = dyn FnMut(&Hash, u64) -> io::Result<Box<dyn Read>> + 'f;

/// Why a version could not be put together. What is live, and what was staged before, is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The site or its disk.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A content did not come.
    #[error("{path}: its content cannot be fetched")]
    Fetch {
        /// Whose.
        path: TreePath,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What came is not what was asked for.
    #[error("{path}: what was fetched is not its content: ask another neighbour")]
    Content {
        /// Whose.
        path: TreePath,
    },
    /// A file would run as its owner or group.
    #[error("{path}: mode {mode:o} sets the user or group id, which this node does not allow")]
    SetId {
        /// The file.
        path: TreePath,
        /// Its permissions.
        mode: u32,
    },
}

const PIECE_LEN: usize = 256 << 10;

impl<D: Disk> Site<D> {
    /// What neighbours can have: the contents of all versions held. Needs no lock.
    pub fn inventory(&self) -> Result<Inventory, SiteError> {
        let layout = Layout::open(self.disk(), self.name())?;
        let state = session::read_state(self, &layout)?;
        let mut trees = Vec::new();
        for version in state.releases.keys() {
            match session::read_manifest(self, &layout, version) {
                Ok(manifest) => trees.push((version.to_string().into_bytes(), manifest)),
                // Others may have the same.
                Err(SiteError::ManifestDamaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Inventory {
            index: Index::new(trees),
        })
    }

    /// A content of this hash, if a file of its size stands where it should. Needs no lock. A version that was removed
    /// meanwhile has it no longer; what is open stays.
    pub fn object(
        &self,
        inventory: &Inventory,
        content: &Hash,
    ) -> Result<Option<Object<'_, D>>, SiteError> {
        let (disk, layout) = (self.disk(), Layout::open(self.disk(), self.name())?);
        for place in inventory.index.find(content) {
            let path = [place.tree, b"/", place.path.as_bytes()].concat();
            let file = match disk.open_file(&layout.releases, &path) {
                Ok(file) => file,
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => continue,
                Err(errno) => return Err(errno).during("open", place.path)?,
            };
            let size = disk.stat_file(&file).during("read", place.path)?.size;
            if size == place.file.size {
                return Ok(Some(Object {
                    disk,
                    file,
                    offset: 0,
                    size,
                }));
            }
        }
        Ok(None)
    }

    /// The contents that `target` has and what is live here has not, each once, in the order of their paths.
    pub fn lacking(&self, target: &Manifest) -> Result<Vec<File>, SiteError> {
        let base = match self.status() {
            Ok(status) => status.live,
            Err(SiteError::SiteMissing { .. }) => None,
            Err(error) => return Err(error),
        };
        let base = base.map_or_else(|| Ok(Arc::default()), |base| self.manifest(&base))?;
        let mut held = contents(&base);
        let files = target.files().filter(|(_, file)| held.insert(file.hash));
        Ok(files.map(|(_, file)| file.clone()).collect())
    }

    /// Stages `target` from what is live here and what `fetch` brings. That it is to be staged says an order: whoever
    /// calls has compared the manifest's version with one that the control group signed. A content that stands in several
    /// places is fetched for each.
    pub fn assemble(
        &self,
        target: &Arc<Manifest>,
        by: Mandate,
        allow_set_id: bool,
        fetch: &mut Fetch<'_>,
    ) -> Result<VersionId, AssembleError> {
        if let Some((path, mode)) = set_id(target.iter()).filter(|_| !allow_set_id) {
            let path = path.clone();
            return Err(AssembleError::SetId { path, mode });
        }
        let base = match self.status() {
            Ok(status) => status.live,
            Err(SiteError::SiteMissing { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let sizes = self.lacking(target)?.into_iter().map(|file| file.size);
        let staging = self.stage(StageRequest {
            serial: by.serial,
            term: by.term,
            base,
            bytes_new: sizes.fold(0, u64::saturating_add),
        })?;
        let held = contents(staging.base_manifest());
        staging.create_directories(target.iter())?;
        let mut written = Vec::new();
        let mut writer = staging.writer();
        for (number, (path, entry)) in target.iter().enumerate() {
            let Entry::File(file) = entry else { continue };
            if held.contains(&file.hash) {
                continue;
            }
            let failed = |source| AssembleError::Fetch {
                path: path.clone(),
                source,
            };
            // One byte more than there should be is enough to see that it is another.
            let source = fetch(&file.hash, file.size).map_err(failed)?;
            let mut source = source.take(file.size.saturating_add(1));
            let mut new = writer.create(path, file)?;
            let mut piece = vec![0; PIECE_LEN.min(file.size as usize + 1)];
            loop {
                match source.read(&mut piece) {
                    Ok(0) => break,
                    Ok(len) => new.write(&piece[..len])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            if new.finish()? != (file.size, file.hash) {
                return Err(AssembleError::Content { path: path.clone() });
            }
            written.push(number);
        }
        drop(writer);
        Ok(staging.finish(Arc::clone(target), &target.encode(), &written)?)
    }
}

impl<D: Disk> Object<'_, D> {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Goes on at a place: who lost the connection need not begin anew.
    pub fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }
}

impl<D: Disk> Read for Object<'_, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.disk.read_at(&self.file, buffer, self.offset)?;
        self.offset += len as u64;
        Ok(len)
    }
}

fn contents(manifest: &Manifest) -> BTreeSet<Hash> {
    manifest.files().map(|(_, file)| file.hash).collect()
}
