use bellwether_api::routes::{ChangeGroup, CreateGroup, ListGroups, RemoveGroup, ShowGroup};
use bellwether_api::{Code, List, Problem};
use bellwether_fleet::Group;
use bellwether_store::Command;

use super::page;
use crate::door::Call;
use crate::problem;
use crate::vault::{group_key, random};

pub(crate) async fn create(call: Call<CreateGroup>) -> Result<Group, Problem> {
    let group = call.body.clone();
    let purpose = group_key(group.name.as_str());
    let sealed_key = call.server.vault.seal(&purpose, &random::<32>());
    let command = Command::CreateGroup { group, sealed_key };
    call.server.propose(call.actor(), command).await?;
    Ok(call.body)
}

pub(crate) async fn list(call: Call<ListGroups>) -> Result<List<Group>, Problem> {
    let limit = page::limit(call.query.limit)?;
    let after = call.query.after.as_deref().unwrap_or_default();
    let found = call.server.store.groups(after, limit + 1).await;
    page::list(found, limit, |group| group.name.to_string(), |group| group)
}

pub(crate) async fn show(call: Call<ShowGroup>) -> Result<Group, Problem> {
    let group = call.server.store.group(&call.key).await;
    let group = group.map_err(|error| problem::of_store(&error))?;
    group.ok_or_else(|| problem::missing("group", call.key.as_str()))
}

pub(crate) async fn change(call: Call<ChangeGroup>) -> Result<Group, Problem> {
    if call.body.name != call.key {
        return Err(Problem::new(Code::Invalid, "a group keeps its name"));
    }
    let actor = call.actor();
    call.server
        .propose(actor, Command::ChangeGroup(call.body.clone()))
        .await?;
    Ok(call.body)
}

pub(crate) async fn remove(call: Call<RemoveGroup>) -> Result<(), Problem> {
    let command = Command::RemoveGroup {
        group: call.key.clone(),
    };
    call.server.propose(call.actor(), command).await.map(drop)
}
