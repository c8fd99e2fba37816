//! Building a version beside the live one.

use std::sync::Arc;

use bellwether_content::{File, Manifest, Mode, Owner, Timestamp};
use bellwether_types::{ByteSize, Hash, Serial, Term, TreePath, VersionId};

use crate::disk::{Disk, Errno};
use crate::error::{During, SiteError};
use crate::key::Key;
use crate::layout::{self, Durability, Layout};
use crate::session::Session;
use crate::site::Site;
use crate::store::{Object, Store};
use crate::tree::Building;

/// What is to be staged.
#[derive(Debug, Clone, Copy)]
pub struct StageRequest {
    /// The assignment's place in the order of the site and part.
    pub serial: Serial,
    /// The reign it was made in.
    pub term: Term,
    /// The version whose content it refers to; `None` if it brings everything.
    pub base: Option<VersionId>,
    /// How many bytes of new content it brings.
    pub bytes_new: u64,
}

/// A version in the making. Nothing of it is visible or counts until [`Staging::finish`]; dropped
/// before that, it removes what it made. Content may be read and written from several threads.
#[derive(Debug)]
pub struct Staging<'s, D: Disk> {
    session: Session<'s, D>,
    store: Store<'s, D>,
    request: StageRequest,
    base: Arc<Manifest>,
    finished: bool,
}

/// Content of the base, compared with what it should be before it was opened.
#[derive(Debug)]
pub struct BaseFile<'a, D: Disk> {
    disk: &'a D,
    file: D::File,
    path: TreePath,
    size: u64,
}

/// New content, hashed as it is written. Dropped unfinished, it is as if it had never been.
#[derive(Debug)]
pub struct ObjectWriter<'a, D: Disk> {
    disk: &'a D,
    store: &'a Store<'a, D>,
    /// What is not written yet. Small content stays here until its name is known.
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
    len: u64,
    spooled: Option<(String, D::File)>,
}

/// Content up to this length is written in one piece, under its final name.
const BUFFER_LEN: usize = 256 << 10;

impl<'s, D: Disk> Staging<'s, D> {
    pub(crate) fn begin(site: &'s Site<D>, request: StageRequest) -> Result<Self, SiteError> {
        Layout::create(site.disk(), site.name())?;
        let mut session = Session::begin(site, "stage")?;
        let state = &session.state;
        if request.term < state.term {
            return Err(SiteError::TermPassed {
                given: request.term,
                known: state.term,
            });
        }
        // Serial 0 is outside the order: carried by hand, held together by its base alone.
        let ordered = request.serial != Serial(0);
        if ordered && request.term == state.term && request.serial < state.serial {
            return Err(SiteError::SerialPassed {
                given: request.serial,
                known: state.serial,
            });
        }
        let base = match request.base {
            Some(version) => {
                session.check_held(version)?;
                session.manifest(&version)?
            }
            None => Arc::default(),
        };
        session.sweep()?;
        let space = session.disk().space().during("read", "the free space")?;
        if space.bytes < request.bytes_new {
            return Err(SiteError::NoSpace {
                needed: ByteSize(request.bytes_new),
                free: ByteSize(space.bytes),
            });
        }
        // From here on there may be objects that no version needs.
        session.state.unswept = true;
        session.save()?;
        let mut store = Store::open(&session)?;
        store.prefer_reflinks()?;
        Ok(Self {
            session,
            store,
            request,
            base,
            finished: false,
        })
    }

    /// The tree that the base should be; empty if there is none.
    pub fn base_manifest(&self) -> &Arc<Manifest> {
        &self.base
    }

    /// How many threads the site's options grant.
    pub fn threads(&self) -> usize {
        self.session.site.options().threads
    }

    /// Whether `version` is held already, so that [`Staging::finish_held`] is all there is to do.
    pub fn holds(&self, version: &VersionId) -> bool {
        self.session.state.releases.contains_key(version)
    }

