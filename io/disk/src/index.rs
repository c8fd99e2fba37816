//! Where each content stands in several trees: for files whose own place does not serve.

use std::sync::Arc;

use bellwether_content::{File, Manifest};
use bellwether_types::{Hash, TreePath};

/// Built when first needed: on most days every file is where it was.
#[derive(Debug)]
pub(crate) struct Index {
    /// The names of trees in `releases`, and what should be in them.
    trees: Vec<(Vec<u8>, Arc<Manifest>)>,
    /// Beginnings of hashes, sorted, with the tree and the entry.
    places: Vec<(u64, u32, u32)>,
}

/// A file that should have the content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'i> {
    /// The name of its tree in `releases`.
    pub(crate) tree: &'i [u8],
    pub(crate) path: &'i TreePath,
    pub(crate) file: &'i File,
}

impl Index {
    pub(crate) fn new(trees: Vec<(Vec<u8>, Arc<Manifest>)>) -> Self {
        let mut places = Vec::new();
        for (tree, (_, manifest)) in (0..).zip(&trees) {
            // A manifest's length bounds its entries to less than 2^32.
            let entries = (0..).zip(manifest.iter());
            places.extend(entries.filter_map(|(entry, (_, what))| match what {
                bellwether_content::Entry::File(file) => Some((start(&file.hash), tree, entry)),
                _ => None,
            }));
        }
        places.sort_unstable();
        Self { trees, places }
    }

    pub(crate) fn find(&self, content: &Hash) -> impl Iterator<Item = Standing<'_>> {
        let (content, start) = (*content, start(content));
        let first = self.places.partition_point(|place| place.0 < start);
        let places = self.places[first..]
            .iter()
            .take_while(move |place| place.0 == start);
        places.filter_map(move |(_, tree, entry)| {
            let (tree, manifest) = &self.trees[*tree as usize];
            match manifest.entry_at(*entry as usize)? {
                (path, bellwether_content::Entry::File(file)) if file.hash == content => {
                    Some(Standing { tree, path, file })
                }
                _ => None,
            }
        })
    }
}

fn start(hash: &Hash) -> u64 {
    let bytes = hash.0.first_chunk().expect("a hash has 32 bytes");
    u64::from_be_bytes(*bytes)
}
