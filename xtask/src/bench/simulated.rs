//! Segments in the simulator: what no lab has room or time for. All in `fast` with a heartbeat of 100 ms, links of 0.2 to
//! 1 ms and up to 2 ms of jitter, unless said.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Bench;
use super::table::{Table, Target, number, print_targets};
use crate::shell;

/// Nodes, loss in percent, seeds, and leaders killed in each of them.
const FAILOVERS: [(u32, u32, u64, u64); 7] = [
    (5, 0, 10_000, 1),
    (5, 1, 10_000, 1),
    (10, 0, 1_000, 10),
    (100, 0, 100, 20),
    (100, 1, 100, 20),
    (500, 0, 20, 20),
    (1_000, 0, 5, 20),
];

/// Of the median failover: three heartbeats of silence of which half a one had passed, a vote, a datagram's way.
const FLOOR_MS: f64 = 250.0 + 14.0 + 1.6;
/// Of the slowest: nothing had passed.
const FLOOR_MAX_MS: f64 = 300.0 + 14.0 + 3.0;

pub(super) fn run(bench: &Bench) -> Result<()> {
    failovers(bench)?;
    segments(bench)
}

fn failovers(bench: &Bench) -> Result<()> {
    let mut table = Table::new(
        "leader killed, simulated, H = 100 ms",
        &[
            "nodes",
            "loss",
            "seeds",
            "failovers",
            "median ms",
            "p99 ms",
            "max ms",
            "floor ms",
            "× floor",
            "claimants p99",
            "multicasts p99",
            "max",
        ],
    );
    let mut targets = Vec::new();
    for (nodes, loss, seeds, kills) in FAILOVERS {
        let seeds = bench.scaled(seeds);
        let scenario = format!(
            "nodes = {nodes}\nstart = \"100ms\"\ntroubled = \"{}ms\"\n[protocol]\nheartbeat = \"100ms\"\n\
             [network]\nloss = {loss}\n[faults.crash]\nwho = \"leader\"\nevery = [\"5s\", \"5100ms\"]\nlasts = \"2s\"\n\
             [expect]\ncalm = \"0s\"\nsettled = \"20s\"\nheir = {}\n",
            5_200 * kills,
            loss == 0
        );
        let file = bench.folder.join(format!("failover-{nodes}-{loss}.toml"));
        std::fs::write(&file, scenario)?;
        let lost = &sim(bench, &file, seeds, &[])?["statistics"]["recoveries"]["leader-lost"];
        let value = |what: &str, which: &str| lost[what][which].as_f64().unwrap_or(f64::NAN);
        let (median, p99) = (value("took_ms", "median"), value("took_ms", "p99"));
        table.row(&[
            nodes.to_string(),
            format!("{loss} %"),
            number(seeds as f64),
            number(value("took_ms", "count")),
            format!("{median:.0}"),
            format!("{p99:.0}"),
            format!("{:.0}", value("took_ms", "max")),
            format!("{FLOOR_MS:.0} to {FLOOR_MAX_MS:.0}"),
            format!("{:.2}", median / FLOOR_MS),
            number(value("claimants", "p99")),
            number(value("multicasts", "p99")),
            number(value("multicasts", "max")),
        ]);
        let promise = |what: &str| format!("{what}, {nodes} nodes, {loss} % lost");
        let bound = if loss == 0 { 400.0 } else { 600.0 };
        targets.push(Target::new(promise("failover p99 in ms"), p99, bound));
        let most = value("multicasts", "max");
        targets.push(Target::new(
            promise("multicasts at worst"),
            most,
            2.0 * f64::from(nodes),
        ));
        if loss == 0 {
            let claimants = value("claimants", "p99");
            targets.push(Target::new(promise("claimants p99"), claimants, 1.0));
            let usual = value("multicasts", "median");
            targets.push(Target::new(promise("multicasts median"), usual, 3.0));
        }
    }
    table.print();
    print_targets(&targets);
    Ok(())
}

fn segments(bench: &Bench) -> Result<()> {
    let mut targets = Vec::new();
    let mut of = |name: &str, seeds: u64, options: &[&str], figures: &[(&str, &str, f64)]| {
        let reply = sim(bench, Path::new(name), bench.scaled(seeds), options)?;
        for (promise, pointer, limit) in figures {
            let value = reply.pointer(pointer).and_then(Value::as_f64);
            let value = value.with_context(|| format!("{name} said nothing of {pointer}"))?;
            targets.push(Target::new(*promise, value, *limit));
        }
        anyhow::Ok(())
    };
    const STARTED: &str = "/statistics/recoveries/cold-start/took_ms/max";
    const REGISTERED: &str = "/statistics/recoveries/cold-start/registrations/max";
    const BUSIEST: &str = "/statistics/registrations_second_max";
    of(
        "step-down",
        1_000,
        &[],
        &[(
            "step-down: successor obeyed, p99 in ms",
            "/statistics/recoveries/step-down/took_ms/p99",
            200.0,
        )],
    )?;
    of(
        "formation",
        20,
        &[],
        &[
            ("500 nodes form one segment, ms", STARTED, 10_000.0),
            (
                "registrations, reports and questions for 500 nodes",
                REGISTERED,
                1_500.0,
            ),
        ],
    )?;
    of(
        "formation",
        3,
        &["--nodes", "2000"],
        &[
            (
                "2,000 nodes form one segment: registrations in the busiest second",
                BUSIEST,
                2_000.0,
            ),
            (
                "registrations, reports and questions for 2,000 nodes",
                REGISTERED,
                6_000.0,
            ),
        ],
    )?;
    of(
        "formation",
        3,
        &["--nodes", "10000", "--segments", "500"],
        &[("10,000 nodes form 500 segments, ms", STARTED, 60_000.0)],
    )?;
    of(
        "merge-10",
        50,
        &[],
        &[(
            "ten parts of 500 nodes merge while a sender dies, ms",
            "/statistics/recoveries/heal/took_ms/max",
            3_000.0,
        )],
    )?;
    of(
        "steady",
        5,
        &[],
        &[(
            "100 nodes in `classic` when nothing happens, bytes/s on the wire",
            "/statistics/calm_rate/max",
            2_048.0,
        )],
    )?;
    of(
        "pause",
        500,
        &[],
        &[(
            "false leader changes at 5 % loss and pauses of half the silence, in 80 h",
            "/statistics/false_reigns",
            0.0,
        )],
    )?;
    println!("### segments, simulated\n");
    print_targets(&targets);
    Ok(())
}

fn sim(bench: &Bench, scenario: &Path, seeds: u64, options: &[&str]) -> Result<Value> {
    let mut command = bench.ours.command();
    command.arg("sim").arg("--scenario").arg(scenario);
    command.args(["--seeds", &seeds.to_string()]).args(options);
    let printed = shell::read(&mut command)?;
    serde_json::from_str(printed.trim()).context("the simulator's reply is not JSON")
}
