use axum::body::Body;
use bellwether_api::routes::{KeepVersion, ListVersions, PlanSite};
use bellwether_api::{
    Code, GroupPlan, List, PartPlan, Problem, SitePlan, TreeWanted, VersionInfo, VersionKept,
    VersionsKept,
};
use bellwether_content::{Entry, Manifest};
use bellwether_fleet::{Group, Site};
use bellwether_store::{Command, Node, Version};
use bellwether_types::{Name, SitePart, VersionId};

use super::page;
use crate::door::{self, Call};
use crate::problem;
use crate::server::Server;
use crate::works::{blocking, split};

/// The longest manifest that is taken in: some two million files.
const MANIFEST_LEN_MAX: usize = 256 << 20;
/// Nodes that are looked at together.
const NODES_AT_ONCE: u32 = 1_000;

/// Makes a tree the latest version of each part of a site.
pub(crate) async fn keep(call: Call<KeepVersion>, body: Body) -> Result<VersionsKept, Problem> {
    let server = &call.server;
    let site = site(server, &call.key).await?;
    let groups = groups(server, &site).await?;
    let manifest = tree(server, &site, call.query, body, true).await?;
    // Nobody else's version comes between the latest and the one that follows it.
    let _mine = server.works.keeping.lock().await;
    let mut kept = Vec::new();
    for (part, manifest) in split(&site, manifest) {
        let latest = latest(server, &part).await?;
        if latest.is_none() && manifest.is_empty() && !site.parts.is_empty() {
            // Nothing of this part was there ever.
            continue;
        }
        let version = server.works.keep(manifest, latest).await;
        let version = version.map_err(|error| problem::of_depot(&error))?;
        kept.push((part, latest != Some(version.version), version));
    }
    let mut parts = Vec::with_capacity(kept.len());
    for (part, changed, kept) in kept {
        if changed {
            let command = Command::KeepVersion {
                site: part.clone(),
                version: kept.version,
                files: kept.files,
                bytes: kept.bytes,
            };
            server.propose(call.actor(), command).await?;
        }
        let groups = groups.iter().filter(|group| serves(group, &part));
        parts.push(VersionKept {
            groups: groups.map(|group| group.name.clone()).collect(),
            site: part,
            version: kept.version,
            changed,
            files: kept.files,
            bytes: kept.bytes,
        });
    }
    Ok(VersionsKept { parts })
}

pub(crate) async fn list(call: Call<ListVersions>) -> Result<List<VersionInfo>, Problem> {
    let server = &call.server;
    site(server, &call.key).await?;
    let limit = page::limit(call.query.limit)?;
    let before = call.query.before.unwrap_or(u64::MAX);
    let found = server.store.versions(&call.key, before, limit + 1).await;
    let show = |version: Version| VersionInfo {
        number: version.number,
        site: version.site,
        version: version.version,
        files: version.files,
        bytes: version.bytes,
        kept_ms: version.kept_ms,
    };
    page::list(found, limit, |version| version.number.to_string(), show)
}

/// Tells what keeping a tree, and bringing it to the site's nodes, would change.
pub(crate) async fn plan(call: Call<PlanSite>, body: Body) -> Result<SitePlan, Problem> {
    let server = &call.server;
    let site = site(server, &call.key).await?;
    let groups = groups(server, &site).await?;
    let manifest = tree(server, &site, call.query, body, false).await?;
    let counts = counts(server, &groups).await?;
    let mut parts = Vec::new();
    for (part, manifest) in split(&site, manifest) {
        let base = latest(server, &part).await?;
        if base.is_none() && manifest.is_empty() && !site.parts.is_empty() {
            continue;
        }
        let compared = server.works.compare(manifest, base).await;
        let compared = compared.map_err(|error| problem::of_depot(&error))?;
        let counted = groups.iter().zip(&counts);
        let counted = counted.filter(|(group, _)| serves(group, &part));
        parts.push(PartPlan {
            groups: counted
                .map(|(group, nodes)| GroupPlan {
                    group: group.name.clone(),
                    nodes: u64::from(*nodes),
                    quorum_before: site.policy.quorum_before.of(*nodes).into(),
                    quorum_after: site.policy.quorum_after.of(*nodes).into(),
                })
                .collect(),
            site: part,
            base,
            target: compared.target.version,
            changes: compared.changes,
            bytes: compared.bytes,
            content_bytes: compared.target.bytes,
        });
    }
    Ok(SitePlan { parts })
}

