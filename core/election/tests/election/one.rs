//! One election, its inputs written by hand.

use std::time::Duration;

use bellwether_election::{
    Candidate, Election, Event, Input, Memory, Output, Phase, Profile, Ranking, Settings, To,
};
use bellwether_machine::{Machine, Outbox};
use bellwether_types::{Classic, Epoch, Fast, NodeId, Time, Timing};
use bellwether_wire::control::{Alive, Claim, ElectionMessage, ProbeReply, Standing};

pub(crate) const MS: Duration = Duration::from_millis(1);
/// The priority of the one.
pub(crate) const OWN: u32 = 500_000;
/// The counter of the leader that `known` has heard.
pub(crate) const REIGN: u64 = 7;

/// Other nodes are known by one letter; the stronger they are, the earlier it comes. The one itself is `m`.
pub(crate) fn node(name: char) -> NodeId {
    NodeId::from_bytes([name as u8; 16])
}

pub(crate) fn priority(name: char) -> u32 {
    OWN + 1_000 * u32::from(b'm') - 1_000 * name as u32
}

pub(crate) fn candidate(name: char) -> Candidate {
    Candidate {
        priority: priority(name),
        name: name.to_string().parse().unwrap(),
        node: node(name),
    }
}

pub(crate) fn fast() -> Timing {
    let heartbeat = 100 * MS;
    Timing::fast(Fast {
        heartbeat,
        ..Fast::default()
    })
    .unwrap()
}

pub(crate) fn classic() -> Timing {
    Timing::classic(Classic::default()).unwrap()
}

pub(crate) struct One {
    pub(crate) election: Election,
    pub(crate) now: Time,
}

impl One {
    /// Before its start.
    pub(crate) fn new(profile: Profile, timing: Timing) -> Self {
        Self::with(
            |settings| settings.profile = profile,
            timing,
            Memory::default(),
        )
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings), timing: Timing, memory: Memory) -> Self {
        let mut settings = Settings::new(node('m'), "m".parse().unwrap(), timing);
        change(&mut settings);
        let mut one = Self {
            election: Election::new(settings, memory, 1),
            now: Time::from_nanos(1_000_000_000),
        };
        one.give(Input::Measured(OWN));
        one
    }

    /// Every profile with every timing, just started.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let timings = [fast(), classic()];
        let profiles = [Profile::Claim, Profile::Quiet];
        let pairs = timings
            .into_iter()
            .flat_map(move |timing| profiles.map(|profile| (profile, timing)));
        pairs.map(|(profile, timing)| {
            let mut one = Self::new(profile, timing);
            one.give(Input::Start);
            one
        })
    }

    /// The leader `l` is heard; `a` and `b` are stronger candidates, `w` is a weaker one.
    pub(crate) fn known(mut self) -> Self {
        let live = ['a', 'b', 'l', 'm', 'w'].map(candidate);
        self.give(Input::Ranked(Ranking::of(&candidate('m'), &live)));
        self.hear_alive('l', REIGN);
        assert_eq!(self.phase(), "known");
        self
    }

    /// The leader has fallen silent, and the one has not opened a vote yet.
    pub(crate) fn unknown(self) -> Self {
        let mut one = self.known();
        let silence = one.timing().silence();
        one.pass_until(silence * 2, "unknown");
        one
    }

    /// The one has opened a vote.
    pub(crate) fn voting(self) -> Self {
        let mut one = self.unknown();
        one.pass_until(20_000 * MS, "voting");
        one
    }

    /// The one has won.
    pub(crate) fn leading(self) -> Self {
        let mut one = self.voting();
        one.pass_until(20_000 * MS, "leading");
        one
    }

    /// A stronger one has claimed.
    pub(crate) fn conceding(self) -> Self {
        let mut one = self.known();
        one.hear_claim('a', REIGN + 1);
        assert_eq!(one.phase(), "concession");
        one
    }

    pub(crate) fn timing(&self) -> Timing {
        self.election.settings().timing
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.election.settings().profile == Profile::Quiet
    }

    pub(crate) fn phase(&self) -> &'static str {
        match self.election.state().phase {
            Phase::Known(_) => "known",
            Phase::Unknown { .. } => "unknown",
            Phase::Voting(_) => "voting",
            Phase::Leading(_) => "leading",
            Phase::Conceding(_) => "concession",
        }
    }

    pub(crate) fn give(&mut self, input: Input) -> Said {
        let mut out = Outbox::new();
        self.election.handle(self.now, input, &mut out);
        Said(out.drain().collect())
    }

    pub(crate) fn hear(&mut self, from: char, message: ElectionMessage) -> Said {
        let from = node(from);
        self.give(Input::Message { from, message })
    }

    pub(crate) fn hear_alive(&mut self, from: char, counter: u64) -> Said {
        let alive = self.alive(from, counter);
        self.hear(from, ElectionMessage::Alive(alive))
    }

    pub(crate) fn alive(&self, from: char, counter: u64) -> Alive {
        Alive {
            epoch: epoch(from, counter),
            name: from.to_string().parse().unwrap(),
            priority: priority(from),
            heartbeat_ms: self.timing().heartbeat_ms(),
            successor: None,
            carried: Vec::new(),
        }
    }

    pub(crate) fn hear_claim(&mut self, from: char, counter: u64) -> Said {
        let claim = self.claim(from, counter);
        self.hear(from, ElectionMessage::Claim(claim))
    }

    pub(crate) fn claim(&self, from: char, counter: u64) -> Claim {
        Claim {
            epoch: epoch(from, counter),
            name: from.to_string().parse().unwrap(),
            priority: priority(from),
            heartbeat_ms: self.timing().heartbeat_ms(),
            office_ms: Some(self.timing().vote(true).as_millis() as u32),
        }
    }

    /// Time passes; neighbours answer what they are asked, the leader does not.
    pub(crate) fn pass(&mut self, span: Duration) -> Said {
        self.pass_while(span, |_| true)
    }

    pub(crate) fn pass_until(&mut self, span: Duration, phase: &str) -> Said {
        let said = self.pass_while(span, |one| one.phase() != phase);
        assert_eq!(self.phase(), phase, "after {span:?}");
        said
    }

    fn pass_while(&mut self, span: Duration, go_on: impl Fn(&Self) -> bool) -> Said {
        let end = self.now + span;
        let mut said = Said(Vec::new());
        while go_on(self) {
            let next = self.election.wake_at().filter(|next| *next <= end);
            self.now = next.unwrap_or(end);
            let mut more = self.give(Input::Wake);
            for asked in more.asked() {
                if asked != node('l') {
                    let obeyed = self.election.state().obeyed;
                    let silent_ms = u32::MAX;
                    let message = ElectionMessage::ProbeReply(ProbeReply {
                        obeyed,
                        standing: Standing::Follows { silent_ms },
                    });
                    more.0.extend(
                        self.give(Input::Message {
                            from: asked,
                            message,
                        })
                        .0,
                    );
                }
            }
            said.0.extend(more.0);
            if next.is_none() {
                break;
            }
        }
        said
    }
}

