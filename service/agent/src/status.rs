use std::net::SocketAddr;

use bellwether_election::{Abstention, Explanation, Phase};
use bellwether_segment::Segment;
use bellwether_types::{Epoch, NodeId};
use serde::{Deserialize, Serialize};

/// What an agent says of itself and its segment: a contract, described in `docs/agent.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Who this is.
    pub node: NodeStatus,
    /// The segment.
    pub segment: String,
    /// The key of the segment that the node seals with, by its name: 8 hexadecimal digits.
    pub key: String,
    /// From one heartbeat to the next, milliseconds.
    pub heartbeat_ms: u32,
    /// What the node is in the election.
    pub state: State,
    /// Why it keeps silent though it would have to speak, if it does.
    pub abstains: Option<String>,
    /// The highest reign that was confirmed.
    pub epoch: Option<String>,
    /// Who leads.
    pub leader: Option<Leader>,
    /// Why that one, in a sentence.
    pub why: String,
    /// Is this node in the leader's report, or the leader?
    pub registered: bool,
    /// This node's priority, and where it comes from.
    pub priority: Priority,
    /// All members that are known, in the order of their names.
    pub members: Vec<Member>,
    /// Which state of the segment this node holds.
    pub segment_state: Option<StateVersion>,
    /// Whether multicasts come through.
    pub multicast: Multicast,
    /// Is the interface there and up?
    pub interface_up: bool,
    /// How this node stands with its control server, in words; null if it has none, or was not told yet.
    pub control_server: Option<String>,
    /// Counted since the start.
    pub counters: Counters,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id, 32 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The how-manieth start of it.
    pub incarnation: u64,
    /// Where it takes what is for it alone, once that is known.
    pub address: Option<SocketAddr>,
    /// For how many seconds it has run.
    pub uptime_s: u64,
}

/// What a node is in the election (ELECT-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Another node leads.
    Following,
    /// Nobody is known to lead.
    Leaderless,
    /// It has claimed, and waits for a better claim.
    Voting,
    /// It leads.
    Leading,
    /// Another one has the better claim and is waited for.
    Conceding,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: u32,
}

/// A priority and where it comes from (ELECT-02).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Priority {
    /// What is compared with others.
    pub value: u32,
    /// What each parameter gave.
    pub parts: Vec<Part>,
}

/// What one parameter gave (ELECT-03).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What was measured, as `free processors`.
    pub parameter: String,
    /// How good it is, in thousandths.
    pub score_permille: u32,
    /// How much it counts.
    pub weight: u16,
    /// What it adds to the priority.
    pub points: u32,
}

/// A member as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its start.
    pub incarnation: u64,
    /// Where it takes what is for it alone.
    pub address: SocketAddr,
    /// May it lead?
    pub candidate: bool,
    /// Its priority.
    pub priority: u32,
}

/// Which state of the segment is held: two nodes with the same one know the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateVersion {
    /// The reign it was written in.
    pub epoch: String,
    /// Rises with each report.
    pub sequence: u64,
    /// Equal states have equal digests; 16 hexadecimal digits.
    pub digest: String,
}

/// Whether multicasts come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Multicast {
    /// As far as can be seen.
    Works,
    /// The leader is heard by unicast alone, or not even our own come back.
    Lost,
    /// This network is set to do without.
    Unused,
}

/// What was counted since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub datagrams_sent_bytes: u64,
    /// Datagrams that the network did not take.
    pub send_errors: u64,
    /// Datagrams received, whatever became of them.
    pub datagrams_received: u64,
    /// Their bytes.
    pub datagrams_received_bytes: u64,
    /// Datagrams without an effect, by why.
    pub rejected: std::collections::BTreeMap<String, u64>,
    /// How often the leader fell silent.
    pub leader_silent: u64,
    /// How often this node claimed.
    pub claims: u64,
    /// How often it took office.
    pub reigns: u64,
    /// How often it obeyed another leader than before.
    pub leaders: u64,
    /// Merges that came into force.
    pub merges: u64,
    /// Reports for the control server.
    pub reports: u64,
}

pub(crate) fn state(phase: &Phase) -> State {
    match phase {
        Phase::Known(_) => State::Following,
        Phase::Unknown { .. } => State::Leaderless,
        Phase::Voting(_) => State::Voting,
        Phase::Leading(_) => State::Leading,
        Phase::Conceding(_) => State::Conceding,
    }
}

/// As text that is complete and compares as text.
pub(crate) fn epoch(epoch: Epoch) -> String {
    format!("{}:{}", epoch.counter, epoch.leader)
}

pub(crate) fn abstention(why: Abstention) -> &'static str {
    match why {
        Abstention::HearsNobody => {
            "it hears nobody, and more likely it is cut off than all others are dead"
        }
        Abstention::OtherTiming => "the segment has another timing than this node",
    }
}

pub(crate) fn priority(value: u32, explanation: Option<&Explanation>) -> Priority {
    let parts = explanation.iter().flat_map(|known| &known.parts);
    Priority {
        value,
        parts: parts
            .map(|part| Part {
                parameter: part.parameter.to_string(),
                score_permille: part.score_permille,
                weight: part.weight,
                points: part.points,
            })
            .collect(),
    }
}

