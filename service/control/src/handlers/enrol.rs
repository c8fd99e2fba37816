use std::collections::{BTreeMap, BTreeSet};

use bellwether_api::routes::{Enrol, Renew, ShowSettings};
use bellwether_api::{
    Certified, Code, GroupKey, NodeSettings, Page, Problem, ServedSite, SettingsKey,
};
use bellwether_fleet::Role;
use bellwether_store::{Certificate, Command, Enrolment, KeyPlace};
use bellwether_types::{Name, NodeId};
use bellwether_wire::{ContentKey, PublicKey};
use time::OffsetDateTime;

use crate::authority::{Issued, Request, fingerprint};
use crate::door::{Call, Caller};
use crate::keys;
use crate::problem;
use crate::server::Server;
use crate::subnet::NodeAddress;
use crate::vault;

const ADDRESSES_MAX: usize = 16;
/// Peers that a node is told of; the segment's leader tells it of the rest.
const PEERS_MAX: u32 = 64;

/// Takes a node in.
pub(crate) async fn enrol(call: Call<Enrol>) -> Result<Certified, Problem> {
    let Caller::Bearer(token) = &call.caller else {
        return Err(Problem::new(
            Code::Unauthenticated,
            "this needs a join token",
        ));
    };
    if token.role != Role::Node {
        let message = format!(
            "the token is for the role {}, and admits no node",
            token.role
        );
        return Err(Problem::new(Code::Forbidden, message)
            .hint("`bellwether token create --role node` gives one that does"));
    }
    let (server, asked) = (&call.server, &call.body);
    if asked.addresses.len() > ADDRESSES_MAX {
        let message = format!("a node names at most {ADDRESSES_MAX} addresses");
        return Err(Problem::new(Code::Invalid, message));
    }
    let addresses: Result<Vec<NodeAddress>, _> =
        asked.addresses.iter().map(|text| text.parse()).collect();
    let addresses = addresses.map_err(|fault| Problem::new(Code::Invalid, fault.to_string()))?;
    let first = addresses.first();
    let (request, key) = read(&asked.request)?;
    let issued = issue(server, asked.node, &request)?;
    let enrolment = Enrolment {
        node: asked.node,
        name: asked.name.clone(),
        addresses: asked.addresses.clone(),
        token: token.id.clone(),
        segment: first.map_or_else(|| asked.name.clone(), NodeAddress::segment),
        subnet: first.map(NodeAddress::subnet),
        segment_key: keys::make(&server.vault),
        key: key.to_bytes(),
        certificate: certificate(&issued),
    };
    server
        .propose(call.actor(), Command::Enrol(enrolment))
        .await?;
    certified(server, asked.node, issued).await
}

/// Replaces the certificate of a node.
pub(crate) async fn renew(call: Call<Renew>) -> Result<Certified, Problem> {
    let node = node(&call.caller)?;
    let (request, key) = read(&call.body.request)?;
    let issued = issue(&call.server, node, &request)?;
    let command = Command::Renew {
        node,
        key: key.to_bytes(),
        certificate: certificate(&issued),
    };
    call.server.propose(call.actor(), command).await?;
    certified(&call.server, node, issued).await
}

/// What a node is to know.
pub(crate) async fn settings(call: Call<ShowSettings>) -> Result<NodeSettings, Problem> {
    of_node(&call.server, node(&call.caller)?).await
}

async fn certified(server: &Server, node: NodeId, issued: Issued) -> Result<Certified, Problem> {
    Ok(Certified {
        certificate: issued.pem,
        authority: server.authority.pem().to_owned(),
        ends_ms: issued.ends_ms,
        settings: of_node(server, node).await?,
    })
}

