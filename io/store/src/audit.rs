use sqlx::{Row, SqliteConnection};

use crate::command::Entry;
use crate::outcome::{Outcome, StoreError};
use crate::row::{column, number};
use crate::store::Store;

/// Who wanted what, when, and what came of it. Never has secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// The number of the command in the log.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What, in a stable word such as `site.create`.
    pub action: String,
    /// To what.
    pub target: String,
    /// `done`, or why not.
    pub result: String,
}

pub(crate) async fn write(
    db: &mut SqliteConnection,
    number: u64,
    entry: &Entry,
    outcome: &Outcome,
) -> Result<(), StoreError> {
    let (action, target) = entry.command.action();
    let result = match outcome {
        Ok(_) => "done".to_owned(),
        Err(refused) => format!("refused: {refused}"),
    };
    sqlx::query("INSERT INTO audit VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(column(number))
        .bind(entry.at_ms)
        .bind(entry.actor.to_string())
        .bind(action)
        .bind(target)
        .bind(result)
        .execute(db)
        .await?;
    Ok(())
}

impl Store {
    /// The latest lines before one of them, the latest first, at most so many.
    pub async fn audit(&self, before: u64, limit: u32) -> Result<Vec<AuditLine>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM audit WHERE number < $1 ORDER BY number DESC LIMIT $2")
                .bind(column(before))
                .bind(limit)
                .fetch_all(self.reader())
                .await?;
        let line = |row: &sqlx::sqlite::SqliteRow| {
            Ok(AuditLine {
                number: number(row, "number")?,
                at_ms: row.try_get("at_ms")?,
                actor: row.try_get("actor")?,
                action: row.try_get("action")?,
                target: row.try_get("target")?,
                result: row.try_get("result")?,
            })
        };
        rows.iter().map(line).collect()
    }
}
