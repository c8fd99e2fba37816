//! Settings in three steps: as written, as checked, and as handed out to each crate.
//!
//! The defaults are `docs/agent.toml`, loaded like any other file: what the manual says is what holds.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bellwether_disk::{Hook, Hooks};
use bellwether_election::{self as election, Candidacy, Contest, Preemption, Profile, Weights};
use bellwether_membership::{self as membership, Spans};
use bellwether_net::{ChannelSettings, Everyone, Skew};
use bellwether_segment::{self as segment, Reach};
use bellwether_types::{Classic, Fast, Name, Timing};
use bellwether_wire::control::{DATAGRAM_LEN_MAX, Record, Sender};
use serde::Deserialize;
use toml::{Table, Value};
use tracing::level_filters::LevelFilter;

use crate::log::LogFormat;

/// What an agent is set to, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The file of the segment's key.
    pub key_file: PathBuf,
    pub(crate) segment: Name,
    pub(crate) name: Name,
    pub(crate) location: String,
    pub(crate) data: PathBuf,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) group: SocketAddr,
    pub(crate) channel: ChannelSettings,
    /// The UDP port for frames.
    data_port: u16,
    /// The TCP port for neighbours; 0 is any.
    pub(crate) serve_port: u16,
    pub(crate) timing: Timing,
    pub(crate) skew: Skew,
    pub(crate) elections: Elections,
    pub(crate) preference: u8,
    pub(crate) weights: Weights,
    hooks: WrittenHooks,
    pub(crate) log: LogFormat,
    pub(crate) level: LevelFilter,
}

/// How the node takes part in elections.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Elections {
    profile: Profile,
    contest: Contest,
    candidacy: Candidacy,
    fixed: Option<Name>,
    preemption: Option<Preemption>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML, has an unknown key, or a value of another kind than it should.
    #[error("{place} is not as settings are written: {fault}")]
    Written {
        /// The file, or the command line.
        place: String,
        /// What is wrong, and where.
        fault: String,
    },
    /// Values that cannot work, all of them.
    #[error("{}", Lines(.0))]
    Values(Vec<String>),
}

struct Lines<'a>(&'a [String]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these settings cannot work:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

const DEFAULTS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/agent.toml"
));

