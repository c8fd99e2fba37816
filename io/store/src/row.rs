//! Values out of columns. What stands there was written by us: if it does not read, the database is damaged.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::outcome::StoreError;

/// Reads a column of text as what it says.
pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|fault| damaged(column, &fault))
}

/// The same where there may be nothing.
pub(crate) fn parsed_or_none<T: FromStr<Err: fmt::Display>>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = row.try_get(column)?;
    let value = text.map(str::parse).transpose();
    value.map_err(|fault| damaged(column, &fault))
}

/// Reads a column of JSON.
pub(crate) fn json<T: DeserializeOwned>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|fault| damaged(column, &fault))
}

/// Reads a column that is never negative.
pub(crate) fn number(row: &SqliteRow, column: &'static str) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|fault| damaged(column, &fault))
}

/// Reads a column of so many bytes.
pub(crate) fn bytes<const LEN: usize>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<[u8; LEN], StoreError> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|fault| damaged(column, &fault))
}

/// A value for a column of JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("what is kept has text keys and finite numbers")
}

/// A number for a column; numbers of entries and events stay far below the limit.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn damaged(column: &'static str, fault: &dyn fmt::Display) -> StoreError {
    StoreError::Damaged(format!("{column}: {fault}"))
}
