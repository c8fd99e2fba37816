use std::fmt;

/// The place of an entry in a tree: bytes relative to the root, `/` between components.
///
/// Valid by construction, so that no path can leave its root: not empty, not absolute, no empty,
/// `.` or `..` component, no NUL, components of at most 255 bytes, 4,095 bytes in all. Bytes need
/// not be UTF-8. Paths order as trees do: a directory comes just before what it holds
/// (component by component, not byte by byte).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TreePath(Box<[u8]>);

/// Bytes that cannot be a path in a tree (ASSIGN-16).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path `{}` {reason}", path.escape_ascii())]
pub struct PathError {
    /// The bytes that were refused, at most the first 300.
    pub path: Vec<u8>,
    /// What is wrong with them.
    pub reason: &'static str,
}

impl TreePath {
    /// The longest component, in bytes.
    pub const COMPONENT_LEN_MAX: usize = 255;
    /// The longest path, in bytes.
    pub const LEN_MAX: usize = 4095;

    /// Checks `bytes`.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        match Self::fault(&bytes) {
            None => Ok(Self(bytes)),
            Some(reason) => Err(PathError {
                path: bytes[..bytes.len().min(300)].to_vec(),
                reason,
            }),
        }
    }

    fn fault(bytes: &[u8]) -> Option<&'static str> {
        if bytes.is_empty() {
            return Some("is empty");
        }
        if bytes[0] == b'/' {
            return Some("is absolute: paths are relative to the site's root");
        }
        if bytes.len() > Self::LEN_MAX {
            return Some("is longer than 4095 bytes");
        }
        if bytes.contains(&0) {
            return Some("contains NUL");
        }
        bytes.split(|&b| b == b'/').find_map(|name| match name {
            b"" => Some("has an empty component"),
            b"." | b".." => Some("has a `.` or `..` component, which could leave the root"),
            name if name.len() > Self::COMPONENT_LEN_MAX => {
                Some("has a component longer than 255 bytes")
            }
            _ => None,
        })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => &self.0[slash + 1..],
            None => &self.0,
        }
    }

    /// The directory that holds this entry; `None` at the top of the tree.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|&b| b == b'/')?;
        Some(Self(self.0[..slash].into()))
    }

    /// The components, from the top.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// Whether this path is `ancestor` or lies beneath it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.0.starts_with(&ancestor.0) && matches!(self.0.get(ancestor.0.len()), None | Some(b'/'))
    }

    /// This path, which lies within `from`, as it is named once `from` is called `to`.
    pub fn rebased(&self, from: &Self, to: &Self) -> Result<Self, PathError> {
        debug_assert!(self.is_within(from));
        Self::new([&to.0, &self.0[from.0.len()..]].concat())
    }

    /// `name` beneath this path.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        Self::new([&self.0, b"/".as_slice(), name].concat())
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // As if `/` were the smallest byte: siblings sort by name, and what a directory holds
        // follows it before its next sibling.
        let differ = self.0.iter().zip(&other.0).find(|(a, b)| a != b);
        match differ {
            None => self.0.len().cmp(&other.0.len()),
            Some((b'/', _)) => std::cmp::Ordering::Less,
            Some((_, b'/')) => std::cmp::Ordering::Greater,
            Some((a, b)) => a.cmp(b),
        }
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.contains(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    /// ASSIGN-16.
    #[test]
    fn paths_that_could_leave_the_root_are_refused() {
        let long = "x".repeat(256);
        for text in [
            "", "/", "/etc", "..", "a/../b", "a/..", "./a", "a//b", "a/", "a\0b", &long,
        ] {
            assert!(TreePath::new(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept_and_shown_escaped() {
        let path = TreePath::new(*b"caf\xe9").unwrap();
        assert_eq!(path.as_bytes(), b"caf\xe9");
        assert_eq!(path.to_string(), "caf\\xe9");
    }

    #[test]
    fn a_directory_comes_just_before_what_it_holds() {
        let mut paths = ["a-b", "a/z", "a", "b", "a.b", "a/b/c", "a/b"].map(path);
        paths.sort();
        assert_eq!(
            paths,
            ["a", "a/b", "a/b/c", "a/z", "a-b", "a.b", "b"].map(path)
        );
    }

    #[test]
    fn within_means_whole_components() {
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
    }
}
