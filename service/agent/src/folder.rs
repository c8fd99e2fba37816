//! The data directory: who this node is, and what it must remember over a restart.
//!
//! ```text
//! DATA/lock        held by the agent that runs; its process id
//! DATA/node        the node's id, made once, and how many times it was started
//! DATA/election    the highest reign obeyed, and the highest counter seen
//! DATA/membership  the control channel, if it was moved
//! DATA/record      how earlier starts ended, and when this node last led
//! DATA/key        the node's own key, by which the control server knows it again
//! DATA/enrolment  what the control server gave: a certificate, and settings
//! DATA/admin.sock  by which operators speak with the agent
//! ```
//!
//! Each file is a few lines of text whose last one is a hash of those before, and is replaced whole: written beside,
//! synced, renamed, and the directory synced. Those without secrets change places with what is written beside them, so
//! that the next one finds its room taken already: on a full disk a node still elects, and starts again.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bellwether_types::{Hash, Incarnation, NodeId};
use rustix::fs::{CWD, FlockOperation, RenameFlags, renameat_with};

/// A data directory that this process has for itself.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    handle: File,
    /// Held until the process ends.
    _lock: File,
}

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another agent runs on it.
    #[error("another agent runs on {path}{holder}: stop it, or give this one a directory of its own", path = path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
        /// Its process, if it said so.
        holder: String,
    },
    /// The file system refuses.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file is not as it was written.
    #[error("{path} is damaged: {advice}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
}

/// One file of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Node,
    Election,
    Membership,
    Record,
    Key,
    Enrolment,
}

/// Far more than any of the files has.
const FILE_LEN_MAX: u64 = 4 << 20;

impl Folder {
    /// Opens the directory, which is made if it is not there, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let fault = |action| io_fault(action, path);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(fault("create"))?;
        let handle = File::open(path).map_err(fault("open"))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path);
        let mut lock = lock.map_err(io_fault("open", &lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let _ = (&mut lock).take(32).read_to_string(&mut text);
                let holder = match text.trim() {
                    "" => String::new(),
                    id => format!(" (process {id})"),
                };
                let path = path.to_owned();
                return Err(FolderError::Taken { path, holder });
            }
            Err(errno) => return Err(io_fault("lock", &lock_path)(errno.into())),
        }
        // Only for the message above: whether it is there decides nothing.
        let _ = lock.set_len(0);
        let _ = writeln!(lock, "{}", std::process::id());
        Ok(Self {
            path: path.to_owned(),
            handle,
            _lock: lock,
        })
    }

    /// The same directory, held by the same lock.
    pub(crate) fn another(&self) -> Result<Self, FolderError> {
        let fault = || io_fault("open", &self.path);
        Ok(Self {
            path: self.path.clone(),
            handle: self.handle.try_clone().map_err(fault())?,
            _lock: self._lock.try_clone().map_err(fault())?,
        })
    }

    /// The id of the node, which is made if there is none yet; durable on return.
    pub(crate) fn identity(&self) -> Result<NodeId, FolderError> {
        let (node, starts) = self.node()?;
        self.keep_node(node, starts)?;
        Ok(node)
    }

    /// Begins another start of the node: its id, and an incarnation that is higher than any before, and durable.
    pub(crate) fn begin(&self) -> Result<(NodeId, Incarnation), FolderError> {
        let (node, incarnation) = self.node()?;
        let incarnation = Incarnation(incarnation.0.saturating_add(1));
        self.keep_node(node, incarnation)?;
        Ok((node, incarnation))
    }

    fn node(&self) -> Result<(NodeId, Incarnation), FolderError> {
        match self.read(Kept::Node)? {
            None => Ok((NodeId::from_bytes(random_bytes()), Incarnation(0))),
            Some(body) => parse_identity(&body).ok_or_else(|| self.damaged(Kept::Node)),
        }
    }

    fn keep_node(&self, node: NodeId, starts: Incarnation) -> Result<(), FolderError> {
        self.replace(Kept::Node, &format!("id {node}\nstarts {starts}\n"))
    }

    /// What was last kept; `None` if nothing ever was.
    pub(crate) fn read(&self, kept: Kept) -> Result<Option<String>, FolderError> {
        let path = self.path(kept);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_fault("read", &path)(error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(FILE_LEN_MAX).read_to_end(&mut bytes);
        read.map_err(io_fault("read", &path))?;
        let text = String::from_utf8(bytes).ok();
        let body = text.and_then(|text| unsealed(kept, &text).map(str::to_owned));
        body.map(Some).ok_or_else(|| self.damaged(kept))
    }

    /// Keeps `body` in place of what was kept before; it is durable on return.
    pub(crate) fn replace(&self, kept: Kept, body: &str) -> Result<(), FolderError> {
        let path = self.path(kept);
        let beside = path.with_extension("new");
        let text = sealed(kept, body);
        let write = || {
            write_over(&beside, &text)?;
            let turns = kept.is_open();
            if !turns || renameat_with(CWD, &beside, CWD, &path, RenameFlags::EXCHANGE).is_err() {
                fs::rename(&beside, &path)?;
                if turns {
                    // Nothing lay there before, or the file system cannot exchange.
                    let _ = write_over(&beside, &text);
                }
            }
            self.handle.sync_all()
        };
        write().map_err(io_fault("write", &path))
    }

    /// A file that cannot be believed.
    pub(crate) fn damaged(&self, kept: Kept) -> FolderError {
        FolderError::Damaged {
            path: self.path(kept),
            advice: kept.advice(),
        }
    }

    fn path(&self, kept: Kept) -> PathBuf {
        self.path.join(kept.name())
    }
}

