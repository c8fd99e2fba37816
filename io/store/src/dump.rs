use sqlx::{AssertSqlSafe, Row};

use crate::outcome::StoreError;
use crate::store::Store;

impl Store {
    /// Everything that is kept, as text: equal for databases that keep the same. For tests, and to compare servers.
    pub async fn dump(&self) -> Result<String, StoreError> {
        let tables = sqlx::query(
            "SELECT name FROM sqlite_schema WHERE type = 'table' \
             AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlx_%' ORDER BY name",
        )
        .fetch_all(self.reader())
        .await?;
        let mut text = String::new();
        for table in &tables {
            let table: &str = table.try_get(0)?;
            let columns = sqlx::query("SELECT name FROM pragma_table_info($1) ORDER BY cid")
                .bind(table)
                .fetch_all(self.reader())
                .await?;
            let mut quoted = Vec::with_capacity(columns.len());
            for column in &columns {
                quoted.push(format!("quote(\"{}\")", column.try_get::<&str, _>(0)?));
            }
            // Both names come from our own schema.
            let rows = format!(
                "SELECT {} AS line FROM {table} ORDER BY line",
                quoted.join("||','||")
            );
            for row in sqlx::query(AssertSqlSafe(rows))
                .fetch_all(self.reader())
                .await?
            {
                text.push_str(table);
                text.push(' ');
                text.push_str(row.try_get(0)?);
                text.push('\n');
            }
        }
        Ok(text)
    }
}