pub(super) async fn site(server: &Server, name: &Name) -> Result<Site, Problem> {
    let site = server.store.site(name).await;
    let site = site.map_err(|error| problem::of_store(&error))?;
    site.ok_or_else(|| problem::missing("site", name.as_str()))
}

/// The manifest that a body is.
pub(super) async fn read(server: &Server, body: Body) -> Result<Manifest, Problem> {
    let place = server.works.manifests.acquire().await;
    let _place = place.expect("nobody closes it");
    let bytes = door::read_all(body, MANIFEST_LEN_MAX).await?;
    let decoded = blocking(move || Manifest::decode(&bytes)).await;
    decoded.map_err(|fault| {
        Problem::new(
            Code::Invalid,
            format!("the body is no manifest: {}", problem::chain(&fault)),
        )
        .hint("docs/formats.md tells how a manifest is encoded")
    })
}

/// The tree that is wanted, by its manifest or of the site's staging source; with its contents if they are `taken`.
async fn tree(
    server: &Server,
    site: &Site,
    wanted: TreeWanted,
    body: Body,
    taken: bool,
) -> Result<Manifest, Problem> {
    let manifest = if wanted.scan {
        if door::read_all(body, 0).await.is_err() {
            let message = "either the body is a manifest, or the server scans";
            return Err(Problem::new(Code::Malformed, message));
        }
        let Some(source) = &site.source else {
            let message = format!("site {} has no staging source on this server", site.name);
            return Err(Problem::new(Code::Invalid, message).hint(format!(
                "`bellwether publish {} DIR` publishes a directory of yours",
                site.name
            )));
        };
        let scanned = server.works.scan(&site.name, source, taken).await;
        scanned.map_err(|error| problem::of_staging(&error))?
    } else {
        read(server, body).await?
    };
    let is_content = |entry: &Entry| !matches!(entry, Entry::Directory { .. });
    if !wanted.allow_empty && !manifest.iter().any(|(_, entry)| is_content(entry)) {
        let message = format!(
            "the tree is empty: all content of site {} would go",
            site.name
        );
        return Err(Problem::new(Code::Invalid, message)
            .hint("if that is meant, `--allow-empty` (`allow_empty=true`) says so"));
    }
    Ok(manifest)
}

async fn latest(server: &Server, part: &SitePart) -> Result<Option<VersionId>, Problem> {
    let latest = server.store.latest_version(part).await;
    let latest = latest.map_err(|error| problem::of_store(&error))?;
    Ok(latest.map(|latest| latest.version))
}

/// The groups of a site, of which there must be one: nobody else would receive it.
pub(super) async fn groups(server: &Server, site: &Site) -> Result<Vec<Group>, Problem> {
    let groups = server.store.groups_of(&site.name).await;
    let groups = groups.map_err(|error| problem::of_store(&error))?;
    if groups.is_empty() {
        let message = format!("no group names site {}: nobody would receive it", site.name);
        return Err(Problem::new(Code::Conflict, message).hint(format!(
            "`bellwether group create NAME --site {}` says which nodes do",
            site.name
        )));
    }
    Ok(groups)
}

fn serves(group: &Group, part: &SitePart) -> bool {
    group.parts.is_empty() || group.parts.contains(&part.part)
}

/// How many nodes each group selects.
async fn counts(server: &Server, groups: &[Group]) -> Result<Vec<u32>, Problem> {
    let mut counts = vec![0; groups.len()];
    let mut after = String::new();
    loop {
        let nodes = server.store.nodes(&after, NODES_AT_ONCE).await;
        let nodes: Vec<Node> = nodes.map_err(|error| problem::of_store(&error))?;
        let Some(last) = nodes.last() else {
            return Ok(counts);
        };
        after = last.id.to_string();
        for node in &nodes {
            for (group, count) in groups.iter().zip(&mut counts) {
                let selected = group
                    .selector
                    .selects(&node.id, &node.segment, &node.labels);
                *count += u32::from(selected);
            }
        }
    }
}
