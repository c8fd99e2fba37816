use sqlx::{Row, SqliteConnection};

use crate::command::{Command, Entry};
use crate::event;
use crate::outcome::{Outcome, Refused, StoreError};
use crate::row::{column, number, to_json};
use crate::{
    audit, authority, group, job, node, observation, receipt, segment, site, token, version,
};

/// Entries of the log that are kept: a server that is further behind takes a copy of the database.
const LOG_KEPT: u64 = 100_000;

/// An entry being applied, in its transaction.
pub(crate) struct Applying<'a> {
    pub(crate) db: &'a mut SqliteConnection,
    /// Its number in the log.
    pub(crate) number: u64,
    /// The time of the entry.
    pub(crate) at_ms: i64,
    /// Events so far, since the installation began.
    pub(crate) events: u64,
}

/// Why an effect ends early.
pub(crate) enum Halt {
    Refused(Refused),
    Failed(StoreError),
}

pub(crate) type Effect = Result<(), Halt>;

impl From<Refused> for Halt {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<sqlx::Error> for Halt {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// How far the log is applied, and the number of the last event.
pub(crate) async fn position(db: &mut SqliteConnection) -> Result<(u64, u64), StoreError> {
    let row = sqlx::query("SELECT applied, events FROM position")
        .fetch_one(db)
        .await?;
    Ok((number(&row, "applied")?, number(&row, "events")?))
}

/// Applies an entry within a transaction, which is the caller's to commit.
pub(crate) async fn apply(
    db: &mut SqliteConnection,
    number: u64,
    entry: &Entry,
) -> Result<Outcome, StoreError> {
    let (applied, events) = position(db).await?;
    if number != applied + 1 {
        return Err(StoreError::Gap {
            applied,
            given: number,
        });
    }
    sqlx::query("INSERT INTO log VALUES ($1, $2)")
        .bind(column(number))
        .bind(to_json(entry))
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM log WHERE number <= $1")
        .bind(column(number.saturating_sub(LOG_KEPT)))
        .execute(&mut *db)
        .await?;
    sqlx::query("SAVEPOINT effect").execute(&mut *db).await?;
    let mut applying = Applying {
        db,
        number,
        at_ms: entry.at_ms,
        events,
    };
    let (outcome, events_now) = match applying.carry_out(&entry.command).await {
        Ok(()) => (Ok(number), applying.events),
        Err(Halt::Failed(error)) => return Err(error),
        Err(Halt::Refused(refused)) => {
            sqlx::query("ROLLBACK TO effect")
                .execute(&mut *applying.db)
                .await?;
            (Err(refused), events)
        }
    };
    sqlx::query("RELEASE effect").execute(&mut *db).await?;
    event::trim(db, events_now).await?;
    if entry.command.is_wish() {
        audit::write(db, number, entry, &outcome).await?;
    }
    sqlx::query("UPDATE position SET applied = $1, events = $2")
        .bind(column(number))
        .bind(column(events_now))
        .execute(&mut *db)
        .await?;
    Ok(outcome)
}

impl Applying<'_> {
    async fn carry_out(&mut self, command: &Command) -> Effect {
        match command {
            Command::Begin { authority, tokens } => authority::begin(self, authority, tokens).await,
            Command::CreateToken(token) => token::create(self, token).await,
            Command::RevokeToken { id } => token::revoke(self, id).await,
            Command::CreateSite(site) => site::create(self, site).await,
            Command::ChangeSite(site) => site::change(self, site).await,
            Command::RemoveSite { site } => site::remove(self, site).await,
            Command::CreateGroup { group, sealed_key } => {
                group::create(self, group, sealed_key).await
            }
            Command::ChangeGroup(group) => group::change(self, group).await,
            Command::RemoveGroup { group } => group::remove(self, group).await,
            Command::KeepVersion {
                site,
                version,
                files,
                bytes,
            } => version::keep(self, site, *version, *files, *bytes).await,
            Command::TitleSegment { segment, title } => segment::title(self, segment, title).await,
            Command::ChangeLeader { segment, .. } => segment::require(self, segment).await,
            Command::AnnounceKey { segment, key } => segment::announce(self, segment, key).await,
            Command::AdvanceKey { segment } => segment::advance(self, segment).await,
            Command::RetireKey { segment } => segment::retire(self, segment).await,
            Command::Enrol(enrolment) => node::enrol(self, enrolment).await,
            Command::Renew {
                node,
                key,
                certificate,
            } => node::renew(self, *node, key, certificate).await,
            Command::LabelNode { node, set, unset } => node::label(self, *node, set, unset).await,
            Command::MoveNode { node, segment } => node::relocate(self, *node, segment).await,
            Command::RemoveNode { node } => node::remove(self, *node).await,
            Command::Observe(seen) => observation::observe(self, seen).await,
            Command::CreateJob(job) => job::create(self, job).await,
            Command::KeepStep { job, step } => job::keep(self, job, step).await,
            Command::KeepReceipts(receipts) => receipt::keep(self, receipts).await,
        }
    }

    /// Refuses what would be one too many.
    pub(crate) async fn room(
        &mut self,
        what: &'static str,
        count: &'static str,
        max: u64,
    ) -> Effect {
        let row = sqlx::query(count).fetch_one(&mut *self.db).await?;
        let count: i64 = row.try_get(0)?;
        if count >= column(max) {
            return Err(Refused::TooMany { what, max }.into());
        }
        Ok(())
    }

    /// What nodes are told has changed for all of them.
    pub(crate) async fn touch_all(&mut self) -> Effect {
        sqlx::query("UPDATE segments SET settings = $1")
            .bind(column(self.number))
            .execute(&mut *self.db)
            .await?;
        Ok(())
    }

    /// What the nodes of one segment are told has changed.
    pub(crate) async fn touch(&mut self, segment: &str) -> Effect {
        sqlx::query("UPDATE segments SET settings = $1 WHERE name = $2")
            .bind(column(self.number))
            .bind(segment)
            .execute(&mut *self.db)
            .await?;
        Ok(())
    }
}
