use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use bellwether_lab::Host;

use super::{Belief, Contender};

/// Detects failures and elects nobody; over when every survivor has declared the victim failed.
pub(super) struct Serf {
    pub(super) profile: &'static str,
}

impl Contender for Serf {
    fn title(&self) -> String {
        format!("serf, profile {}, all know of the failure", self.profile)
    }

    fn heartbeat(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn command(&self, node: usize, hosts: &[Host], _folder: &Path) -> Result<Command> {
        let mut command = Command::new("serf");
        command.args(["agent", "-log-level=info", "-rpc-addr=127.0.0.1:7373"]);
        command.arg(format!("-node={}", hosts[node].name()));
        command.arg(format!("-bind={}", hosts[node].ipv4()));
        command.arg(format!("-profile={}", self.profile));
        let others = hosts
            .iter()
            .filter(|host| host.name() != hosts[node].name());
        command.args(others.map(|host| format!("-retry-join={}", host.ipv4())));
        command.arg("-retry-interval=1s");
        Ok(command)
    }

    fn hear(&self, _node: usize, line: &str, belief: &mut Belief) {
        let named = |event: &str| {
            let (_, rest) = line.split_once(event)?;
            let number = rest.split_whitespace().next()?.strip_prefix('h')?;
            number.parse::<usize>().ok()?.checked_sub(1)
        };
        if let Some(member) = named("EventMemberJoin: ") {
            belief.insert(member);
        } else if let Some(member) = named("EventMemberFailed: ") {
            belief.remove(&member);
        }
    }

    fn victim(&self, run: usize, beliefs: &[Belief]) -> Option<usize> {
        let complete = beliefs.iter().all(|belief| belief.len() == beliefs.len());
        complete.then_some(run % beliefs.len())
    }

    fn is_over(&self, victim: usize, beliefs: &[Belief]) -> bool {
        let survivors = beliefs
            .iter()
            .enumerate()
            .filter(|(node, _)| *node != victim);
        survivors
            .map(|(_, belief)| belief)
            .all(|belief| !belief.contains(&victim))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Sat Nov 21 11:48:56 2026: ";

    #[test]
    fn serf_is_over_when_every_survivor_has_noticed() {
        let serf = Serf { profile: "lan" };
        let mut beliefs = vec![Belief::from([0, 1, 2]); 3];
        assert_eq!(serf.victim(4, &beliefs), Some(1));
        let failed = format!("{NOW}[INFO] serf: EventMemberFailed: h2 10.1.0.3");
        serf.hear(0, &failed, &mut beliefs[0]);
        assert!(!serf.is_over(1, &beliefs));
        serf.hear(2, &failed, &mut beliefs[2]);
        assert!(serf.is_over(1, &beliefs));
        assert_eq!(serf.victim(4, &beliefs), None);
        for belief in &mut beliefs {
            serf.hear(0, "serf: EventMemberJoin: h2 10.1.0.3", belief);
        }
        assert_eq!(serf.victim(4, &beliefs), Some(1));
    }
}
