use bellwether_fleet::Group;
use bellwether_types::Name;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::applying::{Applying, Effect, Halt};
use crate::bytes::Bytes;
use crate::outcome::{Refused, StoreError};
use crate::row::{json, parsed, to_json};
use crate::site;
use crate::store::Store;

const GROUPS_MAX: u64 = 10_000;

pub(crate) async fn create(
    applying: &mut Applying<'_>,
    group: &Group,
    sealed_key: &Bytes,
) -> Effect {
    check(applying, group).await?;
    applying
        .room("groups", "SELECT count(*) FROM content_groups", GROUPS_MAX)
        .await?;
    let inserted = sqlx::query("INSERT OR IGNORE INTO content_groups VALUES ($1, $2, $3, $4, $5)")
        .bind(group.name.as_str())
        .bind(group.site.as_str())
        .bind(to_json(&group.parts))
        .bind(to_json(&group.selector))
        .bind(&sealed_key.0)
        .execute(&mut *applying.db)
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(Refused::Exists {
            what: "group",
            name: group.name.to_string(),
        }
        .into());
    }
    applying.touch_all().await?;
    let text = format!("group {} of site {} was defined", group.name, group.site);
    applying
        .tell("group.created", group.name.as_str(), &text)
        .await
}

pub(crate) async fn change(applying: &mut Applying<'_>, group: &Group) -> Effect {
    check(applying, group).await?;
    let changed = sqlx::query(
        "UPDATE content_groups SET site = $2, parts = $3, selector = $4 WHERE name = $1",
    )
    .bind(group.name.as_str())
    .bind(group.site.as_str())
    .bind(to_json(&group.parts))
    .bind(to_json(&group.selector))
    .execute(&mut *applying.db)
    .await?;
    if changed.rows_affected() == 0 {
        return Err(missing(&group.name));
    }
    applying.touch_all().await?;
    let text = format!("group {} was defined anew", group.name);
    applying
        .tell("group.changed", group.name.as_str(), &text)
        .await
}

pub(crate) async fn remove(applying: &mut Applying<'_>, group: &Name) -> Effect {
    let removed = sqlx::query("DELETE FROM content_groups WHERE name = $1")
        .bind(group.as_str())
        .execute(&mut *applying.db)
        .await?;
    if removed.rows_affected() == 0 {
        return Err(missing(group));
    }
    applying.touch_all().await?;
    applying
        .tell(
            "group.removed",
            group.as_str(),
            &format!("group {group} was removed"),
        )
        .await
}

async fn check(applying: &mut Applying<'_>, group: &Group) -> Effect {
    if let Err(fault) = group.check() {
        return Err(Refused::Invalid(fault.to_string()).into());
    }
    site::require(applying, &group.site, &group.parts).await
}

fn missing(group: &Name) -> Halt {
    Refused::Missing {
        what: "group",
        name: group.to_string(),
    }
    .into()
}

fn read(row: &SqliteRow) -> Result<Group, StoreError> {
    Ok(Group {
        name: parsed(row, "name")?,
        site: parsed(row, "site")?,
        parts: json(row, "parts")?,
        selector: json(row, "selector")?,
    })
}

impl Store {
    /// A group by name.
    pub async fn group(&self, name: &Name) -> Result<Option<Group>, StoreError> {
        let row = sqlx::query("SELECT * FROM content_groups WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Groups, after one of them in the order of names.
    pub async fn groups(&self, after: &str, limit: u32) -> Result<Vec<Group>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM content_groups WHERE name > $1 ORDER BY name LIMIT $2")
                .bind(after)
                .bind(limit)
                .fetch_all(self.reader())
                .await?;
        rows.iter().map(read).collect()
    }

    /// The groups of a site, in the order of names.
    pub async fn groups_of(&self, site: &Name) -> Result<Vec<Group>, StoreError> {
        let rows = sqlx::query("SELECT * FROM content_groups WHERE site = $1 ORDER BY name")
            .bind(site.as_str())
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read).collect()
    }

    /// The sealed key of a group's content.
    pub async fn group_key(&self, name: &Name) -> Result<Option<Bytes>, StoreError> {
        let row = sqlx::query("SELECT sealed_key FROM content_groups WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(self.reader())
            .await?;
        let key = row.map(|row| row.try_get(0).map(Bytes)).transpose();
        key.map_err(StoreError::from)
    }
}
