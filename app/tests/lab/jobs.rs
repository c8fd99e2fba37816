//! Jobs on which something goes wrong in each of their phases: what nodes serve is never a mixture, whoever missed it is
//! named, and has it soon after.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bellwether_lab::disk::{self, Disk};
use bellwether_lab::farm::Farm;
use bellwether_lab::{Fault, Host, in_lab};
use serde_json::Value;

use crate::sites::{MIB, job_is, launch, over, site, slow, staged, start, under_way, unmixed};

/// What a job is at when something happens to it. It is made live by hand, so that it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Bytes are on their way.
    Sending,
    /// All have staged it.
    Staged,
    /// It was just ordered.
    Ordered,
}

/// Publishes a tree up to that phase; the job.
fn publish_up_to(farm: &Farm<'_>, tree: &Path, phase: Phase) -> Result<String> {
    let job = launch(farm, tree)?;
    if phase == Phase::Sending {
        under_way(farm, &job)?;
        return Ok(job);
    }
    staged(farm, &job, farm.nodes.len() as u64)?;
    if phase == Phase::Ordered {
        farm.run(&["job", "commit", &job])?;
    }
    Ok(job)
}

/// A first version that is live on all nodes.
fn first(farm: &Farm<'_>, tree: &Path) -> Result<()> {
    let job = publish_up_to(farm, tree, Phase::Ordered)?;
    over(farm, &job)?;
    farm.serves(tree)
}

/// JOB-04: nothing is concluded of a segment as long as nobody hears it, and it goes on where it was.
/// An order that reaches neither a segment nor a member of another makes nobody else wait: who missed it is named, and
/// repaired without being asked.
#[test]
fn who_is_cut_off_goes_on_later_and_who_missed_the_order_is_named_and_repaired() {
    in_lab(|lab| {
        let farm = start(lab, 2, 2)?;
        farm.define(&["--commit", "by-hand", "--quorum-after", "25%"])?;
        let [one, two] = [(1, 0), (2, 6 * MIB)].map(|(v, film)| site(farm.lab.folder(), v, film));
        let (one, two) = (one?, two?);
        first(&farm, &one)?;
        slow(&farm)?;
        let job = publish_up_to(&farm, &two, Phase::Sending)?;
        farm.lab.set_faults(&cut_off(&farm, 1))?;
        farm.silent(1)?;
        unmixed(&farm, &[&one])?;
        farm.lab.set_faults(&[])?;
        staged(&farm, &job, 4)?;

        let reached = farm.leader(0)?;
        let (missed, others): (Vec<_>, Vec<_>) = (0..4).partition(|index| *index == 1 - reached);
        let hosts = |nodes: Vec<usize>| nodes.into_iter().map(|index| &farm.nodes[index].host);
        let others: Vec<&Host> = hosts(others).chain([&farm.control]).collect();
        let missed: Vec<&Host> = hosts(missed).collect();
        let parted = Fault::partition(&missed, &others);
        let faults = [cut_off(&farm, 1), parted.to_vec()].concat();
        farm.lab.set_faults(&faults)?;
        farm.run(&["job", "commit", &job])?;
        let ended = over(&farm, &job)?;
        let named = ended["faults"].as_array().map_or(0, Vec::len);
        let is_partly_done = ended["status"] == "completed with missing nodes";
        ensure!(
            is_partly_done && ended["done"] == 1 && named == 3,
            "{ended:#}"
        );
        ensure!(farm.serves_on(&farm.nodes[reached], &two));
        unmixed(&farm, &[&one, &two])?;
        farm.lab.set_faults(&[])?;
        farm.serves(&two)?;
        let is_known = |job: &Value| job["status"] == "completed";
        job_is(&farm, &job, "it is known that nobody is behind", is_known).map(drop)
    });
}

/// ARCH-09, CCM-09, JOB-04: a member or a leader that dies in whatever phase is soon back, and serves what the others
/// do.
#[test]
fn a_member_or_leader_killed_in_any_phase_comes_back_to_what_is_live() {
    in_lab(|lab| {
        let mut farm = start(lab, 1, 3)?;
        farm.define(&["--commit", "by-hand", "--quorum-after", "60%"])?;
        let mut before = site(farm.lab.folder(), 1, 0)?;
        first(&farm, &before)?;
        slow(&farm)?;
        let phases = [Phase::Sending, Phase::Staged, Phase::Ordered];
        let faults = phases
            .into_iter()
            .flat_map(|phase| [(phase, false), (phase, true)]);
        for (version, (phase, leads)) in (2..).zip(faults) {
            let film = if phase == Phase::Sending { 4 * MIB } else { 0 };
            let next = site(farm.lab.folder(), version, film)?;
            let leader = farm.leader(0)?;
            let victim = if leads { leader } else { (leader + 1) % 3 };
            let job = publish_up_to(&farm, &next, phase)?;
            farm.kill(victim)?;
            unmixed(&farm, &[&before, &next])?;
            if phase != Phase::Ordered {
                staged(&farm, &job, 2)?;
                farm.run(&["job", "commit", &job])?;
            }
            farm.serves(&next)?;
            farm.start_node(victim)?;
            farm.serves(&next)?;
            before = next;
            farm.heard()?;
        }
        Ok(())
    });
}

