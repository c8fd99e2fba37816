use std::fmt;
use std::str::FromStr;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};

/// The name of a site, a part, a group or a job: 1 to 64 of `a-z`, `A-Z`, `0-9`, `.`, `_`, `-`,
/// and not starting with a dot or a dash, so that it is safe as a file name and as an argument.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The place of an assignment in the order of its site and part; 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Serial(#[n(0)] pub u64);

/// The reign of a control group's master; 1 until there is a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Term(#[n(0)] pub u64);

/// A site and the part of it that has its own `live`; written `SITE` or `SITE@PART`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SitePart {
    /// The site.
    pub site: Name,
    /// The part; `all` unless said otherwise.
    pub part: Name,
}

/// Text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a name: 1 to 64 of letters, digits, `.`, `_` and `-`, not starting with `.` or `-`"
)]
pub struct NameError {
    text: String,
}

const NAME_LEN_MAX: usize = 64;
const PART_ALL: &str = "all";

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let valid = (1..=NAME_LEN_MAX).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with(['.', '-']);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError {
                text: text.chars().take(NAME_LEN_MAX + 1).collect(),
            })
        }
    }
}

impl<C> Encode<C> for Name {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Name {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let text = decoder.str()?;
        text.parse().map_err(minicbor::decode::Error::custom)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SitePart {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (site, part) = text.split_once('@').unwrap_or((text, PART_ALL));
        Ok(Self {
            site: site.parse()?,
            part: part.parse()?,
        })
    }
}

impl fmt::Display for SitePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.part.as_str() == PART_ALL {
            write!(f, "{}", self.site)
        } else {
            write!(f, "{}@{}", self.site, self.part)
        }
    }
}

/// As its text.
impl<C> Encode<C> for SitePart {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(&self.to_string())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SitePart {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let text = decoder.str()?;
        text.parse().map_err(minicbor::decode::Error::custom)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_be_dangerous_as_file_names_are_refused() {
        for text in [
            "",
            ".",
            "..",
            ".hidden",
            "-rf",
            "a/b",
            "a b",
            "é",
            &"x".repeat(65),
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_default_part_is_not_written() {
        for text in ["shop", "shop@media"] {
            assert_eq!(text.parse::<SitePart>().unwrap().to_string(), text);
        }
        assert_eq!("shop@all".parse::<SitePart>().unwrap().to_string(), "shop");
    }
}
