use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bellwether_types::TreePath;
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// Which entries of a staging tree belong to the site (CCM-03).
///
/// A pattern with a slash is matched against the path from the root, one without against the last
/// name at any depth; `*` and `?` do not match a slash, `**` matches any number of directories. A
/// pattern that matches a directory speaks for all it holds.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
    types: Option<GlobSet>,
}

/// A pattern that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is not a pattern")]
pub struct FilterError {
    pattern: String,
    source: globset::Error,
}

impl Filter {
    /// Keeps what `include` names (everything if it is empty) unless `exclude` names it; of files,
    /// those whose last extension is one of `types` (all if it is empty).
    pub fn new<S: AsRef<str>>(
        include: &[S],
        exclude: &[S],
        types: &[S],
    ) -> Result<Self, FilterError> {
        let given = |patterns: &[S]| (!patterns.is_empty()).then(|| set(patterns)).transpose();
        let extensions: Vec<_> = types
            .iter()
            .map(|extension| format!("*.{}", extension.as_ref().trim_start_matches(['*', '.'])))
            .collect();
        Ok(Self {
            include: given(include)?,
            exclude: set(exclude)?,
            types: (!extensions.is_empty())
                .then(|| set(&extensions))
                .transpose()?,
        })
    }

    /// Whether entries count that no pattern asked for.
    pub(super) fn includes_all(&self) -> bool {
        self.include.is_none()
    }

    /// Whether a pattern asks for `path` itself; its parents were asked about before.
    pub(super) fn includes(&self, path: &TreePath) -> bool {
        self.include
            .as_ref()
            .is_none_or(|include| matches(include, path))
    }

    pub(super) fn excludes(&self, path: &TreePath) -> bool {
        matches(&self.exclude, path)
    }

    pub(super) fn has_type_of(&self, path: &TreePath) -> bool {
        self.types.as_ref().is_none_or(|types| matches(types, path))
    }
}

fn matches(set: &GlobSet, path: &TreePath) -> bool {
    !set.is_empty() && set.is_match_candidate(&Candidate::new(OsStr::from_bytes(path.as_bytes())))
}

fn set<S: AsRef<str>>(patterns: &[S]) -> Result<GlobSet, FilterError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let error = |source| FilterError {
            pattern: pattern.as_ref().to_owned(),
            source,
        };
        let text = pattern.as_ref().trim_end_matches('/');
        let anchored = match text.strip_prefix('/') {
            Some(rest) => rest.to_owned(),
            None if text.contains('/') => text.to_owned(),
            None => format!("**/{text}"),
        };
        set.add(
            GlobBuilder::new(&anchored)
                .literal_separator(true)
                .build()
                .map_err(error)?,
        );
    }
    set.build().map_err(|source| FilterError {
        pattern: patterns
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<_>>()
            .join(" "),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_a_slash_matches_at_any_depth() {
        let filter = Filter::new(&[], &["*.tmp", "/build", "docs/*.md", "a/**/z"], &[]).unwrap();
        let excluded = |text: &str| filter.excludes(&TreePath::new(text.as_bytes()).unwrap());
        for path in ["x.tmp", "a/b/x.tmp", "build", "docs/x.md", "a/z", "a/b/c/z"] {
            assert!(excluded(path), "{path}");
        }
        for path in ["x.tmpl", "a/build", "docs/a/x.md", "z"] {
            assert!(!excluded(path), "{path}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_named() {
        let error = Filter::new(&["a[", "b"], &[], &[]).unwrap_err();
        assert!(error.to_string().contains("a["), "{error}");
    }
}