impl Kept {
    /// Is it nothing that must be gone once it is replaced?
    const fn is_open(self) -> bool {
        !matches!(self, Self::Key | Self::Enrolment)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Election => "election",
            Self::Membership => "membership",
            Self::Record => "record",
            Self::Key => "key",
            Self::Enrolment => "enrolment",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Node => {
                "restore it from a backup that is not in use elsewhere, or remove the whole directory to join as a new node"
            }
            Self::Election => {
                "stop, wait until the segment has a leader again, then remove the file: the node learns the reign from the \
                 leader"
            }
            Self::Membership => {
                "remove it: the node begins on the configured control channel, where it is told of another"
            }
            Self::Record => "remove it: only the node's reliability is forgotten",
            Self::Key => {
                "restore it from a backup; or have the node removed at the control server, remove this file and `enrolment`, \
                 and enrol again with a token"
            }
            Self::Enrolment => {
                "remove it, and start once with a token: the node enrols again by its key"
            }
        }
    }
}

/// Writes a file's text over whatever it had; durable on return.
fn write_over(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_data()
}

fn parse_identity(body: &str) -> Option<(NodeId, Incarnation)> {
    let (id, rest) = body.strip_prefix("id ")?.split_once('\n')?;
    let starts = rest.strip_prefix("starts ")?.strip_suffix('\n')?;
    Some((id.parse().ok()?, Incarnation(starts.parse().ok()?)))
}

fn sealed(kept: Kept, body: &str) -> String {
    let mut text = format!("bellwether-agent {} 1\n{body}", kept.name());
    let check = Hash::of(text.as_bytes());
    writeln!(text, "check {check}").expect("writing to a string cannot fail");
    text
}

fn unsealed(kept: Kept, text: &str) -> Option<&str> {
    let (head, check) = text.strip_suffix('\n')?.rsplit_once("\ncheck ")?;
    let head = &text[..head.len() + 1];
    if Hash::of(head.as_bytes()).to_string() != check {
        return None;
    }
    let body = head.strip_prefix("bellwether-agent ")?;
    body.strip_prefix(kept.name())?.strip_prefix(" 1\n")
}

/// Randomness of the system, without which there is no safe way on.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(
        filled,
        Ok(N),
        "the system gives randomness once it has started"
    );
    bytes
}

fn io_fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError + use<> {
    let path = path.to_owned();
    move |source| FolderError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ELECT-34.
    #[test]
    fn the_id_stays_and_each_start_is_a_higher_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        let start = || Folder::open(&path).unwrap().begin().unwrap();
        let first = start();
        let second = start();
        assert_eq!(first.0, second.0);
        assert_eq!([first.1, second.1], [Incarnation(1), Incarnation(2)]);
    }

    #[test]
    fn a_second_agent_is_refused_by_the_name_of_the_first() {
        let home = tempfile::tempdir().unwrap();
        let first = Folder::open(home.path()).unwrap();
        let refused = Folder::open(home.path()).unwrap_err().to_string();
        let holder = format!("(process {})", std::process::id());
        assert!(refused.contains(&holder), "{refused}");
        drop(first);
        Folder::open(home.path()).unwrap();
    }

    #[test]
    fn a_damaged_file_is_refused_with_advice_and_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        folder.begin().unwrap();
        let path = home.path().join("node");
        let intact = fs::read(&path).unwrap();
        for damage in 0..intact.len() {
            for change in [0x01, 0xff] {
                let mut bytes = intact.clone();
                bytes[damage] ^= change;
                fs::write(&path, &bytes).unwrap();
                let refused = folder.begin().unwrap_err().to_string();
                assert!(refused.contains("new node"), "byte {damage}: {refused}");
                assert_eq!(fs::read(&path).unwrap(), bytes);
            }
            fs::write(&path, &intact[..damage]).unwrap();
            folder.begin().unwrap_err();
        }
        fs::write(&path, &intact).unwrap();
        assert_eq!(folder.begin().unwrap().1, Incarnation(2));
    }

    /// On a full disk there is no other room than what was taken before.
    #[test]
    fn what_is_replaced_leaves_its_room_to_the_next_unless_it_is_secret() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let inode = |name: &str| {
            let metadata = fs::metadata(home.path().join(name)).ok();
            metadata.map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata))
        };
        folder.replace(Kept::Election, "counter 7\n").unwrap();
        let rooms = [inode("election"), inode("election.new")];
        assert!(rooms.iter().all(Option::is_some));
        for counter in [1_000, 8, 9] {
            let body = format!("counter {counter}\n");
            folder.replace(Kept::Election, &body).unwrap();
            assert_eq!(folder.read(Kept::Election).unwrap(), Some(body));
            assert!(rooms.contains(&inode("election")));
            assert!(rooms.contains(&inode("election.new")));
        }
        folder.replace(Kept::Key, "one\n").unwrap();
        folder.replace(Kept::Key, "two\n").unwrap();
        assert_eq!(inode("key.new"), None);
    }

    #[test]
    fn what_is_kept_under_one_name_is_not_read_under_another() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        assert_eq!(folder.read(Kept::Election).unwrap(), None);
        folder.replace(Kept::Election, "counter 7\n").unwrap();
        assert_eq!(
            folder.read(Kept::Election).unwrap().as_deref(),
            Some("counter 7\n")
        );
        fs::copy(home.path().join("election"), home.path().join("record")).unwrap();
        assert!(folder.read(Kept::Record).is_err());
    }
}
