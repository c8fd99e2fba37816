//! The body of an assignment as bytes: commands in columns, one column for each kind of field, so
//! that like stands beside like and thousands of commands compress to a byte or two each.
//!
//! Entries of the base are named by their place in its manifest, followed through moves; so a
//! changed file needs no name, wherever it went. The layout is described in `docs/formats.md`.
//!
//! Reading applies each command to a [`Tree`] as it goes: what does not apply is not read.

mod columns;

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_types::{PathError, TreePath};

use crate::command::{Command, WriteFile};
use crate::manifest::{Entry, EntryError, Mode, Owner, Timestamp};
use crate::tree::{ApplyError, Tree};
use columns::{Reader, Writer};

pub use columns::ColumnError;

/// The most bytes of a body before compression.
pub const BODY_LEN_MAX: usize = 256 << 20;

/// A command's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Operation {
    CreateDirectory = 0,
    RemoveFile = 1,
    RemoveDirectory = 2,
    Move = 3,
    Copy = 4,
    Symlink = 5,
    SetAttributes = 6,
    SetMode = 7,
    WriteFile = 8,
    /// A file changes its content and keeps name, permissions and owner; its base is itself.
    PatchFile = 9,
}

const OPERATIONS: [(Operation, &str); 10] = [
    (Operation::CreateDirectory, "create directory"),
    (Operation::RemoveFile, "remove file"),
    (Operation::RemoveDirectory, "remove directory"),
    (Operation::Move, "move"),
    (Operation::Copy, "copy"),
    (Operation::Symlink, "symbolic link"),
    (Operation::SetAttributes, "set attributes"),
    (Operation::SetMode, "set mode"),
    (Operation::WriteFile, "write file"),
    (Operation::PatchFile, "patch file"),
];

/// Why bytes are not a body for this base.
#[derive(Debug, thiserror::Error)]
pub enum DecodeBodyError {
    /// The columns are cut short, too long or left over.
    #[error("the commands are malformed")]
    Columns(#[from] ColumnError),
    /// A command of an unknown kind.
    #[error("command {index}: unknown operation {operation}; a newer program made this")]
    Operation {
        /// Which command, from 0.
        index: usize,
        /// Its first byte.
        operation: u8,
    },
    /// A command that has an impossible field.
    #[error("command {index}: {fault}")]
    Field {
        /// Which command, from 0.
        index: usize,
        /// What is wrong.
        fault: FieldError,
    },
    /// A command that cannot be applied to the base.
    #[error("command {index} cannot be applied")]
    Apply {
        /// Which command, from 0.
        index: usize,
        /// Why not.
        #[source]
        error: ApplyError,
    },
}

/// An impossible field of a command.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// Cut short.
    #[error(transparent)]
    Column(#[from] ColumnError),
    /// A path that cannot be.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An attribute that cannot be.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// An entry that the base does not have, or that is gone.
    #[error("entry {0} of the base is not there")]
    Place(i64),
    /// An owner that the list does not have.
    #[error("owner {0} is not in the list")]
    Owner(u64),
    /// A number that does not fit its field.
    #[error("{0} is out of range")]
    Number(u64),
    /// A patch of something that is no file.
    #[error("{0} is no file, it cannot be patched")]
    NotFile(TreePath),
}

/// Writes `commands`, which lead away from the tree's base, and leaves the tree as they do.
pub fn encode(commands: &[Command], tree: &mut Tree<'_>) -> Result<Vec<u8>, ApplyError> {
    let mut encoder = BodyEncoder::new(commands);
    for command in commands {
        encoder.command(command, tree)?;
        tree.apply(command)?;
    }
    Ok(encoder.writer.finish())
}

/// Reads a body and applies it to the tree as it goes.
pub fn decode(bytes: &[u8], tree: &mut Tree<'_>) -> Result<Vec<Command>, DecodeBodyError> {
    let mut decoder = BodyDecoder::new(bytes)?;
    let mut commands = Vec::new();
    for index in 0..decoder.reader.operations.len() {
        let operation = decoder.reader.operations[index];
        let known = OPERATIONS
            .iter()
            .find(|(known, _)| *known as u8 == operation);
        let Some((operation, _)) = known else {
            return Err(DecodeBodyError::Operation { index, operation });
        };
        let command = decoder.command(*operation, tree);
        let command = command.map_err(|fault| DecodeBodyError::Field { index, fault })?;
        tree.apply(&command)
            .map_err(|error| DecodeBodyError::Apply { index, error })?;
        commands.push(command);
    }
    decoder.reader.finish()?;
    Ok(commands)
}

/// How many commands of each kind a body has, without a base at hand.
pub fn count(bytes: &[u8]) -> Result<Vec<(&'static str, usize)>, DecodeBodyError> {
    let reader = Reader::new(bytes)?;
    let times = |wanted: Operation| {
        reader
            .operations
            .iter()
            .filter(|operation| **operation == wanted as u8)
            .count()
    };
    let counts = OPERATIONS
        .iter()
        .map(|(operation, name)| (*name, times(*operation)));
    Ok(counts.filter(|(_, count)| *count > 0).collect())
}

/// What the next field is written or read against; the same on both sides.
#[derive(Default)]
struct Context {
    next_place: i64,
    path: Vec<u8>,
    seconds: i64,
}

struct BodyEncoder<'c> {
    writer: Writer,
    owners: BTreeMap<&'c Owner, u64>,
    context: Context,
}

