use std::collections::{BTreeMap, BTreeSet};

use bellwether_content::{Entry, Manifest};
use bellwether_fleet::Site;
use bellwether_types::{Name, SitePart, TreePath};

/// The tree of each part of a site, `all` first (CGRP-02). A directory is in every part that has something beneath it;
/// one with nothing in it belongs where a file of its name would.
pub(crate) fn split(site: &Site, manifest: Manifest) -> Vec<(SitePart, Manifest)> {
    let all: Name = "all".parse().expect("a name by its letters");
    let named = |part: &Name| SitePart {
        site: site.name.clone(),
        part: part.clone(),
    };
    if site.parts.is_empty() {
        return vec![(named(&all), manifest)];
    }
    let part_of = |path| site.part_of(path).map_or(&all, |part| &part.name);
    let mut places: BTreeMap<&Name, BTreeSet<usize>> = BTreeMap::new();
    let mut housed = BTreeSet::new();
    let mut put = |path: &TreePath, part, housed: &mut BTreeSet<usize>| {
        let places = places.entry(part).or_default();
        let mut next = Some(path.clone());
        while let Some(path) = next {
            let Some(index) = manifest.index_of(&path) else {
                break;
            };
            housed.insert(index);
            if !places.insert(index) {
                break;
            }
            next = path.parent();
        }
    };
    let is_directory = |entry: &Entry| matches!(entry, Entry::Directory { .. });
    for (path, _) in manifest.iter().filter(|(_, entry)| !is_directory(entry)) {
        put(path, part_of(path), &mut housed);
    }
    for (index, (path, entry)) in manifest.iter().enumerate() {
        if is_directory(entry) && !housed.contains(&index) {
            put(path, part_of(path), &mut housed);
        }
    }
    let names = std::iter::once(&all).chain(site.parts.iter().map(|part| &part.name));
    let tree = |part: &Name| {
        let places = places.get(part).into_iter().flatten();
        let entries = places.filter_map(|index| manifest.entry_at(*index));
        let entries = entries.map(|(path, entry)| (path.clone(), entry.clone()));
        Manifest::from_entries(entries).expect("entries of a tree with all their parents are one")
    };
    names.map(|part| (named(part), tree(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_content::{File, Mode, Timestamp};
    use bellwether_types::Hash;

    fn tree(paths: &[&str]) -> Manifest {
        let entries = paths.iter().map(|text| {
            let path = TreePath::new(text.trim_end_matches('/').as_bytes()).unwrap();
            let owner = None;
            let entry = match text.ends_with('/') {
                true => Entry::Directory {
                    mode: Mode::new(0o755).unwrap(),
                    owner,
                },
                false => Entry::File(File {
                    mode: Mode::new(0o644).unwrap(),
                    owner,
                    size: 1,
                    hash: Hash([1; 32]),
                    modified: Timestamp::new(0, 0).unwrap(),
                }),
            };
            (path, entry)
        });
        Manifest::from_entries(entries).unwrap()
    }

    fn paths(manifest: &Manifest) -> Vec<String> {
        manifest.iter().map(|(path, _)| path.to_string()).collect()
    }

    /// CGRP-02.
    #[test]
    fn every_entry_is_in_the_part_that_takes_it_with_the_directories_above() {
        let site = r#"{"name":"shop","parts":[{"name":"media","types":["mp4"]},{"name":"docs","paths":["docs"]}]}"#;
        let site: Site = serde_json::from_str(site).unwrap();
        let whole = tree(&[
            "a/",
            "a/film.mp4",
            "a/page",
            "b/",
            "b/c/",
            "b/c/clip.mp4",
            "docs/",
            "docs/empty/",
            "docs/x",
            "empty/",
        ]);
        let parts = split(&site, whole);
        let parts: Vec<(String, Vec<String>)> = parts
            .iter()
            .map(|(part, manifest)| (part.to_string(), paths(manifest)))
            .collect();
        let expected = [
            ("shop", vec!["a", "a/page", "empty"]),
            (
                "shop@media",
                vec!["a", "a/film.mp4", "b", "b/c", "b/c/clip.mp4"],
            ),
            ("shop@docs", vec!["docs", "docs/empty", "docs/x"]),
        ];
        let expected: Vec<(String, Vec<String>)> = expected
            .into_iter()
            .map(|(part, paths)| (part.to_owned(), paths.into_iter().map(Into::into).collect()))
            .collect();
        assert_eq!(parts, expected);
    }
}
