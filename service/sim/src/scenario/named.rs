/// The scenarios that come with the simulator.
pub const NAMES: [&str; 13] = [
    "cold-start",
    "failover",
    "step-down",
    "partition-heal",
    "flap",
    "loss20",
    "drift",
    "equal-priorities",
    "pause",
    "churn",
    "storm",
    "forgery",
    "swarm",
];

pub(super) fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "cold-start" => include_str!("named/cold-start.toml"),
        "failover" => include_str!("named/failover.toml"),
        "step-down" => include_str!("named/step-down.toml"),
        "partition-heal" => include_str!("named/partition-heal.toml"),
        "flap" => include_str!("named/flap.toml"),
        "loss20" => include_str!("named/loss20.toml"),
        "drift" => include_str!("named/drift.toml"),
        "equal-priorities" => include_str!("named/equal-priorities.toml"),
        "pause" => include_str!("named/pause.toml"),
        "churn" => include_str!("named/churn.toml"),
        "storm" => include_str!("named/storm.toml"),
        "forgery" => include_str!("named/forgery.toml"),
        "swarm" => include_str!("named/swarm.toml"),
        _ => return None,
    })
}