impl<'c> BodyEncoder<'c> {
    fn new(commands: &'c [Command]) -> Self {
        let mut writer = Writer::default();
        let mut owners = BTreeMap::new();
        for command in commands {
            let (Command::CreateDirectory { owner, .. }
            | Command::Symlink { owner, .. }
            | Command::SetAttributes { owner, .. }
            | Command::WriteFile(WriteFile { owner, .. })) = command
            else {
                continue;
            };
            if let Some(owner) = owner.as_deref()
                && !owners.contains_key(owner)
            {
                owners.insert(owner, owners.len() as u64 + 1);
                writer.owners.text(owner.user.as_bytes());
                writer.owners.text(owner.group.as_bytes());
            }
        }
        Self {
            writer,
            owners,
            context: Context::default(),
        }
    }

    fn command(&mut self, command: &Command, tree: &Tree<'_>) -> Result<(), ApplyError> {
        let operation = match command {
            Command::CreateDirectory { path, mode, owner } => {
                self.path(path, tree);
                self.attributes(*mode, owner.as_ref());
                Operation::CreateDirectory
            }
            Command::RemoveFile { path } => {
                self.path(path, tree);
                Operation::RemoveFile
            }
            Command::RemoveDirectory { path } => {
                self.path(path, tree);
                Operation::RemoveDirectory
            }
            Command::Move { from, to } => {
                self.path(from, tree);
                self.path(to, tree);
                Operation::Move
            }
            Command::Copy { from, to } => {
                self.base(from, tree)?;
                self.path(to, tree);
                Operation::Copy
            }
            Command::Symlink {
                path,
                target,
                owner,
            } => {
                self.path(path, tree);
                self.writer.targets.text(target);
                self.owner(owner.as_ref());
                Operation::Symlink
            }
            Command::SetAttributes {
                path,
                mode,
                owner,
                modified,
            } => {
                self.path(path, tree);
                self.writer.modes.number(mode.bits().into());
                if keeps_all_but_mode(tree.get(path), owner.as_ref(), *modified) {
                    Operation::SetMode
                } else {
                    self.owner(owner.as_ref());
                    self.writer.sizes.number(modified.is_some().into());
                    modified
                        .iter()
                        .for_each(|modified| self.modified(*modified));
                    Operation::SetAttributes
                }
            }
            Command::WriteFile(write) => self.write_file(write, tree)?,
        };
        self.writer.operations.push(operation as u8);
        Ok(())
    }

    fn write_file(&mut self, write: &WriteFile, tree: &Tree<'_>) -> Result<Operation, ApplyError> {
        self.path(&write.path, tree);
        self.modified(write.modified);
        if let Some(old_size) = patched_size(write, tree) {
            self.writer
                .sizes
                .signed(write.size.wrapping_sub(old_size) as i64);
            return Ok(Operation::PatchFile);
        }
        self.attributes(write.mode, write.owner.as_ref());
        self.writer.sizes.number(write.size);
        self.writer.bases.number(write.base.is_some().into());
        if let Some(base) = &write.base {
            self.base(base, tree)?;
        }
        Ok(Operation::WriteFile)
    }