/// Settings as they stand in a file, which has them all once the defaults are beneath.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    segment: String,
    key_file: PathBuf,
    data: PathBuf,
    interface: String,
    name: String,
    location: String,
    metrics: String,
    channel: WrittenChannel,
    timing: WrittenTiming,
    election: WrittenElection,
    weights: WrittenWeights,
    hooks: WrittenHooks,
    log: WrittenLog,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChannel {
    group: String,
    port: u16,
    data_port: u16,
    serve_port: u16,
    hops: u8,
    peers: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTiming {
    profile: String,
    ahead_ms: u32,
    drift_ppm: i16,
    fast: WrittenFast,
    classic: WrittenClassic,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFast {
    heartbeat_ms: u32,
    one_way_us: u32,
    jitter_us: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenClassic {
    heartbeat_ms: u32,
    silence_ms: u32,
    claim_wait_min_ms: u32,
    claim_wait_max_ms: u32,
    vote_ms: u32,
    report_delay_ms: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenElection {
    profile: String,
    contest: String,
    candidate: bool,
    candidates: Vec<String>,
    fixed: String,
    preference: u8,
    preemption_margin: u32,
    preemption_after_s: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWeights {
    preference: u16,
    content: u16,
    reliability: u16,
    processors: u16,
    storage: u16,
    network: u16,
    led: u16,
    members: u16,
}

impl From<WrittenWeights> for Weights {
    fn from(written: WrittenWeights) -> Self {
        Self {
            preference: written.preference,
            content: written.content,
            reliability: written.reliability,
            processors: written.processors,
            storage: written.storage,
            network: written.network,
            led: written.led,
            members: written.members,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHooks {
    before: Vec<String>,
    after: Vec<String>,
    time_max_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLog {
    format: String,
    level: String,
}

impl Settings {
    /// The defaults, below what stands in a file, below what was `given` on the command line.
    pub fn load(file: Option<&Path>, given: Table) -> Result<Self, SettingsError> {
        let mut all = parse("docs/agent.toml", DEFAULTS)?;
        let mut place = "the command line".to_owned();
        if let Some(path) = file {
            let read = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
                path: path.to_owned(),
                source,
            });
            place = path.display().to_string();
            lay_over(&mut all, parse(&place, &read?)?);
        }
        lay_over(&mut all, given);
        let written = Written::deserialize(all).map_err(|fault| SettingsError::Written {
            place,
            fault: fault.to_string().trim_end().to_owned(),
        })?;
        written.check()
    }

    /// The settings of the machine, for this start of this node.
    pub(crate) fn segment(&self, sender: Sender) -> segment::Settings {
        let Elections {
            profile,
            contest,
            candidacy,
            fixed,
            preemption,
        } = self.elections.clone();
        segment::Settings {
            sender,
            election: election::Settings {
                profile,
                contest,
                candidacy,
                fixed,
                preemption,
                ..election::Settings::new(sender.node, self.name.clone(), self.timing)
            },
            membership: membership::Settings {
                segment: self.segment.clone(),
                channel: self.group,
                spans: Spans::of(&self.timing),
                members_max: MEMBERS_MAX,
            },
            reach: match &self.channel.everyone {
                Everyone::Group(_) => Reach::Group,
                Everyone::Peers(peers) => Reach::Peers(peers.clone()),
            },
        }
    }

    /// Its sockets for frames: what goes to all goes to the next port of the control channel's group.
    pub(crate) fn data_channel(&self) -> ChannelSettings {
        let everyone = match &self.channel.everyone {
            Everyone::Group(group) => {
                let port = group
                    .port()
                    .checked_add(1)
                    .unwrap_or_else(|| group.port() - 1);
                Everyone::Group(SocketAddr::new(group.ip(), port))
            }
            peers @ Everyone::Peers(_) => peers.clone(),
        };
        ChannelSettings {
            port: self.data_port,
            everyone,
            ..self.channel.clone()
        }
    }

    /// What is run around a switch.
    pub(crate) fn hooks(&self) -> Hooks {
        let hook = |command: &String| Hook {
            command: vec!["/bin/sh".into(), "-c".into(), command.clone()],
            time_max: Duration::from_secs(self.hooks.time_max_s),
        };
        Hooks {
            before: self.hooks.before.iter().map(hook).collect(),
            after: self.hooks.after.iter().map(hook).collect(),
        }
    }

    /// Is everybody reached by unicast?
    pub(crate) const fn is_unicast(&self) -> bool {
        matches!(self.channel.everyone, Everyone::Peers(_))
    }
}

/// All that membership can bear.
const MEMBERS_MAX: usize = 4_096;

fn parse(place: &str, text: &str) -> Result<Table, SettingsError> {
    text.parse()
        .map_err(|fault: toml::de::Error| SettingsError::Written {
            place: place.to_owned(),
            fault: fault.to_string().trim_end().to_owned(),
        })
}

fn lay_over(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

impl Written {
    fn check(self) -> Result<Settings, SettingsError> {
        let mut faults = Faults::default();
        let channel = faults.channel(&self);
        let group = faults.read("channel.group", &self.channel.group);
        let timing = faults.timing(&self.timing);
        let elections = faults.elections(&self.election);
        let name = match self.name.as_str() {
            "" => rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            name => name.to_owned(),
        };
        let (name, segment) = (
            faults.read("name", &name),
            faults.read("segment", &self.segment),
        );
        let WrittenTiming {
            ahead_ms,
            drift_ppm,
            ..
        } = self.timing;
        faults.require((-500..=500).contains(&drift_ppm), || {
            format!("timing.drift_ppm: is {drift_ppm}, and must be between -500 and 500")
        });
        let metrics = match self.metrics.as_str() {
            "" => None,
            address => faults.read("metrics", address),
        };
        for (what, path) in [("key_file", &self.key_file), ("data", &self.data)] {
            faults.require(!path.as_os_str().is_empty(), || {
                format!("{what}: say where")
            });
        }
        faults.require(self.location.len() <= Record::LOCATION_LEN_MAX, || {
            let (len, max) = (self.location.len(), Record::LOCATION_LEN_MAX);
            format!("location: has {len} bytes, and may have {max}")
        });
        let preference = self.election.preference;
        faults.require(preference <= 100, || {
            format!("election.preference: is {preference}, and must be between 0 and 100")
        });
        let time_max_s = self.hooks.time_max_s;
        faults.require((1..=3_600).contains(&time_max_s), || {
            format!("hooks.time_max_s: is {time_max_s}, and must be between 1 and 3600")
        });
        let log = match self.log.format.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => faults.choice("log.format", other, "text, json", LogFormat::Text),
        };
        let level = match self.log.level.as_str() {
            "error" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            other => faults.choice(
                "log.level",
                other,
                "error, warn, info, debug, trace",
                LevelFilter::INFO,
            ),
        };
        let checked = (segment, name, group, channel, timing, elections);
        match (faults.0.is_empty(), checked) {
            (
                true,
                (
                    Some(segment),
                    Some(name),
                    Some(group),
                    Some(channel),
                    Some(timing),
                    Some(elections),
                ),
            ) => Ok(Settings {
                key_file: self.key_file,
                segment,
                name,
                location: self.location,
                data: self.data,
                metrics,
                group,
                channel,
                data_port: self.channel.data_port,
                serve_port: self.channel.serve_port,
                timing,
                skew: Skew {
                    ahead: Duration::from_millis(ahead_ms.into()),
                    drift_ppm,
                },
                elections,
                preference,
                weights: self.weights.into(),
                hooks: self.hooks,
                log,
                level,
            }),
            _ => Err(SettingsError::Values(faults.0)),
        }
    }
}

/// What is wrong, all of it.
#[derive(Debug, Default)]
struct Faults(Vec<String>);

impl Faults {
    fn require(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.0.push(fault());
        }
    }

    fn take<T, E: fmt::Display>(&mut self, what: &str, result: Result<T, E>) -> Option<T> {
        result
            .map_err(|fault| self.0.push(format!("{what}: {fault}")))
            .ok()
    }

    fn read<T: FromStr<Err: fmt::Display>>(&mut self, what: &str, text: &str) -> Option<T> {
        if text.is_empty() {
            self.0.push(format!("{what}: must be given"));
            return None;
        }
        let read = text.parse().map_err(|fault| format!("`{text}`: {fault}"));
        self.take(what, read)
    }

    /// Notes that a word is not one of those it can be; anything serves to go on with.
    fn choice<T>(&mut self, what: &str, word: &str, words: &str, any: T) -> T {
        self.0
            .push(format!("{what}: is `{word}`, and must be one of {words}"));
        any
    }

    fn channel(&mut self, written: &Written) -> Option<ChannelSettings> {
        let channel = &written.channel;
        self.require(channel.hops > 0, || {
            "channel.hops: is 0, and must be between 1 and 255".to_owned()
        });
        let group: Option<SocketAddr> = channel.group.parse().ok();
        if let Some(group) = group {
            self.require(group.ip().is_multicast() && group.port() > 0, || {
                format!("channel.group: {group} is no multicast group with a port")
            });
        }
        let peers: BTreeSet<SocketAddr> = channel
            .peers
            .iter()
            .filter_map(|peer| self.read("channel.peers", peer))
            .collect();
        self.require(peers.is_empty() || channel.port > 0, || {
            "channel.port: must be given where there are peers, so that others can name it"
                .to_owned()
        });
        let interface = self.read("interface", &written.interface)?;
        Some(ChannelSettings {
            interface,
            port: channel.port,
            hops: channel.hops.into(),
            everyone: match peers.is_empty() {
                true => Everyone::Group(group?),
                false => Everyone::Peers(peers),
            },
            datagram_len_max: DATAGRAM_LEN_MAX,
        })
    }

    fn timing(&mut self, written: &WrittenTiming) -> Option<Timing> {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let us = |us: u32| Duration::from_micros(us.into());
        match written.profile.as_str() {
            "fast" => {
                let set = Fast {
                    heartbeat: ms(written.fast.heartbeat_ms),
                    one_way: us(written.fast.one_way_us),
                    jitter: us(written.fast.jitter_us),
                };
                self.take("timing.fast", Timing::fast(set))
            }
            "classic" => {
                let set = Classic {
                    heartbeat: ms(written.classic.heartbeat_ms),
                    silence: ms(written.classic.silence_ms),
                    claim_wait_min: ms(written.classic.claim_wait_min_ms),
                    claim_wait_max: ms(written.classic.claim_wait_max_ms),
                    vote: ms(written.classic.vote_ms),
                    report_delay: ms(written.classic.report_delay_ms),
                };
                self.take("timing.classic", Timing::classic(set))
            }
            other => self.choice("timing.profile", other, "fast, classic", None),
        }
    }

    fn elections(&mut self, written: &WrittenElection) -> Option<Elections> {
        let profile = match written.profile.as_str() {
            "claim" => Profile::Claim,
            "quiet" => Profile::Quiet,
            other => self.choice("election.profile", other, "claim, quiet", Profile::Claim),
        };
        let contest = match written.contest.as_str() {
            "priority" => Contest::Priority,
            "first" => Contest::FirstClaimant,
            other => self.choice(
                "election.contest",
                other,
                "priority, first",
                Contest::Priority,
            ),
        };
        let names: Vec<Name> = written
            .candidates
            .iter()
            .filter_map(|name| self.read("election.candidates", name))
            .collect();
        let fixed = match written.fixed.as_str() {
            "" => None,
            name => self.read("election.fixed", name),
        };
        let after = Duration::from_secs(written.preemption_after_s.into());
        let margin = written.preemption_margin;
        self.require((margin > 0) != after.is_zero(), || {
            "election.preemption_margin and election.preemption_after_s: give both, or leave both 0"
                .to_owned()
        });
        Some(Elections {
            profile,
            contest,
            candidacy: match (written.candidate, names.is_empty()) {
                (false, _) => Candidacy::Never,
                (true, true) => Candidacy::Open,
                (true, false) => Candidacy::Listed(names),
            },
            fixed,
            preemption: (margin > 0).then_some(Preemption { margin, after }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_types::NodeId;

    const LEAST: &str =
        "segment = \"web\"\nkey_file = \"/k\"\ndata = \"/d\"\ninterface = \"eth0\"\nname = \"n\"\n";

    fn load(text: &str) -> Result<Settings, String> {
        let given = text.parse().unwrap();
        Settings::load(None, given).map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_defaults_are_those_that_hold() {
        let settings = load(LEAST).unwrap();
        assert_eq!(settings.timing, Timing::fast(Fast::default()).unwrap());
        assert_eq!(settings.weights, Weights::default());
        let sender = Sender {
            node: NodeId::from_bytes([1; 16]),
            incarnation: Default::default(),
            salt: [0; 16],
        };
        let election = settings.segment(sender).election;
        let plain = election::Settings::new(sender.node, "n".parse().unwrap(), settings.timing);
        assert_eq!(election, plain);
        let classic = load(&format!("{LEAST}[timing]\nprofile = \"classic\"")).unwrap();
        assert_eq!(classic.timing, Timing::classic(Classic::default()).unwrap());
    }

    #[test]
    fn all_faults_are_told_at_once_and_with_the_range() {
        let text = "name = \"a b\"\n[timing.fast]\nheartbeat_ms = 20\n[channel]\nhops = 0\n[election]\n\
                    preference = 101\nprofile = \"loud\"\n[log]\nlevel = \"all\"";
        let refused = load(text).unwrap_err();
        for fault in [
            "segment: must be given",
            "key_file: say where",
            "data: say where",
            "interface: must be given",
            "name: `a b`",
            "between 50ms and 1s",
            "between 1 and 255",
            "between 0 and 100",
            "`loud`, and must be one of claim, quiet",
            "`all`, and must be one of error",
        ] {
            assert!(refused.contains(fault), "{fault}: {refused}");
        }
    }

    #[test]
    fn unknown_keys_and_wrong_kinds_are_refused_by_name() {
        for (text, named) in [
            ("segmnet = \"web\"", "segmnet"),
            ("[timing.fast]\nheartbeat = 3", "heartbeat"),
            ("[channel]\nport = 70000", "70000"),
            ("[channel]\nport = \"x\"", "port"),
        ] {
            let refused = load(text).unwrap_err();
            assert!(refused.contains(named), "{text}: {refused}");
        }
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, format!("{LEAST}[timing.fast]\nheartbeat_ms = 100")).unwrap();
        let given = "segment = \"shop\"".parse().unwrap();
        let settings = Settings::load(Some(&file), given).unwrap();
        assert_eq!(settings.segment.as_str(), "shop");
        assert_eq!(settings.timing.heartbeat_ms(), 100);
        std::fs::write(&file, "segment = [").unwrap();
        let refused = Settings::load(Some(&file), Table::new()).unwrap_err();
        assert!(refused.to_string().contains("agent.toml"), "{refused}");
    }
}
