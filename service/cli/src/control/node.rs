use bellwether_api::routes::{LabelNode, ListNodes, MoveNode, RemoveNode};
use bellwether_api::{NoQuery, NodeInfo, NodeLabels, NodePlace, NodesPage, Page, Presence};
use bellwether_types::Name;
use clap::Subcommand;

use super::access::Access;
use super::group::label;
use super::shown::{Done, Listing, One, Row, words};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Nodes: list, label, move and put them out.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes.
    List {
        /// Only those of this group.
        #[arg(long)]
        group: Option<Name>,
        /// Only those of this segment.
        #[arg(long)]
        segment: Option<Name>,
        #[command(flatten)]
        access: Access,
    },
    /// Give a node labels (`tier=gold`), and take some away (`tier-`).
    Label {
        /// Which, by its name or by the beginning of its id.
        node: Name,
        /// The labels.
        #[arg(required = true, value_name = "LABEL=VALUE|LABEL-", value_parser = change)]
        labels: Vec<(Name, Option<Name>)>,
        #[command(flatten)]
        access: Access,
    },
    /// Say that a node belongs to another segment.
    Move {
        /// Which, by its name or by the beginning of its id.
        node: Name,
        /// The segment.
        segment: Name,
        #[command(flatten)]
        access: Access,
    },
    /// Put a node out: its certificate counts no more, at once.
    Remove {
        /// Which, by its name or by the beginning of its id.
        node: Name,
        #[command(flatten)]
        access: Access,
    },
}

impl Row for NodeInfo {
    const ONE: &'static str = "node.show";
    const LIST: &'static str = "node.list";
    const HEADINGS: &'static [&'static str] =
        &["node", "id", "segment", "presence", "labels", "addresses"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.id.to_string(),
            self.segment.to_string(),
            presence(self).to_owned(),
            words(
                self.labels
                    .iter()
                    .map(|(label, value)| format!("{label}={value}")),
            ),
            words(&self.addresses),
        ]
    }
}

fn presence(node: &NodeInfo) -> &'static str {
    match node.presence {
        Presence::Up if node.leads => "leads",
        Presence::Up => "up",
        Presence::Down => "down",
        Presence::Unknown => "unknown",
    }
}

impl NodeCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List {
                group,
                segment,
                access,
            } => {
                let remote = access.open()?;
                let limit = Some(Page::LIMIT_MAX);
                let mut page = NodesPage {
                    after: None,
                    limit,
                    group,
                    segment,
                };
                let mut items = Vec::new();
                loop {
                    let mut list = remote.call::<ListNodes>(&(), &page, &())?;
                    items.append(&mut list.items);
                    page.after = list.next;
                    if page.after.is_none() {
                        break;
                    }
                }
                output.report(&Listing { items })?;
            }
            Self::Label {
                node,
                labels,
                access,
            } => {
                let mut body = NodeLabels::default();
                for (label, value) in labels {
                    match value {
                        Some(value) => drop(body.set.insert(label, value)),
                        None => drop(body.unset.insert(label)),
                    }
                }
                let shown = access
                    .open()?
                    .call::<LabelNode>(&node, &NoQuery {}, &body)?;
                output.report(&One(shown))?;
            }
            Self::Move {
                node,
                segment,
                access,
            } => {
                let place = NodePlace { segment };
                let shown = access
                    .open()?
                    .call::<MoveNode>(&node, &NoQuery {}, &place)?;
                output.report(&One(shown))?;
            }
            Self::Remove { node, access } => {
                access.open()?.call::<RemoveNode>(&node, &NoQuery {}, &())?;
                output.report(&Done {
                    done: format!("node {node} is put out"),
                })?;
            }
        }
        Ok(Exit::Done)
    }
}

/// `LABEL=VALUE`, or `LABEL-` for one that goes.
fn change(text: &str) -> Result<(Name, Option<Name>), String> {
    match text.strip_suffix('-') {
        Some(gone) if !gone.contains('=') => {
            let label = gone
                .parse()
                .map_err(|fault: bellwether_types::NameError| fault.to_string())?;
            Ok((label, None))
        }
        _ => label(text).map(|(label, value)| (label, Some(value))),
    }
}
