use axum::http::{HeaderMap, header};

/// What of a file is wanted: all of it, or a single range of bytes (RFC 9110, 14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// From the first up to the second, which lies behind the last byte, within the file.
    Range(u64, u64),
    /// Nothing that there is.
    Beyond,
}

impl Wanted {
    /// What a request asks for of a file of that many bytes. A range that is none does not count.
    pub fn of(headers: &HeaderMap, len: u64) -> Self {
        let header = headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok());
        let range = header.and_then(|text| text.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.trim().split_once('-')) else {
            return Self::Whole;
        };
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            // A number that is too large lies beyond any file.
            true if !text.is_empty() => Some(text.parse().unwrap_or(u64::MAX)),
            _ => None,
        };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if last < first => Self::Whole,
            (Some(first), _) if first >= len && (last.is_empty() || number(last).is_some()) => {
                Self::Beyond
            }
            (Some(first), Some(last)) => Self::Range(first, last.saturating_add(1).min(len)),
            (Some(first), None) if last.is_empty() => Self::Range(first, len),
            (None, Some(last)) if first.is_empty() => match last.min(len) {
                0 => Self::Beyond,
                last => Self::Range(len - last, len),
            },
            _ => Self::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_range_is_cut_to_the_file_and_what_is_none_does_not_count() {
        for (range, expected) in [
            ("bytes=0-", Wanted::Range(0, 10)),
            ("bytes=3-5", Wanted::Range(3, 6)),
            ("bytes=9-9", Wanted::Range(9, 10)),
            ("bytes=3-99999999999999999999", Wanted::Range(3, 10)),
            ("bytes=-4", Wanted::Range(6, 10)),
            ("bytes=-99", Wanted::Range(0, 10)),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=99999999999999999999-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=5-3", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static(range));
            assert_eq!(Wanted::of(&headers, 10), expected, "{range}");
        }
        assert_eq!(Wanted::of(&HeaderMap::new(), 10), Wanted::Whole);
    }
}
