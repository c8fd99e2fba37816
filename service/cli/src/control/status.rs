use std::collections::BTreeMap;
use std::fmt;

use bellwether_api::routes::ShowStatus;
use bellwether_api::{NodeStatus, Page, Presence, StatusPage};
use bellwether_types::Name;
use clap::Args;
use serde::Serialize;

use super::access::Access;
use super::moment::moment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Show who is there and who serves what, by the receipts that nodes signed.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only of this site.
    site: Option<Name>,
    #[command(flatten)]
    access: Access,
}

#[derive(Serialize)]
struct Fleet {
    nodes: Vec<NodeStatus>,
}

impl Status {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let remote = self.access.open()?;
        let mut page = StatusPage {
            after: None,
            limit: Some(Page::LIMIT_MAX),
            site: self.site,
        };
        let mut nodes = Vec::new();
        loop {
            let mut list = remote.call::<ShowStatus>(&(), &page, &())?;
            nodes.append(&mut list.items);
            page.after = list.next;
            if page.after.is_none() {
                break;
            }
        }
        output.report(&Fleet { nodes })?;
        Ok(Exit::Done)
    }
}

impl Report for Fleet {
    const KIND: &'static str = "status";
}

/// The fleet by segment, then each site by version, how many nodes serve it.
impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut segments: BTreeMap<&Name, Vec<&NodeStatus>> = BTreeMap::new();
        for node in &self.nodes {
            segments.entry(&node.segment).or_default().push(node);
        }
        if segments.is_empty() {
            return f.write_str("no node has enrolled yet");
        }
        let mut sites: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for (number, (segment, nodes)) in segments.into_iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            let up = nodes.iter().filter(|node| node.presence == Presence::Up);
            write!(
                f,
                "{end}segment {segment}: {} of {} up",
                up.count(),
                nodes.len()
            )?;
            for node in nodes {
                let presence = match node.presence {
                    Presence::Up if node.leads => "leads",
                    Presence::Up => "up",
                    Presence::Down => "down",
                    Presence::Unknown => "unknown",
                };
                write!(f, "\n  {:<20} {presence:<8}", node.name.as_str())?;
                for served in &node.serves {
                    let behind = if served.behind { " (behind)" } else { "" };
                    let version = served.version.short();
                    let since = moment(served.live_ms);
                    write!(f, " {} {version} since {since}{behind}", served.site)?;
                    *sites.entry((&served.site, version)).or_default() += 1;
                }
            }
        }
        for ((site, version), nodes) in sites {
            write!(f, "\n{site} {version}: {nodes} nodes")?;
        }
        Ok(())
    }
}
