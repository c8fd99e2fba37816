use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bellwether_api::routes::FetchAssignment;
use bellwether_api::{Code, Problem};
use bellwether_types::Hash;
use bellwether_wire::transfer::AssignmentId;

use crate::door::{self, Call};
use crate::problem;
use crate::works::Reading;

/// What of a file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// From the first up to the second, which lie within the file.
    Range(u64, u64),
    /// Nothing that there is.
    Beyond,
}

/// Gives an assignment, or a range of it, as it lies there.
pub(crate) async fn fetch(call: Call<FetchAssignment>) -> Result<Response, Problem> {
    let id: Result<Hash, _> = call.key.as_str().parse();
    let id = id.map_err(|fault| Problem::new(Code::Malformed, fault.to_string()))?;
    let found = call.server.works.assignment(AssignmentId(id)).await;
    let found = found.map_err(|error| problem::internal(&error))?;
    let (file, len) = found.ok_or_else(|| problem::missing("assignment", call.key.as_str()))?;
    let (status, from, to) = match wanted(&call.headers, len) {
        Wanted::Whole => (StatusCode::OK, 0, len),
        Wanted::Range(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        Wanted::Beyond => {
            let message = format!("the assignment has {len} bytes, and none in that range");
            let mut response = door::of_problem(&Problem::new(Code::Range, message));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_RANGE, value(&format!("bytes */{len}")));
            return Ok(response);
        }
    };
    let mut response = Response::new(Body::new(Reading::new(file, from, to)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{len}", to - 1);
        headers.insert(header::CONTENT_RANGE, value(&range));
    }
    headers.insert(header::CONTENT_LENGTH, (to - from).into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    // The name is a hash of what it names.
    headers.insert(header::ETAG, value(&format!("\"{id}\"")));
    Ok(response)
}

/// A single range of bytes (RFC 9110, 14.1.2). What is no such thing does not count.
fn wanted(headers: &HeaderMap, len: u64) -> Wanted {
    let header = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    let range = header.and_then(|text| text.strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.trim().split_once('-')) else {
        return Wanted::Whole;
    };
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        // A number that is too large lies beyond any file.
        true if !text.is_empty() => Some(text.parse().unwrap_or(u64::MAX)),
        _ => None,
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => Wanted::Whole,
        (Some(first), _) if first >= len && (last.is_empty() || number(last).is_some()) => {
            Wanted::Beyond
        }
        (Some(first), Some(last)) => Wanted::Range(first, last.saturating_add(1).min(len)),
        (Some(first), None) if last.is_empty() => Wanted::Range(first, len),
        (None, Some(last)) if first.is_empty() => match last.min(len) {
            0 => Wanted::Beyond,
            last => Wanted::Range(len - last, len),
        },
        _ => Wanted::Whole,
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and letters")
}

#[cfg(test)]
mod tests {
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
            headers.insert(header::RANGE, value(range));
            assert_eq!(wanted(&headers, 10), expected, "{range}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 10), Wanted::Whole);
    }
}
