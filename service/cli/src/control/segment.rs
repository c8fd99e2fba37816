use std::time::{Duration, Instant};

use bellwether_api::routes::{ChangeLeader, ListSegments, ShowNode, ShowSegment, TitleSegment};
use bellwether_api::{LeaderWanted, NoQuery, SegmentInfo, SegmentTitle};
use bellwether_types::Name;
use clap::Subcommand;

use super::access::{Access, Remote};
use super::shown::{One, Row, all};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Segments: list them, give them names, and see who leads.
#[derive(Debug, Subcommand)]
pub(crate) enum SegmentCommand {
    /// List the segments.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Show who leads a segment, or have another node lead.
    Leader {
        /// Which, by its name or by what it is called.
        segment: Name,
        /// The node that is to lead, by its name or by the beginning of its id.
        node: Option<Name>,
        /// Have the best other node lead.
        #[arg(long, conflicts_with = "node")]
        change: bool,
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
            Self::Leader {
                segment,
                node,
                change,
                access,
            } => {
                let remote = access.open()?;
                let shown = match node.is_some() || change {
                    false => remote.call::<ShowSegment>(&segment, &NoQuery {}, &())?,
                    true => change_leader(&remote, &segment, node)?,
                };
                output.report(&One(shown))?;
            }
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

/// A change of leader takes a heartbeat or two; one that does not come in this time does not come.
const CHANGE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// Asks for it, and waits until it is seen.
fn change_leader(
    remote: &Remote,
    segment: &Name,
    node: Option<Name>,
) -> Result<SegmentInfo, Failure> {
    let wanted = match &node {
        None => None,
        Some(node) => Some(remote.call::<ShowNode>(node, &NoQuery {}, &())?.id),
    };
    let body = LeaderWanted { node };
    let before = remote.call::<ChangeLeader>(segment, &NoQuery {}, &body)?;
    let former = before.leader.map(|leader| leader.node);
    let asked = Instant::now();
    loop {
        let shown = remote.call::<ShowSegment>(segment, &NoQuery {}, &())?;
        let leader = shown.leader.as_ref().map(|leader| leader.node);
        let is_done = match wanted {
            None => leader.is_some() && leader != former,
            Some(_) => leader == wanted,
        };
        if is_done {
            return Ok(shown);
        }
        if asked.elapsed() > CHANGE {
            let why = format!("segment {segment} has no other leader after {CHANGE:?}");
            return Err(Failure::new(Exit::TimedOut, why)
                .hint("the leader's log says why: `bellwether agent status` on it has more"));
        }
        std::thread::sleep(LOOK);
    }
}
