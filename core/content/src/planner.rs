//! From two manifests to the commands that lead from one to the other, in an order that is valid
//! at every step.
//!
//! The order: what stands in the way goes, directories appear, entries move to free names, what
//! is left over goes, files of the base are copied, links are made, contents are written, and
//! attributes are set last. Copies and contents refer to the *base*, which nodes keep whole
//! whatever becomes of the working tree; so neither swaps nor chains of names need thought.

use std::collections::BTreeMap;

use bellwether_types::{Hash, TreePath};

use crate::command::{Command, WriteFile};
use crate::diff::same_content;
use crate::manifest::{Entry, File, Manifest};
use crate::tree::{ApplyError, Tree};

/// What a planner cannot see in manifests.
pub struct Hints<'h> {
    /// For new paths of the target, the file of the base that their content resembles most.
    pub resemblances: BTreeMap<TreePath, TreePath>,
    /// Whether a file's content is worth compressing (COMP-02).
    pub compressible: &'h dyn Fn(&TreePath) -> bool,
}

impl std::fmt::Debug for Hints<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hints")
            .field("resemblances", &self.resemblances)
            .finish_non_exhaustive()
    }
}

impl Hints<'_> {
    /// Nothing is known.
    pub const NONE: Self = Self {
        resemblances: BTreeMap::new(),
        compressible: &|_| true,
    };
}

/// Renamed directories within renamed directories are found one level a round.
const MOVE_ROUNDS_MAX: usize = 8;

/// Commands that turn `base` into `target`.
///
/// # Errors
/// Only if a command does not apply, which would be a fault of this planner.
pub fn plan(
    base: &Manifest,
    target: &Manifest,
    hints: &Hints<'_>,
) -> Result<Vec<Command>, ApplyError> {
    let mut planner = Planner {
        tree: Tree::new(base),
        target,
        commands: Vec::new(),
    };
    for _ in 0..MOVE_ROUNDS_MAX {
        if !planner.move_directories()? {
            break;
        }
    }
    planner.clear_the_way()?;
    planner.create_directories()?;
    planner.move_files()?;
    planner.remove()?;
    planner.create_directories()?;
    planner.copy_files()?;
    planner.make_links()?;
    planner.write_files(hints)?;
    planner.set_attributes()?;
    Ok(planner.commands)
}

/// Whether `commands` turn `base` into `target`: each step applies, and the tree at the end is
/// the target.
///
/// # Errors
/// The step that does not apply, or how many files remain to be written.
pub fn check(base: &Manifest, commands: &[Command], target: &Manifest) -> Result<bool, ApplyError> {
    let mut tree = Tree::new(base);
    commands
        .iter()
        .try_for_each(|command| tree.apply(command))?;
    let contents = tree
        .written()
        .iter()
        .map(|write| match target.get(&write.path) {
            Some(Entry::File(file)) if file.size == write.size => (file.size, file.hash),
            _ => (write.size, Hash([0; 32])),
        });
    let contents: Vec<_> = contents.collect();
    Ok(tree.finish(&contents)? == *target)
}

struct Planner<'a> {
    tree: Tree<'a>,
    target: &'a Manifest,
    commands: Vec<Command>,
}

