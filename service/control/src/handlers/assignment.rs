use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bellwether_api::routes::FetchAssignment;
use bellwether_api::{Code, Problem};
use bellwether_http::Wanted;
use bellwether_types::Hash;
use bellwether_wire::transfer::AssignmentId;

use crate::door::{self, Call};
use crate::problem;
use crate::works::Reading;

/// Gives an assignment, or a range of it, as it lies there.
pub(crate) async fn fetch(call: Call<FetchAssignment>) -> Result<Response, Problem> {
    let id: Result<Hash, _> = call.key.as_str().parse();
    let id = id.map_err(|fault| Problem::new(Code::Malformed, fault.to_string()))?;
    let found = call.server.works.assignment(AssignmentId(id)).await;
    let found = found.map_err(|error| problem::internal(&error))?;
    let (file, len) = found.ok_or_else(|| problem::missing("assignment", call.key.as_str()))?;
    let (status, from, to) = match Wanted::of(&call.headers, len) {
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

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and letters")
}
