use std::path::PathBuf;

use sqlx::migrate::MigrateError;

/// What a command came to: where it stands in the log, or why it had no effect.
pub type Outcome = Result<u64, Refused>;

/// Why a command had no effect. The log stays whole: whoever applies it refuses the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is one already.
    #[error("there is a {what} {name} already")]
    Exists {
        /// What.
        what: &'static str,
        /// What it is called.
        name: String,
    },
    /// There is none.
    #[error("there is no {what} {name}")]
    Missing {
        /// What.
        what: &'static str,
        /// What it would be called.
        name: String,
    },
    /// Something else needs it.
    #[error("{what} {name} is needed by {by}")]
    InUse {
        /// What.
        what: &'static str,
        /// What it is called.
        name: String,
        /// Who needs it.
        by: String,
    },
    /// What it says cannot be.
    #[error("{0}")]
    Invalid(String),
    /// There are so many already.
    #[error("there can be at most {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there can be.
        max: u64,
    },
    /// A job is not at the point where that can happen.
    #[error("{0}")]
    Job(String),
    /// The token admits no node, or no more.
    #[error("the token admits no node: it ended, was revoked, or is not for nodes")]
    Token,
    /// Another node has this id.
    #[error("there is a node {node} already, and it has another key")]
    NodeTaken {
        /// The id.
        node: String,
    },
    /// It was begun before.
    #[error("this installation was begun before")]
    Begun,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a later release.
    #[error("{path} was written by a later release than this: run that one", path = path.display())]
    Newer {
        /// The database.
        path: PathBuf,
    },
    /// It cannot be read, or written.
    #[error("cannot open the database {path}", path = path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Its tables cannot be brought up to date.
    #[error("cannot bring the tables of {path} up to date; nothing was changed", path = path.display())]
    Migrate {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<MigrateError>,
    },
}

/// Why nothing can be kept, or found. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room.
    #[error("the control server's disk is full")]
    Full(#[source] sqlx::Error),
    /// The database failed.
    #[error("the control server's database failed")]
    Database(#[source] sqlx::Error),
    /// What stands in the database cannot be.
    #[error("the control server's database is damaged: {0}")]
    Damaged(String),
    /// An entry comes before those that it follows.
    #[error("entry {given} of the log comes, and {applied} is the last one applied")]
    Gap {
        /// The last one applied.
        applied: u64,
        /// The one that came.
        given: u64,
    },
    /// The store is closing.
    #[error("the control server is ending")]
    Closing,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // SQLITE_FULL.
        let full = |error: &sqlx::Error| {
            let code = error.as_database_error().and_then(|error| error.code());
            code.is_some_and(|code| code == "13")
        };
        match error {
            sqlx::Error::PoolClosed => Self::Closing,
            error if full(&error) => Self::Full(error),
            error => Self::Database(error),
        }
    }
}