    /// A path that stands for an entry of the base, or one spelled out.
    fn path(&mut self, path: &TreePath, tree: &Tree<'_>) {
        match tree.base_index(path) {
            Some(index) => self.place(index),
            None => {
                self.writer.places.number(0);
                let shared = self.context.path.iter().zip(path.as_bytes());
                let shared = shared.take_while(|(a, b)| a == b).count();
                self.writer.prefixes.number(shared as u64);
                self.writer.names.text(&path.as_bytes()[shared..]);
                self.context.path = path.as_bytes().to_vec();
            }
        }
    }

    fn place(&mut self, index: usize) {
        let index = index as i64;
        self.writer
            .places
            .number(1 + columns::zigzag(index - self.context.next_place));
        self.context.next_place = index + 1;
    }

    fn base(&mut self, path: &TreePath, tree: &Tree<'_>) -> Result<(), ApplyError> {
        let index = tree.index_in_base(path);
        let index = index.ok_or_else(|| ApplyError::NotInBase(path.clone()))? as i64;
        self.writer.bases.signed(index - self.context.next_place);
        Ok(())
    }

    fn attributes(&mut self, mode: Mode, owner: Option<&Arc<Owner>>) {
        self.writer.modes.number(mode.bits().into());
        self.owner(owner);
    }

    fn owner(&mut self, owner: Option<&Arc<Owner>>) {
        self.writer
            .owner_numbers
            .number(owner.map_or(0, |owner| self.owners[owner.as_ref()]));
    }

    fn modified(&mut self, modified: Timestamp) {
        self.writer
            .seconds
            .signed(modified.seconds.wrapping_sub(self.context.seconds));
        self.writer.nanoseconds.number(modified.nanoseconds.into());
        self.context.seconds = modified.seconds;
    }
}

struct BodyDecoder<'b> {
    reader: Reader<'b>,
    owners: Vec<Arc<Owner>>,
    context: Context,
}

impl<'b> BodyDecoder<'b> {
    fn new(bytes: &'b [u8]) -> Result<Self, ColumnError> {
        let mut reader = Reader::new(bytes)?;
        let mut owners = Vec::new();
        while !reader.owners.is_empty() {
            let mut name = || {
                let name = std::str::from_utf8(reader.owners.text()?);
                name.map(str::to_owned).map_err(|_| ColumnError::NotText)
            };
            let (user, group) = (name()?, name()?);
            owners.push(Arc::new(Owner { user, group }));
        }
        Ok(Self {
            reader,
            owners,
            context: Context::default(),
        })
    }

    fn command(&mut self, operation: Operation, tree: &Tree<'_>) -> Result<Command, FieldError> {
        Ok(match operation {
            Operation::CreateDirectory => Command::CreateDirectory {
                path: self.path(tree)?,
                mode: self.mode()?,
                owner: self.owner()?,
            },
            Operation::RemoveFile => Command::RemoveFile {
                path: self.path(tree)?,
            },
            Operation::RemoveDirectory => Command::RemoveDirectory {
                path: self.path(tree)?,
            },
            Operation::Move => Command::Move {
                from: self.path(tree)?,
                to: self.path(tree)?,
            },
            Operation::Copy => Command::Copy {
                from: self.base(tree)?,
                to: self.path(tree)?,
            },
            Operation::Symlink => Command::Symlink {
                path: self.path(tree)?,
                target: self.reader.targets.text()?.into(),
                owner: self.owner()?,
            },
            Operation::SetMode => {
                let path = self.path(tree)?;
                let owner = tree.get(&path).and_then(|entry| entry.owner().cloned());
                Command::SetAttributes {
                    path,
                    mode: self.mode()?,
                    owner,
                    modified: None,
                }
            }
            Operation::SetAttributes => Command::SetAttributes {
                path: self.path(tree)?,
                mode: self.mode()?,
                owner: self.owner()?,
                modified: match self.reader.sizes.number()? {
                    0 => None,
                    _ => Some(self.modified()?),
                },
            },
            Operation::WriteFile => Command::WriteFile(WriteFile {
                path: self.path(tree)?,
                modified: self.modified()?,
                mode: self.mode()?,
                owner: self.owner()?,
                size: self.reader.sizes.number()?,
                base: match self.reader.bases.number()? {
                    0 => None,
                    _ => Some(self.base(tree)?),
                },
            }),
            Operation::PatchFile => Command::WriteFile(self.patch_file(tree)?),
        })
    }