/// INTERP-03, REPORT-01: no room on a member, on a leader, on the control server. Whoever has none says so in words, all
/// others go live; once there is room, all goes on.
#[test]
fn who_has_no_room_says_so_and_holds_up_nobody() {
    in_lab(|lab| {
        let mut farm = start(lab, 2, 2)?;
        farm.define(&["--quorum-after", "50%"])?;
        let mut tree = site(farm.lab.folder(), 1, 0)?;
        farm.publish(&tree)?;
        let leaders = [farm.leader(0)?, farm.leader(1)?];
        let full = [1 - leaders[0], leaders[1]];
        farm.restart_server_on(Some(SMALL))?;
        for index in full {
            farm.kill(index)?;
            farm.nodes[index].disk = Some(SMALL);
            farm.start_node(index)?;
        }
        farm.heard()?;
        let other = 5 - full[1];
        farm.kill(other)?;
        farm.heard()?;
        farm.start_node(other)?;
        farm.heard()?;
        ensure!(farm.leader(1)? == full[1] && farm.leader(0)? != full[0]);
        farm.serves(&tree)?;
        for index in full {
            disk::fill(&farm.data_of(&farm.nodes[index]), MIB as u64)?;
        }
        tree = site(farm.lab.folder(), 2, 8 * MIB)?;
        let job = launch(&farm, &tree)?;
        let ended = over(&farm, &job)?;
        let faults = ended["faults"].as_array().context("faults")?;
        let says = |fault: &Value, word| fault["reason"].as_str().is_some_and(|r| r.contains(word));
        let full_ones = faults
            .iter()
            .filter(|fault| says(fault, "No space left") || says(fault, "bytes free"));
        ensure!(full_ones.count() == 2 && ended["done"] == 2, "{ended:#}");

        disk::fill(&farm.data_of_server(), 0)?;
        tree = site(farm.lab.folder(), 3, MIB)?;
        let refused = farm.publish(&tree).err().context("there is no room")?;
        let refused = refused.to_string();
        ensure!(
            refused.contains("no-space") && refused.contains("make room"),
            "{refused}"
        );
        ensure!(farm.run(&["status"]).is_ok());
        disk::make_room(&farm.data_of_server())?;
        for index in full {
            disk::make_room(&farm.data_of(&farm.nodes[index]))?;
        }
        // It may not be known yet that there is room: then it is brought to them as soon as that is.
        launch(&farm, &tree)?;
        farm.serves(&tree)?;
        Ok(())
    });
}

const SMALL: Disk = Disk { bytes: 64 << 20 };

/// COMMIT-01: steady clocks that are hours apart, of the leader, its members and the control server, agree on an instant.
#[test]
fn nodes_whose_clocks_are_hours_apart_commit_together() {
    in_lab(|lab| {
        let mut farm = start(lab, 1, 3)?;
        farm.define(&[])?;
        for (index, ahead_s) in [(0, 3_600), (1, 7_200)] {
            farm.kill(index)?;
            farm.heard()?;
            farm.nodes[index].ahead_s = ahead_s;
            farm.start_node(index)?;
        }
        farm.heard()?;
        let tree = site(farm.lab.folder(), 1, 0)?;
        farm.publish(&tree)?;
        farm.serves(&tree)
    });
}

/// ARCH-05, ARCH-13: nothing listens but what `docs/quick-start.md` and `docs/agent.md` name.
#[test]
fn no_port_is_open_that_is_not_documented() {
    in_lab(|lab| {
        let farm = start(lab, 1, 2)?;
        farm.define(&[])?;
        let tree = site(farm.lab.folder(), 1, MIB)?;
        farm.publish(&tree)?;
        let server = open_ports(&farm.control)?;
        ensure!(server == ["tcp 0.0.0.0:7443"], "{server:?}");
        for node in &farm.nodes {
            let (alone, others): (Vec<_>, Vec<_>) = open_ports(&node.host)?
                .into_iter()
                .partition(|port| port.starts_with("udp 0.0.0.0:"));
            let named = [
                "tcp 0.0.0.0:7768",
                "udp 239.255.77.66:7766",
                "udp 239.255.77.66:7767",
            ];
            ensure!(alone.len() == 2 && others == named, "{alone:?}, {others:?}");
        }
        Ok(())
    });
}

/// What can be reached on a host, `tcp 0.0.0.0:7443` and the like, in order.
fn open_ports(host: &Host) -> Result<Vec<String>> {
    let mut open = Vec::new();
    for (protocol, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let Ok(table) = host.run(&["cat", &format!("/proc/net/{protocol}")]) else {
            // Without IPv6.
            continue;
        };
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, is, ..] = fields[..] else {
                continue;
            };
            let (address, port) = local.split_once(':').context("an address")?;
            let port = u16::from_str_radix(port, 16)?;
            let address = match u32::from_str_radix(address, 16) {
                Ok(bits) => Ipv4Addr::from(bits.swap_bytes()).to_string(),
                Err(_) => address.to_owned(),
            };
            if is == state {
                open.push(format!("{protocol} {address}:{port}"));
            }
        }
    }
    open.sort();
    Ok(open)
}

/// Frames between a segment's nodes and the control server.
fn cut_off(farm: &Farm<'_>, segment: usize) -> Vec<Fault> {
    let nodes = farm.nodes.iter().filter(|node| node.segment == segment);
    let nodes: Vec<&Host> = nodes.map(|node| &node.host).collect();
    Fault::partition(&[&farm.control], &nodes).to_vec()
}