impl Planner<'_> {
    fn push(&mut self, command: Command) -> Result<(), ApplyError> {
        self.tree.apply(&command)?;
        self.commands.push(command);
        Ok(())
    }

    /// Moves whole directories whose files, by content and name, are mostly found in a directory
    /// of the target that is not there yet. Returns whether there were any.
    fn move_directories(&mut self) -> Result<bool, ApplyError> {
        let mut moves: Vec<(TreePath, TreePath)> = Vec::new();
        for (from, to) in self.directory_votes() {
            let within = |(a, b): &(TreePath, TreePath)| from.is_within(a) || to.is_within(b);
            if !moves.iter().any(within) {
                moves.push((from, to));
            }
        }
        let mut moved = false;
        for (from, to) in moves {
            // A parent that an earlier move needed may be this one's goal: it is found file by
            // file then.
            if self.tree.get(&to).is_none() {
                self.create_parents(&to)?;
                self.push(Command::Move { from, to })?;
                moved = true;
            }
        }
        Ok(moved)
    }

    /// For each directory that is gone, the new directory that most of its files are found in,
    /// outermost first.
    fn directory_votes(&self) -> Vec<(TreePath, TreePath)> {
        let mut appeared: BTreeMap<(Hash, &[u8]), Vec<&TreePath>> = BTreeMap::new();
        for (path, file) in self.target.files() {
            if file.size > 0 && self.tree.get(path).is_none() {
                appeared
                    .entry((file.hash, path.file_name()))
                    .or_default()
                    .push(path);
            }
        }
        let mut votes: BTreeMap<TreePath, BTreeMap<TreePath, usize>> = BTreeMap::new();
        for (path, entry) in self.tree.iter() {
            let Entry::File(file) = entry else { continue };
            if self.target.contains(path) {
                continue;
            }
            // Only a file with one possible new place can tell where its directory went.
            if let Some([place]) = appeared
                .get(&(file.hash, path.file_name()))
                .map(Vec::as_slice)
            {
                let (mut from, mut to) = (path.parent(), place.parent());
                while let (Some(old), Some(new)) = (&from, &to) {
                    if self.target.contains(old) || self.tree.get(new).is_some() {
                        break;
                    }
                    *votes
                        .entry(old.clone())
                        .or_default()
                        .entry(new.clone())
                        .or_default() += 1;
                    if old.file_name() != new.file_name() {
                        break;
                    }
                    (from, to) = (old.parent(), new.parent());
                }
            }
        }
        let winners = votes.into_iter().filter_map(|(from, places)| {
            // Ties go to the first name, so that the plan is the same everywhere.
            let most = places.into_iter().rev().max_by_key(|(_, votes)| *votes);
            most.map(|(to, _)| (from, to))
        });
        winners.collect()
    }

    /// Directories of the target that must stand above `path`, as far as they are missing.
    fn create_parents(&mut self, path: &TreePath) -> Result<(), ApplyError> {
        let mut missing = Vec::new();
        let mut parent = path.parent();
        while let Some(path) = parent {
            match self.tree.get(&path) {
                Some(Entry::Directory { .. }) => break,
                Some(_) => self.push(Command::RemoveFile { path: path.clone() })?,
                None => {}
            }
            parent = path.parent();
            missing.push(path);
        }
        missing
            .into_iter()
            .rev()
            .try_for_each(|path| self.create_directory(path))
    }

    fn create_directory(&mut self, path: TreePath) -> Result<(), ApplyError> {
        match self.target.get(&path) {
            Some(Entry::Directory { mode, owner }) => {
                let (mode, owner) = (*mode, owner.clone());
                self.push(Command::CreateDirectory { path, mode, owner })
            }
            _ => Err(ApplyError::Parent(path)),
        }
    }

    /// Removes files and links where the target has a directory.
    fn clear_the_way(&mut self) -> Result<(), ApplyError> {
        let in_the_way = self.tree.iter().filter(|(path, entry)| {
            !matches!(entry, Entry::Directory { .. })
                && matches!(self.target.get(path), Some(Entry::Directory { .. }))
        });
        let in_the_way: Vec<_> = in_the_way.map(|(path, _)| path.clone()).collect();
        in_the_way
            .into_iter()
            .try_for_each(|path| self.push(Command::RemoveFile { path }))
    }

    /// Creates missing directories, except beneath a directory that is to become a file.
    fn create_directories(&mut self) -> Result<(), ApplyError> {
        let target = self.target;
        for (path, entry) in target.iter() {
            let missing = matches!(entry, Entry::Directory { .. }) && self.tree.get(path).is_none();
            if missing {
                self.create_directory(path.clone())?;
            }
        }
        Ok(())
    }

    /// Moves files and links whose path is gone to new paths of the target with their content.
    fn move_files(&mut self) -> Result<(), ApplyError> {
        let mut free: BTreeMap<Hash, Vec<&TreePath>> = BTreeMap::new();
        for (path, file) in self.target.files().rev() {
            if self.tree.get(path).is_none() {
                free.entry(file.hash).or_default().push(path);
            }
        }
        let mut moves = Vec::new();
        for (path, entry) in self.tree.iter() {
            let Entry::File(file) = entry else { continue };
            if file.size > 0
                && !self.target.contains(path)
                && let Some(to) = free.get_mut(&file.hash).and_then(Vec::pop)
            {
                moves.push((path.clone(), to.clone()));
            }
        }
        moves
            .into_iter()
            .try_for_each(|(from, to)| self.push(Command::Move { from, to }))
    }

    /// Removes what the target does not have, whole directories at once.
    fn remove(&mut self) -> Result<(), ApplyError> {
        let mut doomed: Vec<(TreePath, bool)> = Vec::new();
        for (path, entry) in self.tree.iter() {
            let is_directory = matches!(entry, Entry::Directory { .. });
            let stays = match self.target.get(path) {
                None => false,
                Some(target) => matches!(target, Entry::Directory { .. }) == is_directory,
            };
            let covered = |(above, _): &(TreePath, bool)| path.is_within(above);
            if !stays && !doomed.last().is_some_and(covered) {
                doomed.push((path.clone(), is_directory));
            }
        }
        doomed.into_iter().try_for_each(|(path, is_directory)| {
            self.push(match is_directory {
                true => Command::RemoveDirectory { path },
                false => Command::RemoveFile { path },
            })
        })
    }

    /// Copies files whose content the base has.
    fn copy_files(&mut self) -> Result<(), ApplyError> {
        let mut sources: BTreeMap<Hash, Vec<(&TreePath, &File)>> = BTreeMap::new();
        for (path, file) in self.tree.base().files() {
            sources.entry(file.hash).or_default().push((path, file));
        }
        let mut copies = Vec::new();
        for (path, file) in self.target.files().filter(|(_, file)| file.size > 0) {
            if self.has_content(path, file) {
                continue;
            }
            if let Some(candidates) = sources.get(&file.hash) {
                // One with the same attributes saves the command that would set them.
                let same = candidates.iter().find(|(_, source)| *source == file);
                let (from, _) = same.unwrap_or(&candidates[0]);
                copies.push(((*from).clone(), path.clone()));
            }
        }
        copies
            .into_iter()
            .try_for_each(|(from, to)| self.push(Command::Copy { from, to }))
    }

    fn has_content(&self, path: &TreePath, file: &File) -> bool {
        matches!(self.tree.get(path), Some(Entry::File(now)) if now.hash == file.hash)
    }

    fn make_links(&mut self) -> Result<(), ApplyError> {
        let target = self.target;
        for (path, entry) in target.iter() {
            let Entry::Symlink { target, owner } = entry else {
                continue;
            };
            if !self
                .tree
                .get(path)
                .is_some_and(|now| same_content(now, entry))
            {
                let (path, target, owner) = (path.clone(), target.clone(), owner.clone());
                self.push(Command::Symlink {
                    path,
                    target,
                    owner,
                })?;
            }
        }
        Ok(())
    }

    /// Like files follow each other, so that their contents compress as one; those that are
    /// patched stand before those that are new, so that no segment holds both.
    fn write_files(&mut self, hints: &Hints<'_>) -> Result<(), ApplyError> {
        let missing = self
            .target
            .files()
            .filter(|(path, file)| !self.has_content(path, file));
        let mut missing: Vec<_> = missing
            .map(|(path, file)| (path, file, self.base_of(path, file, hints)))
            .collect();
        missing.sort_by_cached_key(|(path, _, base)| {
            (
                (hints.compressible)(path),
                base.is_none(),
                extension(path).to_vec(),
                (*path).clone(),
            )
        });
        for (path, file, base) in missing {
            self.push(Command::WriteFile(WriteFile {
                path: path.clone(),
                mode: file.mode,
                owner: file.owner.clone(),
                size: file.size,
                modified: file.modified,
                base,
            }))?;
        }
        Ok(())
    }

    /// The file of the base that a file's content is expressed against, if any.
    fn base_of(&self, path: &TreePath, file: &File, hints: &Hints<'_>) -> Option<TreePath> {
        let own = self.tree.base_index(path);
        let own = own.and_then(|index| self.tree.base_path(index));
        let base = own.or_else(|| hints.resemblances.get(path))?;
        let held = self.tree.base().get(base);
        let is_file = matches!(held, Some(Entry::File(base)) if base.size > 0);
        (file.size > 0 && is_file).then(|| base.clone())
    }

    fn set_attributes(&mut self) -> Result<(), ApplyError> {
        let target = self.target;
        for (path, entry) in target.iter() {
            let Some(now) = self.tree.get(path) else {
                return Err(ApplyError::Missing(path.clone()));
            };
            let (mode, modified) = match (entry, now) {
                (Entry::File(file), Entry::File(now)) => {
                    let same = (file.mode, &file.owner, file.modified)
                        == (now.mode, &now.owner, now.modified);
                    if same {
                        continue;
                    }
                    (
                        file.mode,
                        (file.modified != now.modified).then_some(file.modified),
                    )
                }
                _ if entry == now => continue,
                (Entry::Directory { mode, .. }, _) => (*mode, None),
                _ => (crate::manifest::Mode::LINK, None),
            };
            self.push(Command::SetAttributes {
                path: path.clone(),
                mode,
                owner: entry.owner().cloned(),
                modified,
            })?;
        }
        Ok(())
    }
}

