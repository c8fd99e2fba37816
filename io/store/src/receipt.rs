use bellwether_types::{Name, NodeId, SitePart, VersionId};
use bellwether_wire::uplink::Receipt;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::applying::{Applying, Effect};
use crate::bytes::Bytes;
use crate::job::encoded;
use crate::outcome::{Refused, StoreError};
use crate::row::{column, parsed, parsed_or_none};
use crate::store::Store;

/// What a node signed that it serves, with who the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// The node.
    pub node: NodeId,
    /// What it calls itself.
    pub name: Name,
    /// Where it belongs.
    pub segment: Name,
    /// What it serves, and since when by its own clock in milliseconds since 1970; `None` if it never signed for anything.
    pub served: Option<(SitePart, VersionId, i64)>,
}

/// As many go in one command.
pub const RECEIPTS_MAX: usize = 1_000;

/// A receipt as a command carries it.
pub fn kept(receipt: &Receipt) -> Bytes {
    encoded(receipt)
}

/// Keeps receipts whose signatures were looked at. Of each node, site and part the latest by term and serial stays.
pub(crate) async fn keep(applying: &mut Applying<'_>, receipts: &[Bytes]) -> Effect {
    if receipts.len() > RECEIPTS_MAX {
        let what = "receipts in one command";
        let max = RECEIPTS_MAX as u64;
        return Err(Refused::TooMany { what, max }.into());
    }
    for bytes in receipts {
        let receipt: Receipt = minicbor::decode(&bytes.0)
            .map_err(|fault| Refused::Invalid(format!("a receipt cannot be read: {fault}")))?;
        let served = &receipt.served;
        let at_ms = served
            .seconds
            .saturating_mul(1_000)
            .saturating_add(i64::from(served.nanoseconds / 1_000_000));
        sqlx::query(
            "INSERT INTO receipts SELECT $1, $2, $3, $4, $5, $6, $7, $8 \
             WHERE EXISTS (SELECT 1 FROM nodes WHERE id = $1) \
             ON CONFLICT (node, site, part) DO UPDATE SET version = excluded.version, \
             term = excluded.term, serial = excluded.serial, at_ms = excluded.at_ms, \
             receipt = excluded.receipt \
             WHERE (excluded.term, excluded.serial) >= (receipts.term, receipts.serial)",
        )
        .bind(served.node.to_string())
        .bind(served.site.site.as_str())
        .bind(served.site.part.as_str())
        .bind(served.version.to_string())
        .bind(column(served.term.0))
        .bind(column(served.serial.0))
        .bind(at_ms)
        .bind(&bytes.0)
        .execute(&mut *applying.db)
        .await?;
    }
    Ok(())
}

fn read(row: &SqliteRow) -> Result<Serving, StoreError> {
    let served = match (parsed_or_none(row, "site")?, parsed_or_none(row, "part")?) {
        (Some(site), Some(part)) => Some((
            SitePart { site, part },
            parsed(row, "version")?,
            row.try_get("at_ms")?,
        )),
        _ => None,
    };
    Ok(Serving {
        node: parsed(row, "id")?,
        name: parsed(row, "name")?,
        segment: parsed(row, "segment")?,
        served,
    })
}

impl Store {
    /// What the nodes after one of them serve, at most so many nodes, in the order of ids; of one site if one is named.
    pub async fn serving(
        &self,
        after: &str,
        limit: u32,
        site: Option<&Name>,
    ) -> Result<Vec<Serving>, StoreError> {
        let rows = sqlx::query(
            "SELECT n.id, n.name, n.segment, r.site, r.part, r.version, r.at_ms \
             FROM (SELECT * FROM nodes WHERE id > $1 ORDER BY id LIMIT $2) AS n \
             LEFT JOIN receipts AS r ON r.node = n.id AND ($3 IS NULL OR r.site = $3) \
             ORDER BY n.id, r.site, r.part",
        )
        .bind(after)
        .bind(limit)
        .bind(site.map(Name::as_str))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read).collect()
    }
}
