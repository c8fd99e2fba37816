use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use bellwether_lab::Host;

use super::{Belief, Contender};

/// VRRP version 3, priorities 100, 99, …; a master that comes back does not take over.
pub(super) struct Keepalived {
    pub(super) heartbeat: Duration,
}

impl Contender for Keepalived {
    fn title(&self) -> String {
        format!("keepalived, advert {} s", self.heartbeat.as_secs_f64())
    }

    fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    fn command(&self, node: usize, hosts: &[Host], folder: &Path) -> Result<Command> {
        let file = |suffix: &str| folder.join(format!("{}.{suffix}", hosts[node].name()));
        let text = format!(
            "global_defs {{\n vrrp_version 3\n}}\nvrrp_instance bench {{\n state BACKUP\n nopreempt\n interface eth0\n \
             virtual_router_id 7\n priority {}\n advert_int {}\n virtual_ipaddress {{\n  10.1.99.99/16 dev eth0\n \
             }}\n}}\n",
            100 - node,
            self.heartbeat.as_secs_f64()
        );
        std::fs::write(file("conf"), text)?;
        // One that was killed has left them.
        for left in ["pid", "vrrp"] {
            let _ = std::fs::remove_file(file(left));
        }
        let mut command = Command::new("keepalived");
        command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]);
        command.arg(file("conf")).arg("--pid").arg(file("pid"));
        command.arg("--vrrp_pid").arg(file("vrrp"));
        Ok(command)
    }

    fn hear(&self, node: usize, line: &str, belief: &mut Belief) {
        if line.ends_with("(bench) Entering MASTER STATE") {
            belief.insert(node);
        } else if line.contains("(bench) Entering BACKUP STATE") {
            belief.clear();
        }
    }

    fn victim(&self, _run: usize, beliefs: &[Belief]) -> Option<usize> {
        let mut masters = beliefs.iter().flatten();
        masters.next().copied().filter(|_| masters.next().is_none())
    }

    fn is_over(&self, _victim: usize, beliefs: &[Belief]) -> bool {
        beliefs.iter().any(|belief| !belief.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Sat Nov 21 11:48:56 2026: ";

    #[test]
    fn keepalived_is_settled_with_one_master_and_over_with_another() {
        let keepalived = Keepalived {
            heartbeat: Duration::from_secs(1),
        };
        let mut beliefs = vec![Belief::new(); 3];
        assert_eq!(keepalived.victim(0, &beliefs), None);
        let say = |beliefs: &mut Vec<Belief>, node: usize, state: &str| {
            let line = format!("{NOW}(bench) Entering {state}");
            keepalived.hear(node, &line, &mut beliefs[node]);
        };
        say(&mut beliefs, 0, "BACKUP STATE (init)");
        say(&mut beliefs, 1, "MASTER STATE");
        assert_eq!(keepalived.victim(0, &beliefs), Some(1));
        say(&mut beliefs, 2, "MASTER STATE");
        assert_eq!(keepalived.victim(0, &beliefs), None);
        say(&mut beliefs, 2, "BACKUP STATE");
        beliefs[1].clear();
        assert!(!keepalived.is_over(1, &beliefs));
        say(&mut beliefs, 0, "MASTER STATE");
        assert!(keepalived.is_over(1, &beliefs));
    }
}
