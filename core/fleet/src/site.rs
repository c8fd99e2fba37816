use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use bellwether_types::{Name, TreePath};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::policy::Policy;

/// A tree of files with one staging source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// What it is called.
    #[schema(value_type = String)]
    pub name: Name,
    /// The directory of the control server that it is published from; without one, content is sent to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Portions with a `live` of their own; a file belongs to the first that takes it, and to the part `all` if none does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// How its content goes out.
    #[serde(default)]
    pub policy: Policy,
}

/// A portion of a site, by file type or by path (CGRP-02).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it is called.
    #[schema(value_type = String)]
    pub name: Name,
    /// It takes files of these types: what stands behind the last dot of their names, such as `mp4`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub types: BTreeSet<FileType>,
    /// It takes these files, and directories with all in them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub paths: BTreeSet<String>,
}

/// What stands behind the last dot of a file's name: 1 to 16 letters and digits; small and capital letters are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileType(String);

/// Text that is not a file type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a file type is 1 to 16 letters and digits, without the dot")]
pub struct ParseFileTypeError;

/// Why a site cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteFault {
    /// There are too many parts.
    #[error("a site has at most {max} parts besides `all`", max = Site::PARTS_MAX)]
    Parts,
    /// Two parts are called the same, or one is called `all`.
    #[error("the part `{0}` is there twice (`all` is always there)")]
    Twice(Name),
    /// A part that takes nothing, or too much to list.
    #[error("the part `{part}` takes nothing: give it types or paths, at most {max} of each", max = Site::RULES_MAX)]
    Rules {
        /// The part.
        part: Name,
    },
    /// A path that cannot be in a tree.
    #[error("the part `{part}`: {fault}")]
    Path {
        /// The part.
        part: Name,
        /// What is wrong.
        fault: String,
    },
    /// A staging source that is no place.
    #[error("the staging source must be an absolute path of at most 4095 bytes")]
    Source,
}

impl Site {
    /// Parts of a site besides `all`.
    pub const PARTS_MAX: usize = 64;
    /// Types, and paths, of one part.
    pub const RULES_MAX: usize = 256;

    /// Whether it can be.
    pub fn check(&self) -> Result<(), SiteFault> {
        let all: Name = "all".parse().expect("a name by its letters");
        let mut names = BTreeSet::from([&all]);
        if self.parts.len() > Self::PARTS_MAX {
            return Err(SiteFault::Parts);
        }
        for part in &self.parts {
            if !names.insert(&part.name) {
                return Err(SiteFault::Twice(part.name.clone()));
            }
            part.check()?;
        }
        match &self.source {
            Some(path) if !path.starts_with('/') || path.len() > 4095 || path.contains('\0') => {
                Err(SiteFault::Source)
            }
            _ => Ok(()),
        }
    }

    /// The part that a file belongs to; `None` is `all`.
    pub fn part_of(&self, file: &TreePath) -> Option<&Part> {
        self.parts.iter().find(|part| part.takes(file))
    }
}

impl Part {
    fn check(&self) -> Result<(), SiteFault> {
        let (types, paths) = (self.types.len(), self.paths.len());
        if types + paths == 0 || types.max(paths) > Site::RULES_MAX {
            let part = self.name.clone();
            return Err(SiteFault::Rules { part });
        }
        for path in &self.paths {
            TreePath::new(path.as_bytes()).map_err(|fault| SiteFault::Path {
                part: self.name.clone(),
                fault: fault.to_string(),
            })?;
        }
        Ok(())
    }

    /// Whether a file belongs to it.
    pub fn takes(&self, file: &TreePath) -> bool {
        let name = file.file_name();
        let kind = name
            .iter()
            .rposition(|&b| b == b'.')
            .map(|dot| &name[dot + 1..]);
        let typed = kind.is_some_and(|kind| {
            let mut types = self.types.iter();
            types.any(|one| one.0.as_bytes().eq_ignore_ascii_case(kind))
        });
        let placed = self.paths.iter().any(|path| {
            let rest = file.as_bytes().strip_prefix(path.as_bytes());
            matches!(rest, Some([] | [b'/', ..]))
        });
        typed || placed
    }
}

impl FromStr for FileType {
    type Err = ParseFileTypeError;

    fn from_str(text: &str) -> Result<Self, ParseFileTypeError> {
        let valid =
            (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        match valid {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(ParseFileTypeError),
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

bellwether_types::as_text!(FileType);

#[cfg(test)]
mod tests {
    use super::*;

    fn site(parts: &str) -> Site {
        serde_json::from_str(&format!(r#"{{"name":"shop","parts":{parts}}}"#)).unwrap()
    }

    /// CGRP-02.
    #[test]
    fn a_file_belongs_to_the_first_part_that_takes_its_type_or_path() {
        let site = site(
            r#"[{"name":"media","types":["mp4","JPG"]},{"name":"docs","paths":["docs","README"]}]"#,
        );
        site.check().unwrap();
        let part = |path: &str| {
            let path = TreePath::new(path.as_bytes()).unwrap();
            site.part_of(&path).map(|part| part.name.to_string())
        };
        let media = Some("media".to_owned());
        let docs = Some("docs".to_owned());
        assert_eq!(part("a/film.MP4"), media);
        assert_eq!(part("docs/picture.jpg"), media);
        assert_eq!(part("docs/a/b.txt"), docs);
        assert_eq!(part("README"), docs);
        for path in ["docs2/a", "mp4", "index.html", "a.mp4.txt"] {
            assert_eq!(part(path), None, "{path}");
        }
    }

    #[test]
    fn parts_that_cannot_be_are_refused_by_name() {
        for parts in [
            r#"[{"name":"a"}]"#,
            r#"[{"name":"all","types":["mp4"]}]"#,
            r#"[{"name":"a","types":["mp4"]},{"name":"a","types":["jpg"]}]"#,
            r#"[{"name":"a","paths":["../b"]}]"#,
            r#"[{"name":"a","paths":["/b"]}]"#,
        ] {
            assert!(site(parts).check().is_err(), "{parts}");
        }
        for source in ["relative", "/with\0nul", ""] {
            let site = Site {
                source: Some(source.to_owned()),
                ..site("[]")
            };
            assert_eq!(site.check(), Err(SiteFault::Source), "{source}");
        }
    }
}