async fn of_node(server: &Server, id: NodeId) -> Result<NodeSettings, Problem> {
    let store = &server.store;
    let of_store = |error| problem::of_store(&error);
    let gone = || problem::missing("node", &id.to_string());
    let node = store.node(id).await.map_err(of_store)?.ok_or_else(gone)?;
    let segment = store
        .segment(&node.segment)
        .await
        .map_err(of_store)?
        .ok_or_else(gone)?;
    let others = store
        .nodes_of(&node.segment, PEERS_MAX + 1)
        .await
        .map_err(of_store)?;
    let peers = others
        .iter()
        .filter(|other| other.id != id)
        .filter_map(|other| {
            let address: NodeAddress = other.addresses.first()?.parse().ok()?;
            Some(address.address.to_string())
        });
    let mut served: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
    let mut keys = Vec::new();
    let mut after = String::new();
    loop {
        let groups = store
            .groups(&after, Page::LIMIT_MAX)
            .await
            .map_err(of_store)?;
        let Some(last) = groups.last() else { break };
        after = last.name.to_string();
        for group in groups {
            if !group.selector.selects(&id, &node.segment, &node.labels) {
                continue;
            }
            let Some(sealed) = store.group_key(&group.name).await.map_err(of_store)? else {
                continue;
            };
            let purpose = vault::group_key(group.name.as_str());
            let key = server.vault.open_key(&purpose, &sealed);
            let key = key.map_err(|fault| problem::internal(&fault))?;
            let key = ContentKey::from_bytes(key).to_text();
            keys.push(GroupKey {
                group: group.name,
                key,
                site: Some(group.site.clone()),
                parts: group.parts.clone(),
            });
            let Some(site) = store.site(&group.site).await.map_err(of_store)? else {
                continue;
            };
            let parts = served.entry(site.name).or_default();
            match group.parts.is_empty() {
                true => {
                    parts.insert("all".parse().expect("a name by its letters"));
                    parts.extend(site.parts.into_iter().map(|part| part.name));
                }
                false => parts.extend(group.parts),
            }
        }
    }
    let mut sites = Vec::with_capacity(served.len());
    for (name, parts) in served {
        let Some(site) = store.site(&name).await.map_err(of_store)? else {
            continue;
        };
        sites.push(ServedSite {
            site: name,
            parts,
            rules: site.parts,
            commit: site.policy.commit,
        });
    }
    let put_out = store.put_out(&segment.name).await.map_err(of_store)?;
    let settings = NodeSettings {
        number: segment.settings,
        keys: segment_keys(server, &segment.name).await?,
        segment: segment.name,
        peers: peers.collect(),
        signing_key: server.signing.public().to_text(),
        sites,
        groups: keys,
        put_out,
    };
    server.handed.note(id, settings.number);
    Ok(settings)
}

async fn segment_keys(server: &Server, segment: &Name) -> Result<SettingsKey, Problem> {
    let kept = server.store.segment_keys(segment).await;
    let mut keys = BTreeMap::new();
    for key in kept.map_err(|error| problem::of_store(&error))? {
        let line = server.vault.open(&vault::segment_key(&key.id), &key.sealed);
        let line = line.map_err(|fault| problem::internal(&fault))?;
        keys.insert(key.place, String::from_utf8_lossy(&line).into_owned());
    }
    Ok(SettingsKey {
        current: keys
            .remove(&KeyPlace::Current)
            .ok_or_else(|| problem::missing("key of segment", segment.as_str()))?,
        previous: keys.remove(&KeyPlace::Previous),
        next: keys.remove(&KeyPlace::Next),
    })
}

fn node(caller: &Caller) -> Result<NodeId, Problem> {
    match caller {
        Caller::Node(node) => Ok(*node),
        Caller::Anyone | Caller::Bearer(_) => Err(Problem::new(
            Code::Unauthenticated,
            "this needs the certificate of a node",
        )),
    }
}

fn read(request: &str) -> Result<(Request, PublicKey), Problem> {
    let invalid = |fault: String| Problem::new(Code::Invalid, fault);
    let request = Request::read(request)
        .map_err(|fault| invalid(format!("the request for a certificate is none: {fault}")))?;
    let key = request.key();
    let key = key.ok_or_else(|| invalid("the key of a node is an Ed25519 key".to_owned()))?;
    Ok((request, key))
}

fn issue(server: &Server, node: NodeId, request: &Request) -> Result<Issued, Problem> {
    let issued = server
        .authority
        .node(node, request, OffsetDateTime::now_utc());
    issued.map_err(|fault| problem::internal(&fault))
}

fn certificate(issued: &Issued) -> Certificate {
    Certificate {
        fingerprint: fingerprint(&issued.der),
        ends_ms: issued.ends_ms,
    }
}
