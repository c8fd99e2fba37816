//! What changed between two trees, by the eyes of a person (DELTA-01 to -03).

use std::collections::BTreeMap;

use bellwether_types::{Hash, TreePath};

use crate::manifest::{Entry, Manifest};

/// How an entry of the target came about, or that one of the base is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Not in the base, and no file of the base has its content.
    New,
    /// Another content, link target or kind at the same path.
    Changed,
    /// The content of a file of the base whose path is gone.
    Moved {
        /// What the base calls it.
        from: TreePath,
    },
    /// The content of a file of the base that stays as well.
    Copied {
        /// What the base calls it.
        from: TreePath,
    },
    /// The same content with other permissions, owner or time.
    Attributes,
    /// In the base only.
    Deleted,
}

/// Every path that differs, in order.
pub fn diff(base: &Manifest, target: &Manifest) -> Vec<(TreePath, Change)> {
    let mut sources: BTreeMap<Hash, Vec<&TreePath>> = BTreeMap::new();
    for (path, file) in base.files() {
        sources.entry(file.hash).or_default().push(path);
    }
    let mut changes = Vec::new();
    for (path, _) in base.iter().filter(|(path, _)| !target.contains(path)) {
        changes.push((path.clone(), Change::Deleted));
    }
    for (path, entry) in target.iter() {
        let change = match (base.get(path), entry) {
            (Some(before), _) if before == entry => continue,
            (Some(before), _) if same_content(before, entry) => Change::Attributes,
            (Some(_), Entry::Directory { .. } | Entry::Symlink { .. }) => Change::Changed,
            (before, Entry::File(file)) => match sources.get(&file.hash) {
                Some(paths) if file.size > 0 => {
                    let gone = paths.iter().find(|path| !target.contains(path));
                    match gone {
                        Some(from) => Change::Moved {
                            from: (*from).clone(),
                        },
                        None => Change::Copied {
                            from: paths[0].clone(),
                        },
                    }
                }
                _ if before.is_some() => Change::Changed,
                _ => Change::New,
            },
            (None, _) => Change::New,
        };
        changes.push((path.clone(), change));
    }
    changes.sort_by(|(a, _), (b, _)| a.cmp(b));
    changes
}

/// Whether two entries differ in attributes at most.
pub(crate) fn same_content(a: &Entry, b: &Entry) -> bool {
    match (a, b) {
        (Entry::Directory { .. }, Entry::Directory { .. }) => true,
        (Entry::File(a), Entry::File(b)) => a.hash == b.hash,
        (Entry::Symlink { target: a, .. }, Entry::Symlink { target: b, .. }) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Mode;
    use crate::manifest::tests::{directory, file, path, symlink};

    /// DELTA-02.
    #[test]
    fn every_kind_of_change_is_told_apart() {
        let mut executable = file(b"mode");
        if let Entry::File(file) = &mut executable {
            file.mode = Mode::new(0o755).unwrap();
        }
        let base = Manifest::from_entries([
            (path("same"), file(b"same")),
            (path("mode"), file(b"mode")),
            (path("edited"), file(b"before")),
            (path("old-name"), file(b"moved")),
            (path("gone"), file(b"gone")),
            (path("kind"), directory()),
        ]);
        let target = Manifest::from_entries([
            (path("same"), file(b"same")),
            (path("mode"), executable),
            (path("edited"), file(b"after")),
            (path("new-name"), file(b"moved")),
            (path("copy"), file(b"same")),
            (path("new"), file(b"new")),
            (path("kind"), symlink("same")),
        ]);
        let from = |text| path(text);
        assert_eq!(
            diff(&base.unwrap(), &target.unwrap()),
            [
                (path("copy"), Change::Copied { from: from("same") }),
                (path("edited"), Change::Changed),
                (path("gone"), Change::Deleted),
                (path("kind"), Change::Changed),
                (path("mode"), Change::Attributes),
                (path("new"), Change::New),
                (
                    path("new-name"),
                    Change::Moved {
                        from: from("old-name")
                    }
                ),
                (path("old-name"), Change::Deleted),
            ]
        );
    }

    /// DELTA-01.
    #[test]
    fn identical_trees_have_no_difference() {
        let tree = Manifest::from_entries([(path("a"), file(b"x"))]).unwrap();
        assert_eq!(diff(&tree, &tree), []);
    }
}
