//! What goes wrong in the network, as rules of the switch.
//!
//! Every segment is a bridge in one namespace, so each frame passes one hook there, once for every host that is to
//! receive it. All faults of a lab stand in one chain, which is replaced as a whole: between two frames the network
//! changes from one state to the other, with nothing in between.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::host::Host;
use crate::namespace::Namespace;

/// Frames that are lost: which, between whom, how many of them.
#[derive(Clone, Debug)]
pub struct Fault {
    loss: Loss,
    traffic: Traffic,
    /// Ports of the switch; nothing means any.
    from: Option<Vec<String>>,
    to: Option<Vec<String>>,
}

/// How many of the frames are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    All,
    /// Each with this probability, independently of the others.
    PerMille(u16),
    /// Every nth, counted, beginning with the first.
    EveryNth(u16),
}

/// Which frames a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// All, those by which hosts find each other's addresses included.
    All,
    /// What programs send to groups. What the network itself needs of multicast (neighbour discovery, reports of
    /// group membership) gets through, so that unicast lives.
    Multicast,
    /// All but what is sent to groups.
    Unicast,
}

impl Fault {
    /// Of all traffic between all hosts.
    pub fn new(loss: Loss) -> Self {
        Self {
            loss,
            traffic: Traffic::All,
            from: None,
            to: None,
        }
    }

    #[must_use]
    pub fn of(mut self, traffic: Traffic) -> Self {
        self.traffic = traffic;
        self
    }

    /// Only of what these hosts send.
    #[must_use]
    pub fn from(mut self, hosts: &[&Host]) -> Self {
        self.from = Some(ports(hosts));
        self
    }

    /// Only of what these hosts would receive.
    #[must_use]
    pub fn to(mut self, hosts: &[&Host]) -> Self {
        self.to = Some(ports(hosts));
        self
    }

    /// Two groups of hosts that hear nothing of each other.
    pub fn partition(some: &[&Host], others: &[&Host]) -> [Self; 2] {
        [(some, others), (others, some)].map(|(from, to)| Self::new(Loss::All).from(from).to(to))
    }

    /// The rule that drops them, and counts what it drops under this number.
    fn rule(&self, number: usize) -> Option<String> {
        let mut rule = String::new();
        for (side, ports) in [("iifname", &self.from), ("oifname", &self.to)] {
            match ports.as_deref() {
                None => {}
                Some([]) => return None,
                Some(ports) => write!(rule, "{side} {{ {} }} ", ports.join(", ")).ok()?,
            }
        }
        rule += match self.traffic {
            Traffic::All => "",
            Traffic::Multicast => "meta pkttype multicast meta l4proto != { igmp, ipv6-icmp } ",
            Traffic::Unicast => "meta pkttype != multicast ",
        };
        match self.loss {
            Loss::All => {}
            Loss::PerMille(part) => write!(rule, "numgen random mod 1000 < {part} ").ok()?,
            Loss::EveryNth(count) => write!(rule, "numgen inc mod {count} == 0 ").ok()?,
        }
        Some(format!("{rule}counter drop comment \"fault {number}\""))
    }
}

fn ports(hosts: &[&Host]) -> Vec<String> {
    let ports = |host: &&Host| host.ports().map(|port| format!("\"{port}\"")).collect();
    hosts.iter().flat_map::<Vec<_>, _>(ports).collect()
}

/// Puts these in the place of whatever faults there were.
pub(crate) fn replace(switch: &Namespace, faults: &[Fault]) -> Result<()> {
    switch.run(&["nft", "-f", "-"], &ruleset(faults))?;
    Ok(())
}

/// How many frames each of the faults has taken since it was set.
pub(crate) fn taken(switch: &Namespace, faults: usize) -> Result<Vec<u64>> {
    let text = switch.run(&["nft", "list", "chain", "bridge", "lab", "faults"], "")?;
    let mut taken = vec![0; faults];
    for line in text.lines() {
        if let Some((number, frames)) = counter(line)
            && let Some(place) = taken.get_mut(number)
        {
            *place = frames;
        }
    }
    Ok(taken)
}

fn ruleset(faults: &[Fault]) -> String {
    let rules: Vec<_> = faults
        .iter()
        .enumerate()
        .filter_map(|(number, fault)| fault.rule(number))
        .collect();
    // Naming the table first makes deleting it right, whether it was there or not.
    format!(
        "table bridge lab\ndelete table bridge lab\ntable bridge lab {{\n chain faults {{\n  type filter hook forward \
         priority 0; policy accept;\n  {}\n }}\n}}\n",
        rules.join("\n  ")
    )
}

/// Number of the fault and frames taken, of one line as nft shows it.
fn counter(line: &str) -> Option<(usize, u64)> {
    let (_, rest) = line.split_once("counter packets ")?;
    let (frames, rest) = rest.split_once(' ')?;
    let (_, number) = rest.split_once("comment \"fault ")?;
    Some((
        number.trim_end().strip_suffix('"')?.parse().ok()?,
        frames.parse().ok()?,
    ))
}

/// Fails where the kernel lacks what faults need.
pub(crate) fn probe(switch: &Namespace) -> Result<()> {
    let faults = [Loss::All, Loss::PerMille(1), Loss::EveryNth(2)]
        .map(|loss| Fault::new(loss).of(Traffic::Multicast));
    replace(switch, &faults).context("nft cannot filter at a bridge")?;
    replace(switch, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_ports_traffic_and_chance() {
        let fault = Fault {
            from: Some(vec!["\"p1\"".to_owned(), "\"p2\"".to_owned()]),
            ..Fault::new(Loss::PerMille(50)).of(Traffic::Unicast)
        };
        assert_eq!(
            fault.rule(3).expect("it has ports"),
            "iifname { \"p1\", \"p2\" } meta pkttype != multicast numgen random mod 1000 < 50 counter drop comment \"fault 3\""
        );
    }

    #[test]
    fn a_fault_between_nobody_is_no_rule() {
        assert_eq!(Fault::new(Loss::All).to(&[]).rule(0), None);
        assert!(!ruleset(&[Fault::new(Loss::All).from(&[])]).contains("drop"));
    }

    #[test]
    fn counters_are_found_by_the_number_of_their_fault() {
        let line = "\t\toifname \"p1\" counter packets 12 bytes 960 drop comment \"fault 4\"";
        assert_eq!(counter(line), Some((4, 12)));
        assert_eq!(counter("counter packets 12 bytes 960 drop"), None);
    }
}
