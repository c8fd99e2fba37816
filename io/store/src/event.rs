use sqlx::{Row, SqliteConnection};

use crate::applying::{Applying, Effect};
use crate::outcome::StoreError;
use crate::row::{column, number};
use crate::store::Store;

/// Something that happened. The numbers of events have no gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number, from 1.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What kind of thing, in a stable word such as `site.created`.
    pub kind: String,
    /// To what it happened.
    pub subject: String,
    /// The same for people.
    pub text: String,
}

/// Events that are kept: who missed more looks at everything anew.
const KEPT: u64 = 10_000;

impl Applying<'_> {
    /// Tells of something.
    pub(crate) async fn tell(&mut self, kind: &'static str, subject: &str, text: &str) -> Effect {
        self.events += 1;
        sqlx::query("INSERT INTO events VALUES ($1, $2, $3, $4, $5)")
            .bind(column(self.events))
            .bind(self.at_ms)
            .bind(kind)
            .bind(subject)
            .bind(text)
            .execute(&mut *self.db)
            .await?;
        Ok(())
    }
}

/// Forgets events beyond those that are kept.
pub(crate) async fn trim(db: &mut SqliteConnection, last: u64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM events WHERE number <= $1")
        .bind(column(last.saturating_sub(KEPT)))
        .execute(db)
        .await?;
    Ok(())
}

impl Store {
    /// The next events after one of them, at most so many. `None` if some of those were forgotten already, or have not
    /// happened: whoever asks must look at everything anew.
    pub async fn events(&self, after: u64, limit: u32) -> Result<Option<Vec<Event>>, StoreError> {
        if after > self.last_event() || after + KEPT < self.last_event() {
            return Ok(None);
        }
        let rows = sqlx::query("SELECT * FROM events WHERE number > $1 ORDER BY number LIMIT $2")
            .bind(column(after))
            .bind(limit)
            .fetch_all(self.reader())
            .await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.push(Event {
                number: number(row, "number")?,
                at_ms: row.try_get("at_ms")?,
                kind: row.try_get("kind")?,
                subject: row.try_get("subject")?,
                text: row.try_get("text")?,
            });
        }
        // Forgotten between the question and the answer.
        let whole = events.first().is_none_or(|first| first.number == after + 1);
        Ok(whole.then_some(events))
    }
}
