use std::fmt;

use bellwether_agent::{Answer, Multicast, Request, State, Status};
use clap::Args;
use serde::Serialize;

use super::Running;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Show how a running agent and its segment stand: who leads and why, and who belongs.
#[derive(Debug, Args)]
pub(crate) struct StatusCommand {
    #[command(flatten)]
    agent: Running,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown(Status);

impl Report for Shown {
    const KIND: &'static str = "agent.status";
}

impl StatusCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        match self.agent.ask(Request::Status)? {
            Answer::Status(status) => output.report(&Shown(*status))?,
            other => {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("not a status: {other:?}"),
                ));
            }
        }
        Ok(Exit::Done)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status {
            node,
            segment,
            key,
            heartbeat_ms,
            state,
            abstains,
            epoch,
            leader,
            why,
            registered,
            priority,
            members,
            segment_state,
            multicast,
            interface_up,
            control_server,
            counters,
        } = &self.0;
        let state = match state {
            State::Following => "following",
            State::Leaderless => "leaderless",
            State::Voting => "voting: it claims the office",
            State::Leading => "leading",
            State::Conceding => "conceding: another node has the better claim",
        };
        let address = node
            .address
            .map_or_else(|| "no address".to_owned(), |address| address.to_string());
        writeln!(
            f,
            "node      {} ({}), start {}, {address}",
            node.name, node.id, node.incarnation
        )?;
        writeln!(
            f,
            "segment   {segment}, heartbeat {heartbeat_ms} ms, key {key}"
        )?;
        if let Some(control_server) = control_server {
            writeln!(f, "control   {control_server}")?;
        }
        let registered = if *registered {
            ""
        } else {
            ", not registered yet"
        };
        writeln!(f, "state     {state}{registered}")?;
        if let Some(why) = abstains {
            writeln!(f, "silent    {why}")?;
        }
        writeln!(f, "epoch     {}", epoch.as_deref().unwrap_or("none yet"))?;
        let leader = leader
            .as_ref()
            .map_or("nobody", |leader| leader.name.as_str());
        writeln!(f, "leader    {leader}: {why}")?;
        if let Some(version) = segment_state {
            writeln!(
                f,
                "report    {} of epoch {}, digest {}",
                version.sequence, version.epoch, version.digest
            )?;
        }
        if *multicast == Multicast::Lost {
            writeln!(
                f,
                "multicast lost: the segment goes on by unicast; look at switch and firewall"
            )?;
        }
        if !interface_up {
            writeln!(f, "interface down or gone")?;
        }
        writeln!(f, "priority  {}", priority.value)?;
        for part in &priority.parts {
            let score = f64::from(part.score_permille) / 10.0;
            let (name, weight, points) = (&part.parameter, part.weight, part.points);
            writeln!(
                f,
                "  {name:<24} score {score:>5.1} %  weight {weight:>3}  {points:>8}"
            )?;
        }
        write!(f, "members   {}", members.len())?;
        for member in members {
            let candidate = if member.candidate {
                ""
            } else {
                ", no candidate"
            };
            let (name, address, priority) = (&member.name, member.address, member.priority);
            write!(
                f,
                "\n  {name:<20} {address:<24} priority {priority}{candidate}"
            )?;
        }
        let rejected = counters
            .rejected
            .iter()
            .filter(|(reason, count)| **count > 0 && *reason != "own-echo");
        for (reason, count) in rejected {
            write!(f, "\nrejected  {count} datagrams: {reason}")?;
        }
        Ok(())
    }
}
