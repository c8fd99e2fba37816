use bellwether_api::{Code, List, Page, Problem};
use bellwether_store::StoreError;

use crate::problem;

/// How many are asked for.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(Page::LIMIT) {
        limit @ 1..=Page::LIMIT_MAX => Ok(limit),
        _ => {
            let message = format!("`limit` is a number between 1 and {}", Page::LIMIT_MAX);
            Err(Problem::new(Code::Invalid, message))
        }
    }
}

/// What was found by asking for one more than `limit`: whether there is more, and behind which.
pub(super) fn list<S, T>(
    found: Result<Vec<S>, StoreError>,
    limit: u32,
    key: impl FnOnce(&S) -> String,
    show: impl Fn(S) -> T,
) -> Result<List<T>, Problem> {
    let mut found = found.map_err(|error| problem::of_store(&error))?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(key);
    Ok(List {
        items: found.into_iter().map(show).collect(),
        next,
    })
}
