use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqlStr, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::applying;
use crate::command::Entry;
use crate::outcome::{OpenError, Outcome, StoreError};
use crate::row::{column, json, number};

/// The database of a control server: one task writes, several read.
#[derive(Debug)]
pub struct Store {
    readers: SqlitePool,
    work: mpsc::Sender<Work>,
    position: watch::Receiver<Position>,
    writer: JoinHandle<()>,
}

/// How far the log is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    applied: u64,
    event: u64,
    /// The last entry that defines something.
    defined: u64,
}

/// Something to write, and whoever waits for it.
struct Work {
    /// `None` is the next one.
    number: Option<u64>,
    entry: Entry,
    told: oneshot::Sender<Result<Outcome, StoreError>>,
}

/// Commands that may wait; who has more waits.
const WORK_MAX: usize = 256;
const READERS: u32 = 4;
/// Longer than any transaction of ours.
const BUSY: Duration = Duration::from_secs(30);

const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "begin", include_str!("../migrations/0001_begin.sql"))];

impl Store {
    /// Opens a database, which is made if it is not there.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let fault = |source| OpenError::Database {
            path: path.to_owned(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        let mut db = options
            .clone()
            .create_if_missing(true)
            .connect()
            .await
            .map_err(fault)?;
        let migrations = MIGRATIONS.into_iter().map(|(version, name, sql)| {
            let sql = SqlStr::from_static(sql);
            Migration::new(version, name.into(), MigrationType::Simple, sql, false)
        });
        let migrated = Migrator::with_migrations(migrations.collect())
            .run(&mut db)
            .await;
        migrated.map_err(|error| match error {
            MigrateError::VersionMissing(_) => OpenError::Newer {
                path: path.to_owned(),
            },
            error => OpenError::Migrate {
                path: path.to_owned(),
                source: Box::new(error),
            },
        })?;
        let (applied, event) = applying::position(&mut db)
            .await
            .map_err(|error| match error {
                StoreError::Full(source) | StoreError::Database(source) => fault(source),
                other => fault(sqlx::Error::Decode(other.into())),
            })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.clone().read_only(true))
            .await
            .map_err(fault)?;
        let (work, worked) = mpsc::channel(WORK_MAX);
        let (tell, position) = watch::channel(Position {
            applied,
            event,
            defined: applied,
        });
        let writer = tokio::spawn(write(db, options, worked, tell));
        Ok(Self {
            readers,
            work,
            position,
            writer,
        })
    }

    /// Puts a command at the end of the log and applies it. Whoever asked may go away: what was begun is finished.
    pub async fn propose(&self, entry: Entry) -> Result<Outcome, StoreError> {
        self.write(None, entry).await
    }

    /// Applies the entry that the log has at `number`, which must be the next one.
    pub async fn apply(&self, number: u64, entry: Entry) -> Result<Outcome, StoreError> {
        self.write(Some(number), entry).await
    }

    async fn write(&self, number: Option<u64>, entry: Entry) -> Result<Outcome, StoreError> {
        let (told, result) = oneshot::channel();
        let work = Work {
            number,
            entry,
            told,
        };
        self.work
            .send(work)
            .await
            .map_err(|_| StoreError::Closing)?;
        result.await.unwrap_or(Err(StoreError::Closing))
    }

    /// The number up to which the log is applied.
    pub fn applied(&self) -> u64 {
        self.position.borrow().applied
    }

    /// The number of the last event.
    pub fn last_event(&self) -> u64 {
        self.position.borrow().event
    }

    /// Waits for an event after this one, which may be there already; `false` if the store closes.
    pub async fn event_after(&self, number: u64) -> bool {
        let mut position = self.position.clone();
        position
            .wait_for(|position| position.event > number)
            .await
            .is_ok()
    }

    /// The number of the last entry that said how something is to be, or that was applied before the start: as long as it
    /// is the same, so are nodes, segments, sites and groups.
    pub fn defined(&self) -> u64 {
        self.position.borrow().defined
    }

    /// Waits until the log is applied beyond this; `false` if the store closes.
    pub async fn applied_after(&self, number: u64) -> bool {
        let mut position = self.position.clone();
        position
            .wait_for(|position| position.applied > number)
            .await
            .is_ok()
    }

    /// Entries of the log after one of them, at most so many; `None` if those were forgotten already.
    pub async fn log(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Option<Vec<(u64, Entry)>>, StoreError> {
        let rows = sqlx::query("SELECT * FROM log WHERE number > $1 ORDER BY number LIMIT $2")
            .bind(column(after))
            .bind(limit)
            .fetch_all(self.reader())
            .await?;
        let entry = |row| Ok((number(row, "number")?, json(row, "entry")?));
        let entries: Vec<(u64, Entry)> =
            rows.iter().map(entry).collect::<Result<_, StoreError>>()?;
        let whole = entries
            .first()
            .map_or_else(|| after >= self.applied(), |(first, _)| *first == after + 1);
        Ok(whole.then_some(entries))
    }

    /// Closes the database, when what was begun is finished.
    pub async fn close(self) {
        drop(self.work);
        // A panic of the writer was told already.
        let _ = self.writer.await;
        self.readers.close().await;
    }

    pub(crate) const fn reader(&self) -> &SqlitePool {
        &self.readers
    }
}

async fn write(
    db: SqliteConnection,
    options: SqliteConnectOptions,
    mut worked: mpsc::Receiver<Work>,
    tell: watch::Sender<Position>,
) {
    let mut open = Some(db);
    while let Some(Work {
        number,
        entry,
        told,
    }) = worked.recv().await
    {
        let db = match open.take() {
            Some(db) => Ok(db),
            None => again(&options, &tell).await,
        };
        let result = match db {
            Err(error) => Err(error),
            Ok(mut db) => {
                let number = number.unwrap_or(tell.borrow().applied + 1);
                let result = transact(&mut db, number, &entry).await;
                // On a full disk SQLite ends a transaction by itself, and the connection does not know: it is of no use.
                if !matches!(result, Err(StoreError::Full(_) | StoreError::Database(_))) {
                    open = Some(db);
                }
                result.map(|(outcome, event)| (number, outcome, event))
            }
        };
        if let Ok((number, outcome, event)) = &result {
            let defines = outcome.is_ok() && entry.command.defines();
            tell.send_modify(|position| {
                position.applied = *number;
                position.event = *event;
                if defines {
                    position.defined = *number;
                }
            });
        }
        // Nobody may wait any more.
        let _ = told.send(result.map(|(_, outcome, _)| outcome));
    }
    if let Some(db) = open {
        let _ = db.close().await;
    }
}

/// Another connection after one that failed. What it failed at may be kept all the same.
async fn again(
    options: &SqliteConnectOptions,
    tell: &watch::Sender<Position>,
) -> Result<SqliteConnection, StoreError> {
    let mut db = options.connect().await?;
    let (applied, event) = applying::position(&mut db).await?;
    tell.send_if_modified(|position| {
        let is_ahead = applied > position.applied;
        if is_ahead {
            *position = Position {
                applied,
                event,
                defined: applied,
            };
        }
        is_ahead
    });
    Ok(db)
}

async fn transact(
    db: &mut SqliteConnection,
    number: u64,
    entry: &Entry,
) -> Result<(Outcome, u64), StoreError> {
    let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
    let outcome = applying::apply(&mut transaction, number, entry).await?;
    let row = sqlx::query("SELECT events FROM position")
        .fetch_one(&mut *transaction)
        .await?;
    let event = crate::row::number(&row, "events")?;
    transaction.commit().await?;
    Ok((outcome, event))
}
