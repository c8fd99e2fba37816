use bellwether_fleet::Site;
use bellwether_types::Name;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::applying::{Applying, Effect, Halt};
use crate::outcome::{Refused, StoreError};
use crate::row::{json, parsed, to_json};
use crate::store::Store;

const SITES_MAX: u64 = 10_000;

pub(crate) async fn create(applying: &mut Applying<'_>, site: &Site) -> Effect {
    check(site)?;
    applying
        .room("sites", "SELECT count(*) FROM sites", SITES_MAX)
        .await?;
    let inserted = sqlx::query("INSERT OR IGNORE INTO sites VALUES ($1, $2, $3, $4)")
        .bind(site.name.as_str())
        .bind(&site.source)
        .bind(to_json(&site.parts))
        .bind(to_json(&site.policy))
        .execute(&mut *applying.db)
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(Refused::Exists {
            what: "site",
            name: site.name.to_string(),
        }
        .into());
    }
    let text = format!("site {} was defined", site.name);
    applying
        .tell("site.created", site.name.as_str(), &text)
        .await
}

pub(crate) async fn change(applying: &mut Applying<'_>, site: &Site) -> Effect {
    check(site)?;
    for (group, part) in named_parts(applying, &site.name).await? {
        if part.as_str() != "all" && !site.parts.iter().any(|one| one.name == part) {
            let (name, by) = (format!("{}@{part}", site.name), format!("group {group}"));
            return Err(Refused::InUse {
                what: "part",
                name,
                by,
            }
            .into());
        }
    }
    let changed =
        sqlx::query("UPDATE sites SET source = $2, parts = $3, policy = $4 WHERE name = $1")
            .bind(site.name.as_str())
            .bind(&site.source)
            .bind(to_json(&site.parts))
            .bind(to_json(&site.policy))
            .execute(&mut *applying.db)
            .await?;
    if changed.rows_affected() == 0 {
        return Err(missing(&site.name));
    }
    applying.touch_all().await?;
    let text = format!("site {} was defined anew", site.name);
    applying
        .tell("site.changed", site.name.as_str(), &text)
        .await
}

pub(crate) async fn remove(applying: &mut Applying<'_>, site: &Name) -> Effect {
    let group =
        sqlx::query("SELECT name FROM content_groups WHERE site = $1 ORDER BY name LIMIT 1")
            .bind(site.as_str())
            .fetch_optional(&mut *applying.db)
            .await?;
    if let Some(group) = group {
        let by = format!("group {}", group.try_get::<&str, _>(0)?);
        return Err(Refused::InUse {
            what: "site",
            name: site.to_string(),
            by,
        }
        .into());
    }
    let removed = sqlx::query("DELETE FROM sites WHERE name = $1")
        .bind(site.as_str())
        .execute(&mut *applying.db)
        .await?;
    if removed.rows_affected() == 0 {
        return Err(missing(site));
    }
    applying
        .tell(
            "site.removed",
            site.as_str(),
            &format!("site {site} was removed"),
        )
        .await
}

/// Refuses a site that is not there, or lacks one of these parts.
pub(crate) async fn require<'a>(
    applying: &mut Applying<'_>,
    site: &Name,
    parts: impl IntoIterator<Item = &'a Name>,
) -> Effect {
    let row = sqlx::query("SELECT * FROM sites WHERE name = $1")
        .bind(site.as_str())
        .fetch_optional(&mut *applying.db)
        .await?;
    let site = read(&row.ok_or_else(|| missing(site))?)?;
    for part in parts {
        if part.as_str() != "all" && !site.parts.iter().any(|one| one.name == *part) {
            let name = format!("{part} of site {}", site.name);
            return Err(Refused::Missing { what: "part", name }.into());
        }
    }
    Ok(())
}

/// The parts that groups of a site name, each with the group.
async fn named_parts(applying: &mut Applying<'_>, site: &Name) -> Result<Vec<(Name, Name)>, Halt> {
    let rows = sqlx::query("SELECT name, parts FROM content_groups WHERE site = $1 ORDER BY name")
        .bind(site.as_str())
        .fetch_all(&mut *applying.db)
        .await?;
    let mut named = Vec::new();
    for row in &rows {
        let group: Name = parsed(row, "name")?;
        let parts: Vec<Name> = json(row, "parts")?;
        named.extend(parts.into_iter().map(|part| (group.clone(), part)));
    }
    Ok(named)
}

fn check(site: &Site) -> Effect {
    let checked = site.check();
    checked.map_err(|fault| Refused::Invalid(fault.to_string()).into())
}

fn missing(site: &Name) -> Halt {
    Refused::Missing {
        what: "site",
        name: site.to_string(),
    }
    .into()
}

fn read(row: &SqliteRow) -> Result<Site, StoreError> {
    Ok(Site {
        name: parsed(row, "name")?,
        source: row.try_get("source")?,
        parts: json(row, "parts")?,
        policy: json(row, "policy")?,
    })
}

impl Store {
    /// A site by name.
    pub async fn site(&self, name: &Name) -> Result<Option<Site>, StoreError> {
        let row = sqlx::query("SELECT * FROM sites WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Sites, after one of them in the order of names.
    pub async fn sites(&self, after: &str, limit: u32) -> Result<Vec<Site>, StoreError> {
        let rows = sqlx::query("SELECT * FROM sites WHERE name > $1 ORDER BY name LIMIT $2")
            .bind(after)
            .bind(limit)
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }
}
