//! What an agent costs when nothing happens.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellwether_lab::{Lab, Program, until};

use super::{NODES, PATIENCE};
use crate::bench::Bench;
use crate::bench::table::Table;

/// Long enough that a tick of the kernel's accounting, 10 ms, is a hundredth of a per cent.
const WATCHED: Duration = Duration::from_secs(100);

const MIB: f64 = (1 << 20) as f64;

pub(super) fn run(bench: &Bench) -> Result<()> {
    let mut table = Table::new(
        &format!("nothing happens for {} s, {NODES} nodes", WATCHED.as_secs()),
        &[
            "",
            "RSS MiB",
            "of a core",
            "sent B/s by a member",
            "sent B/s by the leader",
        ],
    );
    for profile in ["fast", "classic"] {
        let mut lab = Lab::open()?;
        let segment = lab.segment()?;
        let hosts = lab.hosts(NODES, segment)?;
        let settings = format!("[timing]\nprofile = {profile:?}\n");
        let mut agents = Vec::new();
        for host in &hosts {
            let command = bench.ours.agent(lab.folder(), host.name(), &settings)?;
            agents.push(host.start(command)?);
        }
        until("every agent is registered or leads", PATIENCE, || {
            agents
                .iter()
                .all(|agent| said(agent, "registered: ") || said(agent, "leading: "))
        })?;
        let sent = || {
            hosts
                .iter()
                .map(|host| Ok(host.counters()?.sent_bytes))
                .collect::<Result<Vec<u64>>>()
        };
        let used = || {
            agents
                .iter()
                .map(|agent| Ok(agent.usage()?.processor))
                .collect::<Result<Vec<_>>>()
        };
        let before = (used()?, sent()?);
        thread::sleep(WATCHED);
        let after = (used()?, sent()?);
        let resident = agents.iter().map(|agent| Ok(agent.usage()?.resident_bytes));
        let resident = resident.collect::<Result<Vec<_>>>()?.into_iter().max();
        let most = after
            .0
            .iter()
            .zip(&before.0)
            .map(|(after, before)| *after - *before)
            .max();
        let mut rates: Vec<f64> = after
            .1
            .iter()
            .zip(&before.1)
            .map(|(after, before)| (after - before) as f64 / WATCHED.as_secs_f64())
            .collect();
        rates.sort_by(f64::total_cmp);
        ensure!(
            agents
                .iter()
                .filter(|agent| said(agent, "leading: "))
                .count()
                == 1,
            "one led"
        );
        table.row(&[
            format!("**bellwether agent**, `{profile}`"),
            format!("{:.1}", resident.context("there are agents")? as f64 / MIB),
            format!(
                "{:.3} %",
                most.context("there are agents")?.div_duration_f64(WATCHED) * 100.0
            ),
            format!("{:.0}", rates[0]),
            format!("{:.0}", rates[NODES - 1]),
        ]);
    }
    table.print();
    Ok(())
}

fn said(agent: &Program, words: &str) -> bool {
    let lines = agent.transcript().since(0);
    lines.iter().any(|line| line.text.contains(words))
}