pub(crate) fn members(segment: &Segment) -> Vec<Member> {
    let members = segment.membership().members();
    let mut members: Vec<Member> = members
        .map(|(node, record)| Member {
            id: node.to_string(),
            name: record.name.to_string(),
            incarnation: record.incarnation.0,
            address: record.address,
            candidate: record.candidate,
            priority: record.priority,
        })
        .collect();
    members.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    members
}

pub(crate) fn leader(segment: &Segment, own: NodeId, own_priority: u32) -> Option<Leader> {
    match &segment.election().state().phase {
        Phase::Known(leader) => Some(Leader {
            id: leader.epoch.leader.to_string(),
            name: leader.name.to_string(),
            priority: leader.priority,
        }),
        Phase::Leading(_) => Some(Leader {
            id: own.to_string(),
            name: segment.election().settings().name.to_string(),
            priority: own_priority,
        }),
        _ => None,
    }
}

/// Why that one leads, or why nobody does.
pub(crate) fn why(segment: &Segment, leader: Option<&Leader>, members: &[Member]) -> String {
    let settings = segment.election().settings();
    let Some(leader) = leader else {
        return match &segment.election().state().phase {
            Phase::Unknown { lost: Some(_) } => {
                "the leader fell silent, and is asked whether it lives".to_owned()
            }
            Phase::Voting(_) => "a vote is open: this node claims the office".to_owned(),
            Phase::Conceding(_) => "a vote is open: another node has the better claim".to_owned(),
            _ => "nobody has been heard to lead".to_owned(),
        };
    };
    let name = &leader.name;
    if settings
        .fixed
        .as_ref()
        .is_some_and(|fixed| fixed.as_str() == name)
    {
        return format!("{name} is the fixed leader (`election.fixed`)");
    }
    if settings.contest == bellwether_election::Contest::FirstClaimant {
        return format!("{name} was the first to claim (`election.contest`)");
    }
    let others = members
        .iter()
        .filter(|member| member.candidate && member.id != leader.id);
    let next = others.max_by(|one, other| {
        let order = one.priority.cmp(&other.priority);
        order.then_with(|| (&other.name, &other.id).cmp(&(&one.name, &one.id)))
    });
    let priority = leader.priority;
    match next {
        None => format!("{name} is the only candidate"),
        Some(next) if (priority, &next.name) >= (next.priority, name) => format!(
            "{name} is the strongest candidate: priority {priority}, before {} with {}",
            next.name, next.priority
        ),
        Some(next) => format!(
            "{name} was elected, or named by its predecessor; {} is stronger by now ({} to {priority}), and nobody deposes \
             a leader that lives unless `election.preemption_margin` says so",
            next.name, next.priority
        ),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A status with something in every field.
    pub(crate) fn full() -> Status {
        let id = "00000000000000000000000000000001".to_owned();
        let address: SocketAddr = "10.1.0.2:7".parse().unwrap();
        Status {
            node: NodeStatus {
                id: id.clone(),
                name: "h1".to_owned(),
                incarnation: 2,
                address: Some(address),
                uptime_s: 3,
            },
            segment: "web".to_owned(),
            key: "5e1f00d5".to_owned(),
            heartbeat_ms: 500,
            state: State::Leading,
            abstains: Some("why".to_owned()),
            epoch: Some(format!("4:{id}")),
            leader: Some(Leader {
                id: id.clone(),
                name: "h1".to_owned(),
                priority: 5,
            }),
            why: "h1 is the only candidate".to_owned(),
            registered: true,
            priority: Priority {
                value: 5,
                parts: vec![Part {
                    parameter: "free storage".to_owned(),
                    score_permille: 500,
                    weight: 5,
                    points: 5,
                }],
            },
            members: vec![Member {
                id: id.clone(),
                name: "h1".to_owned(),
                incarnation: 2,
                address,
                candidate: true,
                priority: 5,
            }],
            segment_state: Some(StateVersion {
                epoch: format!("4:{id}"),
                sequence: 6,
                digest: "0123456789abcdef".to_owned(),
            }),
            multicast: Multicast::Lost,
            control_server: None,
            interface_up: true,
            counters: Counters {
                claims: 7,
                rejected: [("not-sealed".to_owned(), 8)].into(),
                ..Counters::default()
            },
        }
    }

    #[test]
    fn every_field_is_documented_and_reads_back() {
        let json = serde_json::to_value(full()).unwrap();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/agent.md");
        let documented = std::fs::read_to_string(file).unwrap();
        let fields = |value: &serde_json::Value| -> Vec<String> {
            value
                .as_object()
                .map(|object| object.keys().cloned().collect())
                .unwrap_or_default()
        };
        let nested =
            ["node", "leader", "priority", "segment_state"].map(|field| fields(&json[field]));
        let listed = [&json["members"][0], &json["priority"]["parts"][0]].map(fields);
        for field in fields(&json)
            .into_iter()
            .chain(nested.into_iter().chain(listed).flatten())
        {
            assert!(
                documented.contains(&format!("`{field}`")),
                "docs/agent.md does not know `{field}`"
            );
        }
        for state in [
            State::Following,
            State::Leaderless,
            State::Voting,
            State::Leading,
            State::Conceding,
        ] {
            let word = serde_json::to_string(&state).unwrap().replace('"', "`");
            assert!(
                documented.contains(&word),
                "docs/agent.md does not know {word}"
            );
        }
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), full());
    }
}
