//! What is simulated: how many nodes, on what network, by what rules they are disturbed, and what is expected of them.
//!
//! A scenario says nothing about one run; the run that a seed draws from it is a plan.

mod named;
mod quantity;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bellwether_types::{Classic, Fast, TimingError};
use serde::Deserialize;
use toml::Spanned;

pub use named::NAMES;
pub use quantity::{Between, Percent, Span};

/// What is simulated. Fields of a file; those left out have the values of [`Scenario::default`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Scenario {
    /// Nodes in all, shared out evenly among the segments.
    pub nodes: u32,
    /// Segments; no datagram leaves its own.
    pub segments: u32,
    /// The nodes start within this time.
    pub start: Span,
    /// How long the disturbances go on.
    pub troubled: Span,
    /// Each seed draws its own selection of the disturbances, and its own numbers of nodes up to those given.
    pub swarm: bool,
    /// Every node has the same priority.
    pub equal_priorities: bool,
    /// How the nodes are set.
    pub protocol: Protocol,
    /// The network between them.
    pub network: Network,
    /// The nodes themselves.
    pub machine: Machine,
    /// By which rules they are disturbed.
    pub faults: BTreeMap<FaultKind, Spanned<Rule>>,
    /// What must come true when the disturbances are over.
    pub expect: Expect,
}

/// How the nodes are set.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Protocol {
    /// Whose values and ranges the spans have.
    pub timing: Timing,
    /// From one LeaderAlive to the next; by default that of the timing.
    pub heartbeat: Option<Span>,
    /// Whether a claim is sent at the trigger or after the wait (ELECT-32).
    pub profile: Profile,
    /// How what is for all reaches them.
    pub reach: Reach,
}

/// How what is for all reaches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// By multicast.
    Multicast,
    /// One by one: the network has no multicast, and every node is told of three others.
    Peers,
}

/// The family of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timing {
    /// Failover in a few heartbeats.
    Fast,
    /// The seconds of the requirements.
    Classic,
}

/// When a claim is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// When the monitor triggers.
    Claim,
    /// When the claim wait is over.
    Quiet,
}

/// What a link does to datagrams.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Network {
    /// One way; each pair of nodes has its own.
    pub delay: Between,
    /// Added at random to each datagram.
    pub jitter: Span,
    /// How many datagrams are lost, at each receiver for itself.
    pub loss: Percent,
    /// How many come twice.
    pub duplicate: Percent,
    /// How many are held up by ten times delay and jitter, so that later ones overtake them.
    pub reorder: Percent,
    /// The largest packet in bytes; what is larger travels in pieces, and any of them may be lost.
    pub mtu: u16,
}

/// What a node is like.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Machine {
    /// Each clock runs too fast or too slow by up to this much.
    pub drift: Percent,
    /// How long the disk takes to make something durable; the process waits.
    pub disk: Between,
}

/// A way to disturb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// A node dies, and starts again when the time is over.
    Crash,
    /// The same in the middle of what a node was about to do: after a random one of its next outputs.
    CrashMidway,
    /// The same in the middle of a merge: whoever sends a random one of its next messages first.
    CrashMerging,
    /// All nodes of a segment die at once.
    Blackout,
    /// A process is stopped, and goes on where it was; what came meanwhile waits in its socket.
    Pause,
    /// A segment falls into two parts, or more.
    Partition,
    /// Some nodes are not heard by the others, but hear them.
    OneWay,
    /// Two parts do not hear each other, and some nodes hear both.
    Bridge,
    /// Multicast no longer reaches a node; unicast does.
    Deaf,
    /// Multicast reaches nobody in the segment any more; unicast does.
    MulticastCut,
    /// More datagrams are lost.
    Loss,
    /// Datagrams take longer.
    Delay,
    /// The leader is ordered to step down.
    StepDown,
    /// A node says farewell and stops; it starts again when the time is over.
    Leave,
    /// The leader is ordered to move the segment to another control channel.
    Move,
    /// Whoever leads is ordered to set up a content group, of which all must know in the end.
    SetGroup,
    /// Somebody without the key repeats, damages and invents datagrams.
    Forge,
}