pub(crate) fn epoch(leader: char, counter: u64) -> Epoch {
    let leader = node(leader);
    Epoch { counter, leader }
}

/// What an election wanted done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said(pub(crate) Vec<Output>);

impl Said {
    /// The counters of claims to all.
    pub(crate) fn claims(&self) -> Vec<u64> {
        let claims = self.0.iter().filter_map(|output| match output {
            Output::Send {
                to: To::All,
                message: ElectionMessage::Claim(claim),
            } => Some(claim.epoch.counter),
            _ => None,
        });
        claims.collect()
    }

    /// The heartbeats to all.
    pub(crate) fn heartbeats(&self) -> Vec<&Alive> {
        let heartbeats = self.0.iter().filter_map(|output| match output {
            Output::Send {
                to: To::All,
                message: ElectionMessage::Alive(alive),
            } => Some(alive),
            _ => None,
        });
        heartbeats.collect()
    }

    /// Who was asked.
    pub(crate) fn asked(&self) -> Vec<NodeId> {
        let asked = self.0.iter().filter_map(|output| match output {
            Output::Send {
                to: To::Node(node),
                message: ElectionMessage::Probe,
            } => Some(*node),
            _ => None,
        });
        asked.collect()
    }

    /// What went to one node.
    pub(crate) fn told_to(&self, name: char) -> Vec<&ElectionMessage> {
        let sent = self.0.iter().filter_map(|output| match output {
            Output::Send { to, message } if *to == To::Node(node(name)) => Some(message),
            _ => None,
        });
        sent.collect()
    }

    pub(crate) fn events(&self) -> Vec<&Event> {
        let events = self.0.iter().filter_map(|output| match output {
            Output::Told(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    pub(crate) fn persisted(&self) -> Vec<Memory> {
        let kept = self.0.iter().filter_map(|output| match output {
            Output::Persist(memory) => Some(*memory),
            _ => None,
        });
        kept.collect()
    }

    pub(crate) fn is_silent(&self) -> bool {
        !self
            .0
            .iter()
            .any(|output| matches!(output, Output::Send { .. }))
    }
}
