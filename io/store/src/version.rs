use bellwether_types::{Name, SitePart, VersionId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::applying::{Applying, Effect};
use crate::outcome::StoreError;
use crate::row::{column, number, parsed};
use crate::site;
use crate::store::Store;

/// A version of a part of a site, whose content the control server keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The entry of the log that kept it: a later one is newer.
    pub number: u64,
    /// Whose content.
    pub site: SitePart,
    /// Which.
    pub version: VersionId,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it was kept, in milliseconds since 1970.
    pub kept_ms: i64,
}

/// Makes a version the latest of its part. One that is the latest already stays it.
pub(crate) async fn keep(
    applying: &mut Applying<'_>,
    site: &SitePart,
    version: VersionId,
    files: u64,
    bytes: u64,
) -> Effect {
    site::require(applying, &site.site, [&site.part]).await?;
    let latest = sqlx::query(LATEST)
        .bind(site.site.as_str())
        .bind(site.part.as_str())
        .fetch_optional(&mut *applying.db)
        .await?;
    if let Some(row) = &latest
        && read(row)?.version == version
    {
        return Ok(());
    }
    sqlx::query("INSERT INTO versions VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(column(applying.number))
        .bind(site.site.as_str())
        .bind(site.part.as_str())
        .bind(version.to_string())
        .bind(column(files))
        .bind(column(bytes))
        .bind(applying.at_ms)
        .execute(&mut *applying.db)
        .await?;
    let text = format!(
        "version {} of site {site} was kept: {files} files",
        version.short()
    );
    applying
        .tell("version.kept", &site.to_string(), &text)
        .await
}

const LATEST: &str =
    "SELECT * FROM versions WHERE site = $1 AND part = $2 ORDER BY number DESC LIMIT 1";

fn read(row: &SqliteRow) -> Result<Version, StoreError> {
    Ok(Version {
        number: number(row, "number")?,
        site: SitePart {
            site: parsed(row, "site")?,
            part: parsed(row, "part")?,
        },
        version: parsed(row, "version")?,
        files: number(row, "files")?,
        bytes: number(row, "bytes")?,
        kept_ms: row.try_get("kept_ms")?,
    })
}

impl Store {
    /// The version of a part that was kept last.
    pub async fn latest_version(&self, site: &SitePart) -> Result<Option<Version>, StoreError> {
        let row = sqlx::query(LATEST)
            .bind(site.site.as_str())
            .bind(site.part.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The versions of all parts of a site that were kept before an entry of the log, the latest first, at most so many.
    pub async fn versions(
        &self,
        site: &Name,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Version>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM versions WHERE site = $1 AND number < $2 ORDER BY number DESC LIMIT $3",
        )
        .bind(site.as_str())
        .bind(column(before))
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read).collect()
    }
}
