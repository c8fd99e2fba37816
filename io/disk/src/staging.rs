//! Building a version beside the live one.

use std::sync::Arc;

use bellwether_content::{Entry, Manifest};
use bellwether_types::{ByteSize, Hash, Serial, Term, TreePath, VersionId};

use crate::disk::{Disk, Errno};
use crate::error::{During, SiteError};
use crate::layout::{self, Durability, Layout, PARTIAL};
use crate::mend;
use crate::session::Session;
use crate::site::Site;
use crate::state::Mandate;
use crate::store::{Store, Wanted};
use crate::tree::{self, Building, Survey};
use crate::writer::Writer;

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
    /// The tree that is built.
    root: D::Dir,
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

impl<'s, D: Disk> Staging<'s, D> {
    pub(crate) fn begin(site: &'s Site<D>, request: StageRequest) -> Result<Self, SiteError> {
        let mut session = match Session::begin(site, "stage") {
            // The first stage makes the site, unless there is no way that it succeeds.
            Err(SiteError::SiteMissing { site: name }) => {
                if let Some(version) = request.base {
                    return Err(SiteError::VersionNotHeld {
                        site: name,
                        version,
                    });
                }
                check_space(site, request.bytes_new)?;
                Layout::create(site.disk(), site.name())?;
                Session::begin(site, "stage")?
            }
            begun => begun?,
        };
        let state = &session.state;
        // Serial 0 is outside the order: carried by hand, held together by its base alone.
        let ordered = request.serial != Serial(0);
        session.check_order(Mandate {
            term: request.term,
            serial: if ordered {
                request.serial
            } else {
                state.ordered
            },
        })?;
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
        check_space(site, request.bytes_new)?;
        let (disk, releases) = (site.disk(), &session.layout.releases);
        disk.create_dir(releases, PARTIAL, 0o700)
            .during("create", "releases/.partial")?;
        let root = disk
            .open_dir(releases, PARTIAL)
            .during("open", "releases/.partial")?;
        let mut store = Store::open(&session);
        store.prefer_reflinks()?;
        Ok(Self {
            session,
            store,
            request,
            base,
            root,
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

    /// Opens a file of the base. What is read from it is what the base's manifest says: if the
    /// file was touched since we made it, it is hashed first, and replaced if it differs.
    pub fn base_content(&self, path: &TreePath) -> Result<BaseFile<'_, D>, SiteError> {
        let (Some(version), Some(Entry::File(file))) = (self.request.base, self.base.get(path))
        else {
            return Err(SiteError::NotInBase { path: path.clone() });
        };
        Ok(BaseFile {
            disk: self.session.disk(),
            file: self.store.open_intact(&version, Wanted { path, file })?,
            path: path.clone(),
            size: file.size,
        })
    }

    /// Makes the directories among these entries, which are in a manifest's order. Once, before
    /// anything is written.
    pub fn create_directories<'m>(
        &self,
        tree: impl IntoIterator<Item = (&'m TreePath, &'m Entry)>,
    ) -> Result<(), SiteError> {
        tree::make_directories(&self.store, &self.root, &Survey::new(tree))
    }

    /// What writes new files.
    pub fn writer(&self) -> Writer<'_, D> {
        Writer::new(&self.store, &self.root)
    }

    /// Adds to what was written all that the base has, makes the tree durable and counts it as
    /// staged: the next commit makes it live. `encoded` is `target` in its encoding, which whoever
    /// compared its version has; `written` are the numbers of the entries that were written,
    /// rising.
    pub fn finish(
        mut self,
        target: Arc<Manifest>,
        encoded: &[u8],
        written: &[usize],
    ) -> Result<VersionId, SiteError> {
        let version = VersionId(Hash::of(encoded));
        if self.session.state.releases.contains_key(&version) {
            self.mend_held(version, target, encoded)?;
        } else {
            let base = self.open_base()?;
            let building = Building {
                store: &self.store,
                threads: self.threads(),
                root: &self.root,
                base: (base.as_ref(), self.base.as_ref()),
            };
            building.build(&target, written)?;
            drop(target);
            let (disk, layout) = (self.session.disk(), &self.session.layout);
            let (manifests, name) = (&layout.manifests, version.to_string());
            layout::replace(disk, manifests, name.as_bytes(), encoded, Durability::Lazy)?;
            self.store.fingerprints.save(disk, &layout.private)?;
            let releases = &layout.releases;
            disk.rename(releases, PARTIAL, releases, name.as_bytes())
                .during("name", &name)?;
        }
        // One sync for everything above; only what the state names afterwards counts.
        self.session.sync_all(version)?;
        self.conclude(version)?;
        Ok(version)
    }

    /// A version that is held stays as it is, but for what is damaged: that is restored, also
    /// from what was written now.
    fn mend_held(
        &mut self,
        version: VersionId,
        target: Arc<Manifest>,
        encoded: &[u8],
    ) -> Result<(), SiteError> {
        let (disk, layout) = (self.session.disk(), &self.session.layout);
        if let Err(SiteError::ManifestDamaged { .. }) = self.session.manifest(&version) {
            let name = version.to_string();
            let synced = Durability::Synced;
            layout::replace(disk, &layout.manifests, name.as_bytes(), encoded, synced)?;
        }
        self.store.look_in_partial(target);
        mend::release(&self.session, &self.store, &version)?.into_result()?;
        tree::remove(disk, &layout.releases, PARTIAL, &mut |_| {})?;
        self.store.save_fingerprints()
    }

    fn open_base(&self) -> Result<Option<D::Dir>, SiteError> {
        let Some(base) = self.request.base else {
            return Ok(None);
        };
        let (disk, releases) = (self.session.disk(), &self.session.layout.releases);
        match disk.open_dir(releases, base.to_string().as_bytes()) {
            Ok(base) => Ok(Some(base)),
            // Somebody removed the tree; others may still serve.
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).during("open", base).map_err(Into::into),
        }
    }

    fn conclude(&mut self, version: VersionId) -> Result<(), SiteError> {
        let StageRequest { serial, term, .. } = self.request;
        let now = self.session.site.now();
        self.session.state.stage(version, serial, term, now);
        if self.session.live()? == Some(version) {
            self.session.state.staged = None;
        }
        self.session.save()?;
        self.finished = true;
        Ok(())
    }
}

fn check_space<D: Disk>(site: &Site<D>, bytes_new: u64) -> Result<(), SiteError> {
    let space = site.disk().space().during("read", "the free space")?;
    if space.bytes < bytes_new {
        return Err(SiteError::NoSpace {
            needed: ByteSize(bytes_new),
            free: ByteSize(space.bytes),
        });
    }
    Ok(())
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