/// How often, how long and whom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// From one to the next, in each segment.
    pub every: Between,
    /// How long it lasts; nothing for what is over at once.
    #[serde(default)]
    pub lasts: Between,
    /// Who is struck, of those kinds that strike one.
    #[serde(default)]
    pub who: Who,
    /// What those who crash find on their disk when they start again.
    #[serde(default)]
    pub disk: DiskFate,
    /// Of `loss`: how many more datagrams are lost.
    pub percent: Option<Percent>,
    /// Of `delay`: how much longer they take.
    pub added: Option<Between>,
    /// Of `partition`: how many parts; 2 unless said.
    pub parts: Option<u8>,
    /// Of `forge`: datagrams a second.
    pub rate: Option<u32>,
}

/// Who is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Now the leader, now anyone.
    #[default]
    Either,
    /// Anyone.
    Anyone,
    /// Who leads then, if anybody does.
    Leader,
}

/// What a crash leaves on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFate {
    /// Now kept, now wiped.
    Either,
    /// What was persisted is there.
    #[default]
    Kept,
    /// Nothing is.
    Wiped,
}

/// What must come true.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Expect {
    /// Within this time after the last disturbance every segment has one leader whom all obey, and keeps it.
    pub settled: Span,
    /// The run is over when all segments have been settled for this long.
    pub calm: Span,
    /// When all are settled the leader is the node of the highest priority.
    pub best: bool,
    /// When a leader dies, the best of the others is the next.
    pub heir: bool,
    /// The processes know their segment's members: all must know the same, and all of them, and so must the control
    /// server.
    pub members: bool,
    /// Every content group that was ever set up is known in the end.
    pub groups: bool,
    /// Multicast may still be cut when all must be settled. Not for scenarios in which nodes start meanwhile: they find
    /// nobody.
    pub without_multicast: bool,
}

/// A scenario that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read the scenario {path}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is no scenario.
    #[error("the scenario {name} is wrong{place}: {message}", place = place(*.line))]
    Wrong {
        /// Its name.
        name: String,
        /// Where, if it is in one place.
        line: Option<usize>,
        /// What is wrong with it.
        message: String,
    },
}

fn place(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" in line {line}"))
}

/// Nodes that a run may have.
pub const NODES_MAX: u32 = 60_000;

/// Nodes that a segment may have.
pub const SEGMENT_NODES_MAX: u32 = 4_096;

impl Scenario {
    /// The scenario of a built-in name, or of a file.
    pub fn load(name: &str) -> Result<Self, ScenarioError> {
        if let Some(text) = named::text(name) {
            return Self::parse(name, text);
        }
        let read = std::fs::read_to_string(Path::new(name));
        let text = read.map_err(|source| ScenarioError::Read {
            path: name.to_owned(),
            source,
        })?;
        Self::parse(name, &text)
    }

    /// The scenario that a text describes.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        let wrong = |span: Option<Range<usize>>, message: String| ScenarioError::Wrong {
            name: name.to_owned(),
            line: span.map(|span| line_of(text, span.start)),
            message,
        };
        let scenario: Self = toml::from_str(text)
            .map_err(|error| wrong(error.span(), error.message().to_owned()))?;
        for (kind, rule) in &scenario.faults {
            check_rule(*kind, rule.get_ref())
                .map_err(|message| wrong(Some(rule.span()), message.to_owned()))?;
        }
        scenario.check().map_err(|message| wrong(None, message))?;
        Ok(scenario)
    }

    /// What the fields must be to each other.
    pub fn check(&self) -> Result<(), String> {
        let Self {
            nodes, segments, ..
        } = *self;
        if nodes == 0 || nodes > NODES_MAX {
            return Err(format!("{nodes} nodes: it must be 1 to {NODES_MAX}"));
        }
        if segments == 0 || segments > nodes {
            return Err(format!(
                "{segments} segments: it must be 1 to the number of nodes, {nodes}"
            ));
        }
        let most = nodes.div_ceil(segments);
        if most > SEGMENT_NODES_MAX {
            return Err(format!(
                "{most} nodes in a segment: it must be up to {SEGMENT_NODES_MAX}"
            ));
        }
        self.protocol.spans().map_err(|error| error.to_string())?;
        if self.network.mtu < 576 {
            return Err(format!(
                "an mtu of {}: it must be 576 or more",
                self.network.mtu
            ));
        }
        Ok(())
    }
}

impl Protocol {
    /// Every span that follows from the settings.
    pub fn spans(&self) -> Result<bellwether_types::Timing, TimingError> {
        let heartbeat = self.heartbeat.map(|span| span.0);
        match self.timing {
            Timing::Fast => {
                let mut fast = Fast::default();
                fast.heartbeat = heartbeat.unwrap_or(fast.heartbeat);
                bellwether_types::Timing::fast(fast)
            }
            Timing::Classic => {
                let mut classic = Classic::default();
                classic.heartbeat = heartbeat.unwrap_or(classic.heartbeat);
                bellwether_types::Timing::classic(classic)
            }
        }
    }
}