fn extension(path: &TreePath) -> &[u8] {
    let name = path.file_name();
    name.iter()
        .rposition(|&b| b == b'.')
        .map_or(&[], |dot| &name[dot..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body;
    use crate::manifest::tests::{directory, file, path, symlink};
    use crate::manifest::{Mode, Timestamp};

    fn tree(entries: &[(&str, Entry)]) -> Manifest {
        let entries = entries
            .iter()
            .map(|(text, entry)| (path(text), entry.clone()));
        Manifest::from_entries(entries).unwrap()
    }

    /// Plans, checks, and sends the commands through their encoding.
    fn planned(base: &Manifest, target: &Manifest) -> Vec<Command> {
        let commands = plan(base, target, &Hints::NONE).unwrap();
        assert!(check(base, &commands, target).unwrap());
        let bytes = body::encode(&commands, &mut Tree::new(base)).unwrap();
        assert_eq!(
            body::decode(&bytes, &mut Tree::new(base)).unwrap(),
            commands
        );
        commands
    }

    fn moved(from: &str, to: &str) -> Command {
        Command::Move {
            from: path(from),
            to: path(to),
        }
    }

    /// DELTA-01.
    #[test]
    fn identical_trees_need_no_command() {
        let same = tree(&[("a", directory()), ("a/b", file(b"x"))]);
        assert_eq!(planned(&same, &same), []);
    }

    #[test]
    fn a_renamed_directory_is_one_command_whatever_it_holds() {
        let entries = |name: &str| {
            let files = (0..1000).map(|i| (path(&format!("{name}/{i}")), file(&[i as u8, 1])));
            Manifest::from_entries([(path(name), directory())].into_iter().chain(files)).unwrap()
        };
        assert_eq!(
            planned(&entries("before"), &entries("after")),
            [moved("before", "after")]
        );
    }

    #[test]
    fn a_renamed_directory_may_hold_edits_and_renamed_directories() {
        let base = tree(&[
            ("v1", directory()),
            ("v1/a", file(b"a")),
            ("v1/b", file(b"b")),
            ("v1/c", file(b"c")),
            ("v1/sub1", directory()),
            ("v1/sub1/d", file(b"d")),
        ]);
        let target = tree(&[
            ("v2", directory()),
            ("v2/a", file(b"a")),
            ("v2/b", file(b"b")),
            ("v2/c", file(b"edited")),
            ("v2/sub2", directory()),
            ("v2/sub2/d", file(b"d")),
        ]);
        let commands = planned(&base, &target);
        assert_eq!(
            commands[..2],
            [moved("v1", "v2"), moved("v2/sub1", "v2/sub2")]
        );
        assert_eq!(commands.len(), 3);
    }

    #[test]
    fn a_directory_may_move_into_what_another_becomes() {
        let base = tree(&[
            ("a", directory()),
            ("a/a", directory()),
            ("a/a/c", file(b"x")),
            ("b", directory()),
            ("b/a", file(b"y")),
        ]);
        let target = tree(&[
            ("c", directory()),
            ("c/a", file(b"y")),
            ("c/b", directory()),
            ("c/b/c", file(b"x")),
        ]);
        planned(&base, &target);
        planned(&target, &base);
    }

    #[test]
    fn files_that_swap_names_are_copied_from_the_base() {
        let base = tree(&[("a", file(b"1")), ("b", file(b"2"))]);
        let target = tree(&[("a", file(b"2")), ("b", file(b"1"))]);
        let commands = planned(&base, &target);
        assert!(
            commands
                .iter()
                .all(|command| matches!(command, Command::Copy { .. }))
        );
    }

    #[test]
    fn kinds_may_change_into_each_other() {
        let base = tree(&[
            ("d", directory()),
            ("d/x", file(b"x")),
            ("f", file(b"f")),
            ("l", symlink("f")),
        ]);
        let target = tree(&[
            ("d", file(b"f")),
            ("f", directory()),
            ("f/x", file(b"x")),
            ("l", directory()),
            ("l/d", symlink("../d")),
        ]);
        planned(&base, &target);
        planned(&target, &base);
    }

    /// DELTA-08.
    #[test]
    fn a_change_of_permissions_sends_no_content() {
        let mut executable = file(b"x");
        if let Entry::File(file) = &mut executable {
            file.mode = Mode::new(0o755).unwrap();
        }
        let commands = planned(&tree(&[("a", file(b"x"))]), &tree(&[("a", executable)]));
        assert!(matches!(commands[..], [Command::SetAttributes { .. }]));
    }

    /// INTERP-08.
    #[test]
    fn commands_for_another_base_are_refused() {
        let base = tree(&[("a", file(b"1")), ("b", file(b"2"))]);
        let target = tree(&[("b", file(b"2"))]);
        let commands = planned(&base, &target);
        let bytes = body::encode(&commands, &mut Tree::new(&base)).unwrap();
        let empty = Manifest::empty();
        assert!(body::decode(&bytes, &mut Tree::new(&empty)).is_err());
        for len in 0..bytes.len() {
            assert!(body::decode(&bytes[..len], &mut Tree::new(&base)).is_err());
        }
    }

    /// INTERP-08: the one that fails is told by its number, whether it is wrong or only does not fit.
    #[test]
    fn a_command_that_fails_is_told_by_its_number() {
        let empty = Manifest::empty();
        let target = tree(&[("a", directory()), ("b", directory()), ("c", directory())]);
        let bytes = body::encode(&planned(&empty, &target), &mut Tree::new(&empty)).unwrap();
        let refusal = |bytes: &[u8], base| {
            let error = body::decode(bytes, &mut Tree::new(base)).unwrap_err();
            error.to_string()
        };
        let taken = tree(&[("b", file(b"1"))]);
        assert_eq!(refusal(&bytes, &taken), "command 1 cannot be applied");
        // The first column has the operations, behind its length.
        let mut unknown = bytes;
        unknown[3] = 77;
        let said = refusal(&unknown, &empty);
        assert!(
            said.starts_with("command 2: unknown operation 77"),
            "{said}"
        );
    }

    /// Trees over few names and contents, so that moves, swaps and kind changes abound.
    fn any_tree() -> impl Strategy<Value = Manifest> {
        let content = 0..6u8;
        let leaf = prop_oneof![
            4 => (content, 0..3u32).prop_map(|(content, variant)| {
                Entry::File(File {
                    mode: Mode::new(0o640 + variant).unwrap(),
                    owner: None,
                    size: content.into(),
                    hash: Hash::of(&[content]),
                    modified: Timestamp::new(i64::from(variant) - 1, variant).unwrap(),
                })
            }),
            1 => Just(symlink("a")),
            3 => Just(directory()),
        ];
        let name = prop_oneof![Just("a"), Just("b"), Just("c")];
        let place = (proptest::collection::vec(name, 1..4), leaf);
        proptest::collection::vec(place, 0..12).prop_map(|places| {
            let mut entries: BTreeMap<TreePath, Entry> = BTreeMap::new();
            for (names, leaf) in places {
                for depth in 1..names.len() {
                    entries.insert(path(&names[..depth].join("/")), directory());
                }
                entries.entry(path(&names.join("/"))).or_insert(leaf);
            }
            let entries = entries.clone().into_iter().filter(|(path, _)| {
                path.parent()
                    .is_none_or(|p| matches!(entries.get(&p), Some(Entry::Directory { .. })))
            });
            Manifest::from_entries(entries.collect::<Vec<_>>()).unwrap_or_default()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn every_pair_of_trees_can_be_planned(base in any_tree(), target in any_tree()) {
            planned(&base, &target);
        }

        #[test]
        fn hostile_bodies_are_refused_without_a_panic(
            base in any_tree(),
            target in any_tree(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let commands = planned(&base, &target);
            let mut bytes = body::encode(&commands, &mut Tree::new(&base)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = body::decode(&bytes, &mut Tree::new(&base));
        }
    }
}
