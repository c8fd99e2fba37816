use bellwether_api::routes::{Health, ShowServer};
use bellwether_api::{Problem, ServerInfo};

use crate::authority::fingerprint;
use crate::door::Call;

pub(crate) async fn health(_: Call<Health>) -> Result<(), Problem> {
    Ok(())
}

pub(crate) async fn show(call: Call<ShowServer>) -> Result<ServerInfo, Problem> {
    let server = &call.server;
    Ok(ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ca_fingerprint: fingerprint(server.authority.certificate()).to_string(),
        signing_key: server.signing.public().to_text(),
        applied: server.store.applied(),
    })
}