    fn patch_file(&mut self, tree: &Tree<'_>) -> Result<WriteFile, FieldError> {
        let path = self.path(tree)?;
        let modified = self.modified()?;
        let base = tree
            .base_index(&path)
            .and_then(|index| tree.base_path(index));
        let (Some(Entry::File(file)), Some(base)) = (tree.get(&path), base) else {
            return Err(FieldError::NotFile(path));
        };
        let size = file.size.wrapping_add_signed(self.reader.sizes.signed()?);
        Ok(WriteFile {
            mode: file.mode,
            owner: file.owner.clone(),
            size,
            modified,
            base: Some(base.clone()),
            path,
        })
    }

    fn path(&mut self, tree: &Tree<'_>) -> Result<TreePath, FieldError> {
        match self.reader.places.number()? {
            0 => {
                let shared = self.reader.prefixes.number()?;
                let shared = usize::try_from(shared)
                    .ok()
                    .and_then(|n| self.context.path.get(..n));
                let shared = shared.ok_or(ColumnError::Truncated)?;
                let path = TreePath::new([shared, self.reader.names.text()?].concat())?;
                self.context.path = path.as_bytes().to_vec();
                Ok(path)
            }
            place => {
                let index = self
                    .context
                    .next_place
                    .wrapping_add(columns::unzigzag(place - 1));
                self.context.next_place = index.wrapping_add(1);
                let place = usize::try_from(index)
                    .ok()
                    .and_then(|index| tree.place_of(index));
                place.cloned().ok_or(FieldError::Place(index))
            }
        }
    }

    fn base(&mut self, tree: &Tree<'_>) -> Result<TreePath, FieldError> {
        let index = self
            .context
            .next_place
            .wrapping_add(self.reader.bases.signed()?);
        let path = usize::try_from(index)
            .ok()
            .and_then(|index| tree.base_path(index));
        path.cloned().ok_or(FieldError::Place(index))
    }

    fn mode(&mut self) -> Result<Mode, FieldError> {
        let bits = self.reader.modes.number()?;
        let bits = u32::try_from(bits).map_err(|_| FieldError::Number(bits))?;
        Ok(Mode::new(bits)?)
    }

    fn owner(&mut self) -> Result<Option<Arc<Owner>>, FieldError> {
        let number = self.reader.owner_numbers.number()?;
        let Some(index) = number.checked_sub(1) else {
            return Ok(None);
        };
        let owner = usize::try_from(index)
            .ok()
            .and_then(|index| self.owners.get(index));
        owner.cloned().map(Some).ok_or(FieldError::Owner(number))
    }

    fn modified(&mut self) -> Result<Timestamp, FieldError> {
        let seconds = self.reader.seconds.signed()?;
        self.context.seconds = self.context.seconds.wrapping_add(seconds);
        let nanoseconds = self.reader.nanoseconds.number()?;
        let nanoseconds =
            u32::try_from(nanoseconds).map_err(|_| FieldError::Number(nanoseconds))?;
        Ok(Timestamp::new(self.context.seconds, nanoseconds)?)
    }
}

fn keeps_all_but_mode(
    entry: Option<&Entry>,
    owner: Option<&Arc<Owner>>,
    modified: Option<Timestamp>,
) -> bool {
    entry.is_some_and(|entry| entry.owner() == owner) && modified.is_none()
}

/// The size of the file that stands at the path, if the write only changes its content.
fn patched_size(write: &WriteFile, tree: &Tree<'_>) -> Option<u64> {
    let Some(Entry::File(file)) = tree.get(&write.path) else {
        return None;
    };
    let origin = tree.base_path(tree.base_index(&write.path)?)?;
    let same = write.base.as_ref() == Some(origin)
        && (write.mode, &write.owner) == (file.mode, &file.owner);
    same.then_some(file.size)
}
