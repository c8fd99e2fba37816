use std::collections::BTreeSet;
use std::fmt;

use bellwether_fleet::{Group, Labels, Site};
use bellwether_scheduling::Step;
use bellwether_types::{Name, NodeId, SitePart, VersionId};
use serde::{Deserialize, Serialize};

use crate::authority::Authority;
use crate::bytes::Bytes;
use crate::job::{self, NewJob};
use crate::node::{Certificate, Enrolment};
use crate::observation::Observation;
use crate::segment::NewKey;
use crate::token::NewToken;

/// A command in the log: who wants it, and what time it was for whoever put it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    format: u32,
    /// Milliseconds since 1970, by the clock of the server that proposed it.
    pub at_ms: i64,
    /// Who wants it.
    pub actor: Actor,
    /// What.
    pub command: Command,
}

/// Who wants a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// The server itself.
    Server,
    /// The bearer of a token.
    Token {
        /// The token's id.
        id: Name,
        /// What it is called.
        name: String,
    },
    /// A node, by its certificate.
    Node(NodeId),
}

/// A change of what is kept. Variants are only ever added, and fields only with a default: an old log stays readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Makes the installation: the first command, once.
    Begin {
        /// Its authority.
        authority: Authority,
        /// The tokens it begins with.
        tokens: Vec<NewToken>,
    },
    /// Gives a token.
    CreateToken(NewToken),
    /// Takes a token away.
    RevokeToken {
        /// Which.
        id: Name,
    },
    /// Defines a site.
    CreateSite(Site),
    /// Defines it anew.
    ChangeSite(Site),
    /// Forgets a site that no group names.
    RemoveSite {
        /// Which.
        site: Name,
    },
    /// Defines a group.
    CreateGroup {
        /// The group.
        group: Group,
        /// The key of its content, sealed.
        sealed_key: Bytes,
    },
    /// Defines it anew; its key stays.
    ChangeGroup(Group),
    /// Forgets a group.
    RemoveGroup {
        /// Which.
        group: Name,
    },
    /// Makes a version, all of whose content is kept, the latest of a part of a site.
    KeepVersion {
        /// Whose content.
        site: SitePart,
        /// Which.
        version: VersionId,
        /// Its files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Gives a segment a name for people (CLUSTER-07).
    TitleSegment {
        /// Which.
        segment: Name,
        /// What people call it.
        title: Name,
    },
    /// Asks for another leader of a segment. Nothing that is kept changes but the audit: who leads, nodes say.
    ChangeLeader {
        /// Which.
        segment: Name,
        /// Who shall lead; `None` is the best other one.
        to: Option<NodeId>,
    },
    /// Lets a segment's nodes know the key that comes next.
    AnnounceKey {
        /// Which.
        segment: Name,
        /// The key.
        key: NewKey,
    },
    /// Makes the announced key the segment's current one; the former one is still accepted.
    AdvanceKey {
        /// Which.
        segment: Name,
    },
    /// Ends the former key.
    RetireKey {
        /// Which.
        segment: Name,
    },
    /// Takes a node in, or once more if it has the same key.
    Enrol(Enrolment),
    /// Gives a node another certificate.
    Renew {
        /// Which.
        node: NodeId,
        /// Its Ed25519 public key from now on.
        key: [u8; 32],
        /// The certificate.
        certificate: Certificate,
    },
    /// Gives a node labels, and takes some away.
    LabelNode {
        /// Which.
        node: NodeId,
        /// Those it has from now on.
        set: Labels,
        /// Those it has no more.
        unset: BTreeSet<Name>,
    },
    /// Says that a node belongs to another segment, which there is.
    MoveNode {
        /// Which.
        node: NodeId,
        /// Where it belongs.
        segment: Name,
    },
    /// Puts a node out: its certificates count no more.
    RemoveNode {
        /// Which.
        node: NodeId,
    },
    /// Tells of nodes and segments what their leaders said.
    Observe(Observation),
    /// Asks for a job.
    CreateJob(NewJob),
    /// Tells of a job what happened, at the time of the entry; [`Command::keep_step`] makes it.
    KeepStep {
        /// The job.
        job: Name,
        /// What, encoded.
        step: Bytes,
    },
    /// Keeps what nodes signed that they serve ([`kept`](crate::kept)). That they signed it was looked at.
    KeepReceipts(Vec<Bytes>),
}

