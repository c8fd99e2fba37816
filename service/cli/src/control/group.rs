use bellwether_api::NoQuery;
use bellwether_api::routes::{CreateGroup, ListGroups, RemoveGroup, ShowGroup};
use bellwether_fleet::{Group, Selector};
use bellwether_types::{Name, NodeId};
use clap::{Args, Subcommand};

use super::access::Access;
use super::shown::{Done, One, Row, all, words};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Groups of nodes that receive the same content: define, list, show and forget them.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Define a group. A node belongs to it that satisfies each kind of condition; without any, every node does.
    Create(Create),
    /// List the groups.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Show a group.
    Show {
        /// Which.
        group: Name,
        #[command(flatten)]
        access: Access,
    },
    /// Forget a group.
    Remove {
        /// Which.
        group: Name,
        #[command(flatten)]
        access: Access,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it is called.
    group: Name,
    /// Whose content its nodes receive.
    #[arg(long)]
    site: Name,
    /// Only this part of it. May be given several times, as may the following.
    #[arg(long = "part", value_name = "PART")]
    parts: Vec<Name>,
    /// Nodes with this label.
    #[arg(long = "label", value_name = "LABEL=VALUE", value_parser = label)]
    labels: Vec<(Name, Name)>,
    /// Nodes of this segment.
    #[arg(long = "segment", value_name = "SEGMENT")]
    segments: Vec<Name>,
    /// This node, by its id.
    #[arg(long = "node", value_name = "ID")]
    nodes: Vec<NodeId>,
    #[command(flatten)]
    access: Access,
}

impl Row for Group {
    const ONE: &'static str = "group.show";
    const LIST: &'static str = "group.list";
    const HEADINGS: &'static [&'static str] =
        &["group", "site", "parts", "labels", "segments", "nodes"];

    fn cells(&self) -> Vec<String> {
        let Selector {
            labels,
            segments,
            nodes,
        } = &self.selector;
        vec![
            self.name.to_string(),
            self.site.to_string(),
            words(&self.parts),
            words(
                labels
                    .iter()
                    .map(|(label, value)| format!("{label}={value}")),
            ),
            words(segments),
            words(nodes),
        ]
    }
}

impl GroupCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Create(create) => create.run(output)?,
            Self::List { access } => output.report(&all::<ListGroups, _>(&access.open()?)?)?,
            Self::Show { group, access } => {
                output.report(&One(access.open()?.call::<ShowGroup>(
                    &group,
                    &NoQuery {},
                    &(),
                )?))?;
            }
            Self::Remove { group, access } => {
                access
                    .open()?
                    .call::<RemoveGroup>(&group, &NoQuery {}, &())?;
                output.report(&Done {
                    done: format!("group {group} is forgotten"),
                })?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Create {
    fn run(self, output: &Output) -> Result<(), Failure> {
        let group = Group {
            name: self.group,
            site: self.site,
            parts: self.parts.into_iter().collect(),
            selector: Selector {
                labels: self.labels.into_iter().collect(),
                segments: self.segments.into_iter().collect(),
                nodes: self.nodes.into_iter().collect(),
            },
        };
        output.report(&One(self.access.open()?.call::<CreateGroup>(
            &(),
            &NoQuery {},
            &group,
        )?))
    }
}

/// `LABEL=VALUE`.
pub(super) fn label(text: &str) -> Result<(Name, Name), String> {
    let (label, value) = text
        .split_once('=')
        .ok_or("a label is written as `tier=gold`")?;
    let name = |text: &str| text.parse::<Name>().map_err(|fault| fault.to_string());
    Ok((name(label)?, name(value)?))
}
