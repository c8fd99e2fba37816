//! Content that moved: which file of the base a new file resembles, and where in the base the
//! content of a large file lies. Both indexes are made when they are first needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bellwether_content::assignment::BaseRange;
use bellwether_content::command::WriteFile;
use bellwether_content::{File, Manifest};
use bellwether_delta::{CoarseIndex, Content, Effort, ReadError};
use bellwether_types::{Hash, TreePath};

use super::{Source, SourceError};

/// New files below this size cost little even without a base.
const RESEMBLING_LEN_MIN: u64 = 256;
/// What a new file is compared by, from its start.
const RESEMBLING_LEN_MAX: u64 = 1 << 20;
/// Fewer common anchors may be a coincidence; short files have few in all.
const ANCHORS_MIN: u32 = 2;

/// Looks for content in a base.
pub(super) struct Search<'s> {
    base: &'s Source,
    effort: Effort,
    /// The ones that were asked last, and of which file alone, if of one; the latest at the end.
    indexes: Mutex<Vec<(Option<TreePath>, Arc<Index>)>>,
    /// How many are kept: one for each thread, since each may be at another file.
    kept: usize,
}

struct Index {
    coarse: CoarseIndex,
    paths: Vec<TreePath>,
}

impl Index {
    fn of<'f>(
        base: &Source,
        effort: Effort,
        files: impl Iterator<Item = (&'f TreePath, &'f File)> + Clone,
    ) -> Result<Self, SourceError> {
        let mut coarse = CoarseIndex::new(effort, files.clone().map(|(_, file)| file.size).sum());
        let mut paths = Vec::new();
        for (path, file) in files {
            let failure = Mutex::new(None);
            let content = BaseFile {
                base,
                path,
                len: file.size,
                failure: &failure,
            };
            let added = coarse.add(&content);
            if let Some(error) = failure.into_inner().ok().flatten() {
                return Err(error);
            }
            debug_assert!(added.is_ok());
            paths.push(path.clone());
        }
        coarse.seal();
        Ok(Self { coarse, paths })
    }
}

/// A file of the base as the index reads it. The error that the index cannot carry is kept aside.
struct BaseFile<'b> {
    base: &'b Source,
    path: &'b TreePath,
    len: u64,
    failure: &'b Mutex<Option<SourceError>>,
}

impl Content for BaseFile<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.base.read_at(self.path, offset, buf).map_err(|error| {
            let cause = error.to_string().into();
            if let Ok(mut failure) = self.failure.lock() {
                *failure = Some(error);
            }
            ReadError { offset, cause }
        })
    }
}

impl<'s> Search<'s> {
    /// For so many threads.
    pub(super) fn new(base: &'s Source, effort: Effort, threads: usize) -> Self {
        Self {
            base,
            effort,
            indexes: Mutex::default(),
            kept: threads,
        }
    }

    /// For new paths, the file of the base whose path is gone and whose content is most alike.
    pub(super) fn resemblances(
        &self,
        target: &Manifest,
        contents: &Source,
    ) -> Result<BTreeMap<TreePath, TreePath>, SourceError> {
        let base = self.base.manifest();
        let known: std::collections::BTreeSet<Hash> =
            base.files().map(|(_, file)| file.hash).collect();
        let added = target.files().filter(|(path, file)| {
            file.size >= RESEMBLING_LEN_MIN && !base.contains(path) && !known.contains(&file.hash)
        });
        let gone = base
            .files()
            .filter(|(path, file)| file.size >= RESEMBLING_LEN_MIN && !target.contains(path));
        let mut found = BTreeMap::new();
        if added.clone().next().is_none() || gone.clone().next().is_none() {
            return Ok(found);
        }
        // Small files have few anchors in any index, and in the fast one none.
        let index = Index::of(self.base, self.effort.max(Effort::Default), gone)?;
        let mut start = Vec::new();
        for (path, file) in added {
            start.resize(file.size.min(RESEMBLING_LEN_MAX) as usize, 0);
            contents.read_at(path, 0, &mut start)?;
            if let Some((number, anchors)) = index.coarse.nearest_file(&start)
                && anchors >= ANCHORS_MIN
            {
                found.insert(path.clone(), index.paths[number as usize].clone());
            }
        }
        Ok(found)
    }

    /// Ranges of the base for a slice of a large file.
    pub(super) fn ranges(
        &self,
        write: &WriteFile,
        offset: u64,
        new: &[u8],
        len_max: u64,
    ) -> Result<Vec<BaseRange>, SourceError> {
        // The whole base would have to be read.
        let only = match self.effort {
            Effort::Default | Effort::Max => None,
            Effort::Fast if write.base.is_none() => return Ok(Vec::new()),
            Effort::Fast => write.base.as_ref(),
        };
        let index = self.index(only)?;
        let home = write
            .base
            .as_ref()
            .and_then(|path| index.paths.binary_search(path).ok());
        let home = home.map(|number| (number as u32, offset));
        let ranges = index.coarse.ranges(new, home, len_max);
        let named = ranges.iter().map(|range| BaseRange {
            path: index.paths[range.file as usize].clone(),
            offset: range.offset,
            len: range.len,
        });
        Ok(named.collect())
    }

    /// The index of one file of the base, or of all.
    fn index(&self, only: Option<&TreePath>) -> Result<Arc<Index>, SourceError> {
        // Held while an index is made: who needs the same one waits for it.
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = indexes.iter().position(|(of, _)| of.as_ref() == only) {
            indexes[at..].rotate_left(1);
            return Ok(indexes[indexes.len() - 1].1.clone());
        }
        if indexes.len() >= self.kept.max(1) {
            indexes.remove(0);
        }
        let files = self.base.manifest().files();
        let files = files.filter(|(path, _)| only.is_none_or(|only| only == *path));
        let index = Arc::new(Index::of(self.base, self.effort, files)?);
        indexes.push((only.cloned(), index.clone()));
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Fingerprints, ScanPolicy, scan};

    #[test]
    fn threads_at_two_files_do_not_make_each_other_read_them_again() {
        let place = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(place.path().join(name), name.repeat(5_000)).unwrap();
        }
        let scan = scan(
            place.path(),
            &ScanPolicy::default(),
            Fingerprints::default(),
            &(),
        )
        .unwrap();
        let source = Source::scanned(place.path(), scan).unwrap();
        let search = Search::new(&source, Effort::Fast, 2);
        let index = |name: &str| {
            let path = TreePath::new(name.as_bytes()).unwrap();
            search.index(Some(&path)).unwrap()
        };
        let (a, b) = (index("a"), index("b"));
        assert!(Arc::ptr_eq(&a, &index("a")) && Arc::ptr_eq(&b, &index("b")));
        index("a");
        index("c");
        assert!(
            Arc::ptr_eq(&a, &index("a")),
            "of three the two latest are kept"
        );
        assert!(!Arc::ptr_eq(&b, &index("b")));
    }
}