impl Entry {
    /// The format of entries that this release writes, and the newest it reads.
    pub const FORMAT: u32 = 1;

    /// An entry of the current format.
    pub const fn new(at_ms: i64, actor: Actor, command: Command) -> Self {
        Self {
            format: Self::FORMAT,
            at_ms,
            actor,
            command,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Token { id, name } => write!(f, "token {id} ({name})"),
            Self::Node(node) => write!(f, "node {node}"),
        }
    }
}

impl Command {
    /// Whether it says how nodes, segments, sites and groups are to be; what merely happens to them does not.
    pub(crate) const fn defines(&self) -> bool {
        !matches!(
            self,
            Self::Observe(_)
                | Self::CreateJob(_)
                | Self::KeepStep { .. }
                | Self::KeepReceipts(_)
                | Self::KeepVersion { .. }
                | Self::ChangeLeader { .. }
        )
    }

    /// Tells of a job what happened.
    pub fn keep_step(job: Name, step: &Step) -> Self {
        let step = job::encoded(step);
        Self::KeepStep { job, step }
    }

    /// Whether somebody wished for it; what is merely noted leaves no line in the audit.
    pub(crate) const fn is_wish(&self) -> bool {
        !matches!(self, Self::Observe(_) | Self::KeepReceipts(_))
    }

    /// What is done, in a stable word; and to what.
    pub fn action(&self) -> (&'static str, String) {
        match self {
            Self::Begin { .. } => ("server.begin", String::new()),
            Self::CreateToken(token) => ("token.create", token.id.to_string()),
            Self::RevokeToken { id } => ("token.revoke", id.to_string()),
            Self::CreateSite(site) => ("site.create", site.name.to_string()),
            Self::ChangeSite(site) => ("site.change", site.name.to_string()),
            Self::RemoveSite { site } => ("site.remove", site.to_string()),
            Self::CreateGroup { group, .. } => ("group.create", group.name.to_string()),
            Self::ChangeGroup(group) => ("group.change", group.name.to_string()),
            Self::RemoveGroup { group } => ("group.remove", group.to_string()),
            Self::KeepVersion { site, .. } => ("version.keep", site.to_string()),
            Self::TitleSegment { segment, .. } => ("segment.rename", segment.to_string()),
            Self::ChangeLeader { segment, to } => ("segment.change-leader", aimed(segment, *to)),
            Self::AnnounceKey { segment, .. } => ("segment.announce-key", segment.to_string()),
            Self::AdvanceKey { segment } => ("segment.advance-key", segment.to_string()),
            Self::RetireKey { segment } => ("segment.retire-key", segment.to_string()),
            Self::Enrol(enrolment) => ("node.enrol", enrolment.node.to_string()),
            Self::Renew { node, .. } => ("node.renew", node.to_string()),
            Self::LabelNode { node, .. } => ("node.label", node.to_string()),
            Self::MoveNode { node, .. } => ("node.move", node.to_string()),
            Self::RemoveNode { node } => ("node.remove", node.to_string()),
            Self::Observe(_) => ("fleet.observe", String::new()),
            Self::CreateJob(job) => ("job.create", job.group.to_string()),
            Self::KeepStep { job, step } => (job::word(step), job.to_string()),
            Self::KeepReceipts(_) => ("receipt.keep", String::new()),
        }
    }
}

fn aimed(segment: &Name, to: Option<NodeId>) -> String {
    match to {
        None => segment.to_string(),
        Some(node) => format!("{segment} {node}"),
    }
}
