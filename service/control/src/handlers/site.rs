use bellwether_api::routes::{ChangeSite, CreateSite, ListSites, RemoveSite, ShowSite};
use bellwether_api::{Code, List, Problem};
use bellwether_fleet::Site;
use bellwether_store::Command;

use super::page;
use crate::door::Call;
use crate::problem;

pub(crate) async fn create(call: Call<CreateSite>) -> Result<Site, Problem> {
    let actor = call.actor();
    call.server
        .propose(actor, Command::CreateSite(call.body.clone()))
        .await?;
    Ok(call.body)
}

pub(crate) async fn list(call: Call<ListSites>) -> Result<List<Site>, Problem> {
    let limit = page::limit(call.query.limit)?;
    let after = call.query.after.as_deref().unwrap_or_default();
    let found = call.server.store.sites(after, limit + 1).await;
    page::list(found, limit, |site| site.name.to_string(), |site| site)
}

pub(crate) async fn show(call: Call<ShowSite>) -> Result<Site, Problem> {
    let site = call.server.store.site(&call.key).await;
    let site = site.map_err(|error| problem::of_store(&error))?;
    site.ok_or_else(|| problem::missing("site", call.key.as_str()))
}

pub(crate) async fn change(call: Call<ChangeSite>) -> Result<Site, Problem> {
    if call.body.name != call.key {
        return Err(Problem::new(Code::Invalid, "a site keeps its name"));
    }
    let actor = call.actor();
    call.server
        .propose(actor, Command::ChangeSite(call.body.clone()))
        .await?;
    Ok(call.body)
}

pub(crate) async fn remove(call: Call<RemoveSite>) -> Result<(), Problem> {
    let command = Command::RemoveSite {
        site: call.key.clone(),
    };
    call.server.propose(call.actor(), command).await.map(drop)
}
