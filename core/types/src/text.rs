//! Where formats are text, such as JSON, values stand as people read and write them, and are checked as they are read.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

use crate::{Hash, Name, NodeId, SitePart, VersionId};

/// Values that are written by `Display` and read by `FromStr`.
#[macro_export]
macro_rules! as_text {
    ($($value:ty),*) => { $(
        impl serde::Serialize for $value {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $value {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::parse(deserializer)
            }
        }
    )* };
}

as_text!(Hash, Name, NodeId, SitePart, VersionId);

/// Reads a value from its text.
pub fn parse<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Text(PhantomData))
}

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_and_what_they_cannot_be_is_refused() {
        let name: Name = serde_json::from_str("\"shop\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"shop\"");
        for text in ["\"../shop\"", "\"\"", "7", "null", "[\"shop\"]"] {
            assert!(serde_json::from_str::<Name>(text).is_err(), "{text}");
        }
        let node = format!("\"{}\"", NodeId::from_bytes([7; 16]));
        assert_eq!(
            serde_json::to_string(&serde_json::from_str::<NodeId>(&node).unwrap()).unwrap(),
            node
        );
    }
}