fn check_rule(kind: FaultKind, rule: &Rule) -> Result<(), &'static str> {
    let only = |wanted, given: bool, message| {
        if given == (kind == wanted) {
            Ok(())
        } else {
            Err(message)
        }
    };
    only(
        FaultKind::Loss,
        rule.percent.is_some(),
        "`percent` belongs to `loss`, and to it alone",
    )?;
    only(
        FaultKind::Delay,
        rule.added.is_some(),
        "`added` belongs to `delay`, and to it alone",
    )?;
    only(
        FaultKind::Forge,
        rule.rate.is_some(),
        "`rate` belongs to `forge`, and to it alone",
    )?;
    if rule.parts.is_some() && kind != FaultKind::Partition {
        return Err("`parts` belongs to `partition`, and to it alone");
    }
    if rule.parts.is_some_and(|parts| !(2..=32).contains(&parts)) {
        return Err("`parts` must be 2 to 32");
    }
    if rule.rate.is_some_and(|rate| rate == 0 || rate > 1_000_000) {
        return Err("`rate` must be 1 to 1000000");
    }
    if rule.every.min.0 < Span::from_millis(1).0 {
        return Err("`every` must be a millisecond or more");
    }
    Ok(())
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            nodes: 5,
            segments: 1,
            start: Span::from_millis(100),
            troubled: Span::from_secs(60),
            swarm: false,
            equal_priorities: false,
            protocol: Protocol::default(),
            network: Network::default(),
            machine: Machine::default(),
            faults: BTreeMap::new(),
            expect: Expect::default(),
        }
    }
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            timing: Timing::Fast,
            heartbeat: None,
            profile: Profile::Claim,
            reach: Reach::Multicast,
        }
    }
}

/// A quiet LAN with a switch or two.
impl Default for Network {
    fn default() -> Self {
        Self {
            delay: Between {
                min: Span::from_micros(200),
                max: Span::from_millis(1),
            },
            jitter: Span::from_millis(2),
            loss: Percent::ZERO,
            duplicate: Percent::ZERO,
            reorder: Percent::ZERO,
            mtu: 1_500,
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            drift: Percent::from_ppm(100),
            disk: Between {
                min: Span::from_micros(100),
                max: Span::from_millis(1),
            },
        }
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            settled: Span::from_secs(10),
            calm: Span::from_secs(5),
            best: false,
            heir: false,
            members: true,
            groups: false,
            without_multicast: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(text: &str) -> String {
        Scenario::parse("test", text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, word) in [
            ("nodes = 5\nnode = 6", 2, "unknown field `node`"),
            ("[network]\nloss = 101", 2, "0 to 100"),
            ("[network]\n\ndelay = [\"2ms\", \"1ms\"]", 3, "more than"),
            ("start = \"5 minutes\"", 1, "`5 minutes`"),
            (
                "[faults.crash]\nevery = \"5s\"\nwhom = \"leader\"",
                3,
                "unknown field `whom`",
            ),
            (
                "[faults.quake]\nevery = \"5s\"",
                1,
                "unknown variant `quake`",
            ),
            (
                "\n[faults.crash]\nevery = \"5s\"\npercent = 3",
                2,
                "`percent` belongs to `loss`",
            ),
            (
                "[faults.loss]\nevery = \"5s\"",
                1,
                "`percent` belongs to `loss`",
            ),
            (
                "[faults.crash]\nevery = \"5ns\"",
                1,
                "a millisecond or more",
            ),
        ] {
            let fault = fault_of(text);
            assert!(
                fault.contains(&format!("in line {line}:")),
                "{text}: {fault}"
            );
            assert!(fault.contains(word), "{text}: {fault}");
        }
        assert!(fault_of("nodes = 5\nsegments = 6").contains("6 segments"));
        assert!(fault_of("nodes = 0").contains("0 nodes"));
    }

    #[test]
    fn every_named_scenario_can_be_used() {
        for name in NAMES {
            Scenario::load(name).unwrap();
        }
        assert!(matches!(
            Scenario::load("no-such"),
            Err(ScenarioError::Read { .. })
        ));
    }
}
