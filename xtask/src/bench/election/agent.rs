use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use bellwether_lab::Host;

use super::{Belief, Contender};
use crate::bench::ours::Ours;

/// Ours, with the settings people have unless they say otherwise; over when all survivors name the same new leader,
/// which is more than is asked of any other here.
pub(super) struct Agent<'a> {
    pub(super) ours: &'a Ours,
    pub(super) heartbeat: Duration,
}

impl Contender for Agent<'_> {
    fn title(&self) -> String {
        let seconds = self.heartbeat.as_secs_f64();
        format!("**bellwether agent**, heartbeat {seconds} s, all name the same leader")
    }

    fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    fn command(&self, node: usize, hosts: &[Host], folder: &Path) -> Result<Command> {
        let heartbeat_ms = self.heartbeat.as_millis();
        let timing = format!("[timing.fast]\nheartbeat_ms = {heartbeat_ms}\n");
        self.ours.agent(folder, hosts[node].name(), &timing)
    }

    fn hear(&self, _node: usize, line: &str, belief: &mut Belief) {
        let has = |event: &str| line.contains(event);
        if has(" following: ") || has(" leading: ") {
            let named = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("leader=h"));
            let number = named.and_then(|number| number.parse::<usize>().ok());
            belief.clear();
            belief.extend(number.and_then(|number| number.checked_sub(1)));
        } else if has(" leader silent: ") || has(" claiming: ") || has(" conceding: ") {
            belief.clear();
        }
    }

    fn victim(&self, _run: usize, beliefs: &[Belief]) -> Option<usize> {
        let leader = beliefs.first()?.first()?;
        let agreed = beliefs.iter().all(|belief| belief.first() == Some(leader));
        agreed.then_some(*leader)
    }

    fn is_over(&self, victim: usize, beliefs: &[Belief]) -> bool {
        let mut survivors = beliefs.iter().enumerate();
        let first = survivors.find(|(node, _)| *node != victim);
        let named = first.and_then(|(_, belief)| belief.first());
        named.is_some_and(|leader| *leader != victim)
            && survivors
                .filter(|(node, _)| *node != victim)
                .all(|(_, belief)| belief.first() == named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failover_is_over_when_all_survivors_name_the_same_new_leader() {
        let ours = Ours::of("bellwether".into());
        let agent = Agent {
            ours: &ours,
            heartbeat: Duration::from_secs(1),
        };
        let mut beliefs = vec![Belief::new(); 3];
        let say = |beliefs: &mut Vec<Belief>, node: usize, line: &str| {
            let line = format!("2026-11-21T14:19:12.664222Z  INFO {line} epoch=3:fb9c3728");
            agent.hear(node, &line, &mut beliefs[node]);
        };
        say(
            &mut beliefs,
            0,
            "leading: this node leads the segment leader=h1",
        );
        say(&mut beliefs, 1, "following: h1 leads leader=h1");
        assert_eq!(agent.victim(0, &beliefs), None);
        say(&mut beliefs, 2, "following: h1 leads leader=h1");
        assert_eq!(agent.victim(0, &beliefs), Some(0));
        beliefs[0].clear();
        assert!(!agent.is_over(0, &beliefs), "they name the dead one");
        say(
            &mut beliefs,
            1,
            "leading: this node leads the segment leader=h2",
        );
        assert!(!agent.is_over(0, &beliefs));
        say(
            &mut beliefs,
            2,
            "conceding: node fb9c3728 has the better claim",
        );
        assert!(!agent.is_over(0, &beliefs));
        say(&mut beliefs, 2, "following: h2 leads leader=h2");
        assert!(agent.is_over(0, &beliefs));
    }
}
