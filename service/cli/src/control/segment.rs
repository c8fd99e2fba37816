use bellwether_api::routes::{ListSegments, TitleSegment};
use bellwether_api::{NoQuery, SegmentInfo, SegmentTitle};
use bellwether_types::Name;
use clap::Subcommand;

use super::access::Access;
use super::shown::{One, Row, all};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Segments: list them, and give them names.
#[derive(Debug, Subcommand)]
pub(crate) enum SegmentCommand {
    /// List the segments.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Give a segment a name for people, which it keeps whoever leads.
    Rename {
        /// Which, by its name or by what it was called before.
        segment: Name,
        /// The name.
        title: Name,
        #[command(flatten)]
        access: Access,
    },
}

impl Row for SegmentInfo {
    const ONE: &'static str = "segment.show";
    const LIST: &'static str = "segment.list";
    const HEADINGS: &'static [&'static str] =
        &["segment", "called", "subnet", "nodes", "up", "leader"];

    fn cells(&self) -> Vec<String> {
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            self.name.to_string(),
            or(self.title.as_ref().map(ToString::to_string)),
            or(self.subnet.clone()),
            self.nodes.to_string(),
            self.up.to_string(),
            or(self.leader.as_ref().map(|leader| leader.name.to_string())),
        ]
    }
}

impl SegmentCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List { access } => output.report(&all::<ListSegments, _>(&access.open()?)?)?,
            Self::Rename {
                segment,
                title,
                access,
            } => {
                let title = SegmentTitle { title };
                let shown = access
                    .open()?
                    .call::<TitleSegment>(&segment, &NoQuery {}, &title)?;
                output.report(&One(shown))?;
            }
        }
        Ok(Exit::Done)
    }
}
