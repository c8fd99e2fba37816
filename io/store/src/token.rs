use bellwether_fleet::{Placement, Role};
use bellwether_types::{Hash, Name};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::applying::{Applying, Effect};
use crate::outcome::{Refused, StoreError};
use crate::row::{parsed, parsed_or_none};
use crate::store::Store;

/// A token to give. The token itself is known to its bearer only: 192 random bits, of which a plain hash tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is referred to by.
    pub id: Name,
    /// Its hash.
    pub hash: Hash,
    /// Whose it is, or what for.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// Of a token for nodes: where they belong.
    pub placement: Option<Placement>,
    /// When it ends, in milliseconds since 1970.
    pub ends_ms: Option<i64>,
}

/// A token that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is referred to by.
    pub id: Name,
    /// Whose it is, or what for.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// Of a token for nodes: where they belong.
    pub placement: Option<Placement>,
    /// When it was given, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it ends.
    pub ends_ms: Option<i64>,
}

const TOKENS_MAX: u64 = 10_000;

pub(crate) async fn create(applying: &mut Applying<'_>, token: &NewToken) -> Effect {
    // Those that ended are of no use to anybody; the audit remembers them.
    sqlx::query("DELETE FROM tokens WHERE ends_ms <= $1")
        .bind(applying.at_ms)
        .execute(&mut *applying.db)
        .await?;
    applying
        .room("tokens", "SELECT count(*) FROM tokens", TOKENS_MAX)
        .await?;
    if token.ends_ms.is_some_and(|end| end <= applying.at_ms) {
        return Err(Refused::Invalid("the token would have ended already".to_owned()).into());
    }
    if (token.role == Role::Node) != token.placement.is_some() {
        let fault = "a token for nodes says where they belong, and no other token does";
        return Err(Refused::Invalid(fault.to_owned()).into());
    }
    let inserted = sqlx::query("INSERT OR IGNORE INTO tokens VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(token.id.as_str())
        .bind(token.hash.0.as_slice())
        .bind(&token.name)
        .bind(token.role.as_str())
        .bind(token.placement.as_ref().map(ToString::to_string))
        .bind(applying.at_ms)
        .bind(token.ends_ms)
        .execute(&mut *applying.db)
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(Refused::Exists {
            what: "token",
            name: token.id.to_string(),
        }
        .into());
    }
    let text = format!(
        "token {} was given to {}, as {}",
        token.id, token.name, token.role
    );
    applying
        .tell("token.created", token.id.as_str(), &text)
        .await
}

pub(crate) async fn revoke(applying: &mut Applying<'_>, id: &Name) -> Effect {
    let removed = sqlx::query("DELETE FROM tokens WHERE id = $1")
        .bind(id.as_str())
        .execute(&mut *applying.db)
        .await?;
    if removed.rows_affected() == 0 {
        return Err(Refused::Missing {
            what: "token",
            name: id.to_string(),
        }
        .into());
    }
    applying
        .tell(
            "token.revoked",
            id.as_str(),
            &format!("token {id} was revoked"),
        )
        .await
}

/// The token, if it has not ended.
pub(crate) async fn find(
    applying: &mut Applying<'_>,
    id: &Name,
) -> Result<Option<Token>, StoreError> {
    let row = sqlx::query("SELECT * FROM tokens WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(&mut *applying.db)
        .await?;
    let token = row.as_ref().map(read).transpose()?;
    Ok(token.filter(|token| token.ends_ms.is_none_or(|end| end > applying.at_ms)))
}

fn read(row: &SqliteRow) -> Result<Token, StoreError> {
    let role = match row.try_get("role")? {
        "node" => Role::Node,
        "viewer" => Role::Viewer,
        "operator" => Role::Operator,
        "admin" => Role::Admin,
        other => return Err(StoreError::Damaged(format!("role: there is no {other}"))),
    };
    Ok(Token {
        id: parsed(row, "id")?,
        name: row.try_get("name")?,
        role,
        placement: parsed_or_none(row, "placement")?,
        created_ms: row.try_get("created_ms")?,
        ends_ms: row.try_get("ends_ms")?,
    })
}

impl Store {
    /// The token with this hash, if there is one, whether or not it has ended.
    pub async fn token(&self, hash: &Hash) -> Result<Option<Token>, StoreError> {
        let row = sqlx::query("SELECT * FROM tokens WHERE hash = $1")
            .bind(hash.0.as_slice())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The tokens that were given, after one of them in the order of ids.
    pub async fn tokens(&self, after: &str, limit: u32) -> Result<Vec<Token>, StoreError> {
        let rows = sqlx::query("SELECT * FROM tokens WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(limit)
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }
}
