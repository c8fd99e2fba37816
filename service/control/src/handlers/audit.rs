use bellwether_api::routes::ListAudit;
use bellwether_api::{AuditInfo, List, Problem};

use super::page;
use crate::door::Call;

pub(crate) async fn list(call: Call<ListAudit>) -> Result<List<AuditInfo>, Problem> {
    let limit = page::limit(call.query.limit)?;
    let found = call
        .server
        .store
        .audit(call.query.before.unwrap_or(u64::MAX), limit + 1)
        .await;
    let number = |line: &bellwether_store::AuditLine| line.number.to_string();
    page::list(found, limit, number, |line| AuditInfo {
        number: line.number,
        at_ms: line.at_ms,
        actor: line.actor,
        action: line.action,
        target: line.target,
        result: line.result,
    })
}