    /// Opens a file of the base. What is read from it is what the base's manifest says: if the
    /// file was touched since we made it, it is hashed first, and replaced if it differs.
    pub fn base_content(&self, path: &TreePath) -> Result<BaseFile<'_, D>, SiteError> {
        let file = self.base_file(path)?;
        Ok(BaseFile {
            disk: self.session.disk(),
            file: self.store.open_intact(Object::new(path, file))?,
            path: path.clone(),
            size: file.size,
        })
    }

    /// Begins new content.
    pub fn new_object(&self) -> ObjectWriter<'_, D> {
        ObjectWriter {
            disk: self.session.disk(),
            store: &self.store,
            buffer: Vec::new(),
            hasher: blake3::Hasher::new(),
            len: 0,
            spooled: None,
        }
    }

    /// Makes content of the base available with another mode, owner or time.
    pub fn copy_object(
        &self,
        path: &TreePath,
        mode: Mode,
        owner: Option<Arc<Owner>>,
        modified: Timestamp,
    ) -> Result<(), SiteError> {
        let file = self.base_file(path)?;
        let target = File {
            mode,
            owner,
            modified,
            ..file.clone()
        };
        if Key::of(&target) == Key::of(file) {
            return Ok(());
        }
        self.store.put_copy(Object::new(path, file), &target)
    }

    /// Builds the tree, makes it durable and counts it as staged: the next commit makes it live.
    /// Every file must be content that was written here or is held already.
    pub fn finish(mut self, target: &Manifest) -> Result<VersionId, SiteError> {
        let encoded = target.encode();
        let version = VersionId(Hash::of(&encoded));
        if self.holds(&version) {
            return self.finish_held(version);
        }
        let used = self.build(target, &version)?;
        self.store.remove_unused(&used)?;
        let (disk, layout) = (self.session.disk(), &self.session.layout);
        let name = version.to_string();
        layout::replace(
            disk,
            &layout.manifests,
            name.as_bytes(),
            &encoded,
            Durability::Lazy,
        )?;
        self.store.fingerprints.save(disk, &layout.private)?;
        let (partial, releases) = (layout::partial_name(&version), &layout.releases);
        disk.rename(releases, &partial, releases, name.as_bytes())
            .during("name", &name)?;
        // One sync for everything above; only what the state names afterwards counts.
        disk.sync_all().during("sync", &name)?;
        self.conclude(version)?;
        Ok(version)
    }

    /// Counts a version that is held as staged.
    pub fn finish_held(mut self, version: VersionId) -> Result<VersionId, SiteError> {
        self.session.check_held(version)?;
        self.store.remove_unused(&[])?;
        let disk = self.session.disk();
        self.store
            .fingerprints
            .save(disk, &self.session.layout.private)?;
        disk.sync_all().during("sync", version)?;
        self.conclude(version)?;
        Ok(version)
    }

    fn build(&self, target: &Manifest, version: &VersionId) -> Result<Vec<Key>, SiteError> {
        let (disk, releases) = (self.session.disk(), &self.session.layout.releases);
        let partial = layout::partial_name(version);
        disk.create_dir(releases, &partial, 0o700)
            .during("create", partial.escape_ascii())?;
        let root = disk
            .open_dir(releases, &partial)
            .during("open", partial.escape_ascii())?;
        let base = match self.request.base {
            Some(base) => match disk.open_dir(releases, base.to_string().as_bytes()) {
                Ok(base) => Some(base),
                // Somebody removed the tree; its objects may still serve.
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(errno).during("open", base).map_err(Into::into),
            },
            None => None,
        };
        let building = Building {
            disk,
            store: &self.store,
            threads: self.session.site.options().threads,
            root: &root,
            base: base.as_ref().map(|base| (base, self.base.as_ref())),
        };
        building.build(target)
    }

    fn conclude(&mut self, version: VersionId) -> Result<(), SiteError> {
        let StageRequest { serial, term, .. } = self.request;
        let now = self.session.site.now();
        self.session.state.stage(version, serial, term, now);
        if self.session.live()? == Some(version) {
            self.session.state.staged = None;
        }
        self.session.state.unswept = false;
        self.session.save()?;
        self.finished = true;
        Ok(())
    }

    fn base_file(&self, path: &TreePath) -> Result<&File, SiteError> {
        match self.base.get(path) {
            Some(bellwether_content::Entry::File(file)) => Ok(file),
            _ => Err(SiteError::NotInBase { path: path.clone() }),
        }
    }
}

impl<D: Disk> Drop for Staging<'_, D> {
    fn drop(&mut self) {
        if !self.finished {
            // The state as it is on disk decides what may be removed. Whatever fails here is done
            // by the next stage.
            let _ = self.session.abandon();
        }
    }
}

impl<D: Disk> BaseFile<'_, D> {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset` on; fails if the content ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), SiteError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let read = self.disk.read_at(&self.file, &mut buffer[filled..], at);
            match read.during("read", &self.path)? {
                // It was whole when it was opened.
                0 => {
                    return Err(SiteError::ContentDamaged {
                        path: self.path.clone(),
                    });
                }
                len => filled += len,
            }
        }
        Ok(())
    }
}

impl<D: Disk> ObjectWriter<'_, D> {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SiteError> {
        self.hasher.update(bytes);
        if self.buffer.len() + bytes.len() > BUFFER_LEN {
            self.flush()?;
        }
        if bytes.len() > BUFFER_LEN {
            self.write_out(bytes)
        } else {
            self.buffer.extend_from_slice(bytes);
            Ok(())
        }
    }

    /// Ends the content, tells its length and hash, and makes it available for entries with this
    /// mode, owner and time.
    pub fn finish(
        mut self,
        mode: Mode,
        owner: Option<Arc<Owner>>,
        modified: Timestamp,
    ) -> Result<(u64, Hash), SiteError> {
        let hash = Hash(self.hasher.finalize().into());
        if self.spooled.is_some() {
            self.flush()?;
        }
        let size = self.len + self.buffer.len() as u64;
        let file = File {
            mode,
            owner,
            size,
            hash,
            modified,
        };
        match self.spooled.take() {
            Some((name, content)) => self.store.put_spooled(&file, &name, &content)?,
            None => self.store.put(&file, &self.buffer)?,
        }
        Ok((size, hash))
    }

    fn flush(&mut self) -> Result<(), SiteError> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.write_out(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        written
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), SiteError> {
        let (name, file) = match &self.spooled {
            Some(spooled) => spooled,
            None => self.spooled.insert(self.store.spool(0o600)?),
        };
        self.disk
            .write_at(file, bytes, self.len)
            .during("write", name)?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

impl<D: Disk> Drop for ObjectWriter<'_, D> {
    fn drop(&mut self) {
        if let Some((name, _)) = &self.spooled {
            // What cannot be removed now is swept with the rest of the stage.
            let _ = self.store.unspool(name);
        }
    }
}
