use std::collections::BTreeSet;

use bellwether_content::{Entry, Manifest};
use bellwether_types::TreePath;

use super::ScanError;

/// Makes the manifest of what was found. Bridges are directories that no pattern asked for: they
/// stay where they lead to something that was.
pub(super) fn assemble(
    mut entries: Vec<(TreePath, Entry)>,
    bridges: &BTreeSet<TreePath>,
) -> Result<Manifest, ScanError> {
    if !bridges.is_empty() {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        keep_bridges_in_use(&mut entries, bridges);
    }
    // Each thread left its share in order, so that sorting them only merges a few long runs.
    Ok(Manifest::from_entries(entries)?)
}

/// From the end: what a directory holds has been judged before the directory is.
fn keep_bridges_in_use(entries: &mut Vec<(TreePath, Entry)>, bridges: &BTreeSet<TreePath>) {
    let mut kept: Vec<(TreePath, Entry)> = Vec::with_capacity(entries.len());
    for (path, entry) in entries.drain(..).rev() {
        let in_use = kept.last().is_some_and(|(next, _)| next.is_within(&path));
        if in_use || !bridges.contains(&path) {
            kept.push((path, entry));
        }
    }
    kept.reverse();
    *entries = kept;
}
