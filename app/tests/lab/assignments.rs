//! Assignments that a leader brings to its segment.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bellwether_agent::{Answer, GroupRequest, OfferRequest, Request, TransferStatus};
use bellwether_kit::farm::{Farm, Files, Making, make, noise};
use bellwether_lab::{Fault, Lab, Loss, Shape, Traffic, in_lab, until};

use crate::agents::Agents;

/// Bits a second of every link: what is sent takes a while then, and faults find it under way.
const RATE: u64 = 100_000_000;
const PATIENCE: Duration = Duration::from_secs(240);
const MIB: u64 = 1 << 20;

/// An assignment of about so many bytes, as a file that lies beside the agents' directories.
fn assignment(lab: &Lab, len: u64) -> Result<PathBuf> {
    let target = Farm::new(&Files::from([("content.gif", noise(len, len as usize))]));
    let making = Making {
        compressible: &|_| false,
        ..Making::default()
    };
    let parts = make(&Farm::default(), &target, &making);
    let [part] = parts.as_slice() else {
        bail!("{} parts", parts.len());
    };
    let path = lab.folder().join(format!("assignment{len}"));
    fs::write(&path, part)?;
    Ok(path)
}

/// Agents on links of [`RATE`], settled; and who leads them.
fn settled(lab: &mut Lab, count: usize) -> Result<(Agents<'_>, usize)> {
    let segment = lab.segment()?;
    let hosts = lab.hosts(count, segment)?;
    for host in &hosts {
        lab.shape(host, Shape::rate(RATE))?;
    }
    let agents = Agents::start_on(lab, hosts, String::new())?;
    let (leader, _) = agents.settle_all()?;
    Ok((agents, leader))
}

fn offer(agents: &Agents<'_>, leader: usize, file: &Path, group: Option<&str>) -> Result<String> {
    let request = OfferRequest {
        file: file.to_owned(),
        group: group.map(str::to_owned),
        members: Vec::new(),
    };
    match agents.ask(leader, Request::Offer(request))? {
        Answer::Done(id) => Ok(id),
        other => bail!("{other:?}"),
    }
}

fn transfer(agents: &Agents<'_>, index: usize, id: &str) -> Option<TransferStatus> {
    match agents.ask(index, Request::Transfers) {
        Ok(Answer::Transfers(all)) => all.into_iter().find(|one| one.assignment == id),
        _ => None,
    }
}

/// Bytes that left a host.
fn sent(agents: &Agents<'_>, index: usize) -> u64 {
    let counters = agents.hosts[index].counters();
    counters.map_or(0, |counters| counters.sent_bytes)
}

fn received(agents: &Agents<'_>, index: usize) -> u64 {
    let counters = agents.hosts[index].counters();
    counters.map_or(0, |counters| counters.received_bytes)
}

/// Waits until all of these hold exactly what is in the file.
fn arrives(agents: &Agents<'_>, who: &[usize], id: &str, file: &Path) -> Result<()> {
    let mut seen = Vec::new();
    let whole = until("the assignment is everywhere", PATIENCE, || {
        seen = who
            .iter()
            .map(|index| transfer(agents, *index, id))
            .collect();
        seen.iter()
            .all(|one: &Option<TransferStatus>| one.as_ref().is_some_and(|one| one.path.is_some()))
    });
    whole.with_context(|| format!("{seen:#?}"))?;
    let expected = fs::read(file)?;
    for index in who {
        let path = agents.data(*index).join("assignments").join(id);
        ensure!(fs::read(path)? == expected, "h{} has another", index + 1);
    }
    Ok(())
}

/// Waits until the leader knows that all of so many have it.
fn reported(agents: &Agents<'_>, leader: usize, id: &str, count: usize) -> Result<TransferStatus> {
    let mut last = None;
    let done = until("the leader knows of all", PATIENCE, || {
        last = transfer(agents, leader, id);
        last.as_ref().is_some_and(|one| {
            let complete = one.receivers.iter().filter(|one| one.complete);
            complete.count() == count && !one.is_sent
        })
    });
    done.with_context(|| format!("{last:#?}"))?;
    last.context("it is there")
}

/// Waits until so many bytes more than `before` left a host.
fn under_way(agents: &Agents<'_>, index: usize, before: u64, bytes: u64) -> Result<()> {
    until("it is under way", PATIENCE, || {
        sent(agents, index) > before + bytes
    })
}

/// MCTP-01, MCTP-06, MCTP-19: one copy on the wire, exactly the bytes everywhere, and the leader knows.
#[test]
fn what_a_leader_offers_comes_to_every_member_with_one_copy_on_the_wire() {
    in_lab(|lab| {
        let (agents, leader) = settled(lab, 5)?;
        let file = assignment(agents.lab, 8 * MIB)?;
        let before = sent(&agents, leader);
        let id = offer(&agents, leader, &file, None)?;
        arrives(&agents, &[0, 1, 2, 3, 4], &id, &file)?;
        let status = reported(&agents, leader, &id, 4)?;
        let bytes = sent(&agents, leader) - before;
        ensure!(bytes < 8 * MIB * 13 / 10, "{bytes} bytes: {status:#?}");
        let refused = offer(&agents, (leader + 1) % 5, &file, None).unwrap_err();
        ensure!(refused.to_string().contains("does not lead"), "{refused}");
        Ok(())
    });
}

/// CGRP-05, CGRP-08, CHAN-04, CHAN-05, CHAN-07, MCTP-21: to whom it does not belong nothing of it comes.
#[test]
fn what_is_for_a_group_comes_to_its_members_alone() {
    in_lab(|lab| {
        let segment = lab.segment()?;
        lab.set_snooping(segment, true)?;
        let hosts = lab.hosts(5, segment)?;
        let agents = Agents::start_on(lab, hosts, String::new())?;
        let (leader, _) = agents.settle_all()?;
        let [one, other, out] = [1, 2, 3].map(|step| (leader + step) % 5);
        let name = |index: usize| format!("h{}", index + 1);
        let groups = [
            ("shop", "239.66.9.1:7801", [one, other]),
            ("blog", "239.66.9.2:7802", [other, out]),
        ];
        for (group, channel, members) in groups {
            agents.ask(
                leader,
                Request::Group(GroupRequest {
                    group: group.to_owned(),
                    channel: channel.parse()?,
                    members: members.map(name).to_vec(),
                }),
            )?;
        }
        for (index, group) in [
            (one, "shop"),
            (other, "shop"),
            (other, "blog"),
            (out, "blog"),
        ] {
            let words = format!("belongs to group {group}");
            let transcript = agents.programs[index]
                .as_ref()
                .context("it runs")?
                .transcript();
            transcript.await_line(0, &words, PATIENCE)?;
        }
        let before = [received(&agents, one), received(&agents, out)];
        let files = [
            assignment(agents.lab, 3 * MIB)?,
            assignment(agents.lab, 2 * MIB)?,
        ];
        let shop = offer(&agents, leader, &files[0], Some("shop"))?;
        arrives(&agents, &[one, other], &shop, &files[0])?;
        reported(&agents, leader, &shop, 2)?;
        let came = [
            received(&agents, one) - before[0],
            received(&agents, out) - before[1],
        ];
        ensure!(came[0] > 3 * MIB && came[1] < MIB / 4, "{came:?}");
        let blog = offer(&agents, leader, &files[1], Some("blog"))?;
        arrives(&agents, &[other, out], &blog, &files[1])?;
        ensure!(transfer(&agents, out, &shop).is_none());
        ensure!(transfer(&agents, one, &blog).is_none());
        Ok(())
    });
}

/// ARCH-08, MCTP-22: the next leader goes on from what it and the others hold.
#[test]
fn when_a_leader_hands_over_in_the_middle_the_next_one_sends_what_is_lacking() {
    in_lab(|lab| {
        let (agents, leader) = settled(lab, 4)?;
        let file = assignment(agents.lab, 24 * MIB)?;
        let member = (leader + 3) % 4;
        let (before, before_member) = (sent(&agents, leader), received(&agents, member));
        let id = offer(&agents, leader, &file, None)?;
        under_way(&agents, leader, before, 8 * MIB)?;
        agents.ask(leader, Request::StepDown)?;
        arrives(&agents, &[0, 1, 2, 3], &id, &file)?;
        let (next, _) = agents.settle_all()?;
        ensure!(next != leader, "h{} still leads", next + 1);
        let status = reported(&agents, next, &id, 3)?;
        let came = received(&agents, member) - before_member;
        ensure!(
            came < 24 * MIB * 125 / 100,
            "{came} bytes came: {status:#?}"
        );
        Ok(())
    });
}

/// ARCH-09: a leader is killed in the middle. When it is back, what only it had comes from it, and the rest from nobody twice.
#[test]
fn when_a_leader_is_killed_in_the_middle_the_next_one_goes_on() {
    in_lab(|lab| {
        let (mut agents, leader) = settled(lab, 4)?;
        let file = assignment(agents.lab, 24 * MIB)?;
        let member = (leader + 3) % 4;
        let (before, before_member) = (sent(&agents, leader), received(&agents, member));
        let id = offer(&agents, leader, &file, None)?;
        under_way(&agents, leader, before, 8 * MIB)?;
        agents.kill(leader)?;
        let (next, _) = agents.settle_all()?;
        agents.run(leader)?;
        arrives(&agents, &[0, 1, 2, 3], &id, &file)?;
        agents.settle_all()?;
        let status = reported(&agents, next, &id, 3)?;
        let came = received(&agents, member) - before_member;
        ensure!(
            came < 24 * MIB * 125 / 100,
            "{came} bytes came: {status:#?}"
        );
        Ok(())
    });
}

/// MCTP-22: killed and started again, and started late: both get what they lack.
#[test]
fn a_member_that_restarts_and_one_that_comes_late_get_what_they_lack() {
    in_lab(|lab| {
        let (mut agents, leader) = settled(lab, 5)?;
        let [back, late] = [1, 2].map(|step| (leader + step) % 5);
        agents.kill(late)?;
        let rest: Vec<usize> = agents.running();
        agents.settle(&rest)?;
        let file = assignment(agents.lab, 24 * MIB)?;
        let before = sent(&agents, leader);
        let before_back = received(&agents, back);
        let id = offer(&agents, leader, &file, None)?;
        under_way(&agents, leader, before, 8 * MIB)?;
        agents.kill(back)?;
        agents.run(back)?;
        agents.run(late)?;
        arrives(&agents, &[0, 1, 2, 3, 4], &id, &file)?;
        let came = received(&agents, back) - before_back;
        // What the late one lacks is multicast, too.
        ensure!(came < 24 * MIB * 2, "{came} bytes came");
        Ok(())
    });
}

/// CHAN-01: whom multicast does not reach is served by a neighbour.
#[test]
fn a_member_that_frames_do_not_reach_is_served_alone() {
    in_lab(|lab| {
        let (agents, leader) = settled(lab, 4)?;
        let deaf = agents.hosts[(leader + 2) % 4].clone();
        let fault = Fault::new(Loss::All).of(Traffic::Multicast).to(&[&deaf]);
        agents.lab.set_faults(&[fault])?;
        let file = assignment(agents.lab, 4 * MIB)?;
        let id = offer(&agents, leader, &file, None)?;
        arrives(&agents, &[0, 1, 2, 3], &id, &file)?;
        reported(&agents, leader, &id, 3).map(drop)
    });
}

/// ARCH-09: one member's interface goes for a while in the middle.
#[test]
fn a_member_whose_interface_goes_for_a_while_gets_the_rest() {
    in_lab(|lab| {
        let (agents, leader) = settled(lab, 4)?;
        let file = assignment(agents.lab, 24 * MIB)?;
        let before = sent(&agents, leader);
        let id = offer(&agents, leader, &file, None)?;
        under_way(&agents, leader, before, 4 * MIB)?;
        let host = agents.hosts[(leader + 1) % 4].clone();
        host.take_down()?;
        under_way(&agents, leader, before, 12 * MIB)?;
        host.bring_up()?;
        arrives(&agents, &[0, 1, 2, 3], &id, &file)
    });
}

/// Two parts, each with a leader that sends the same: nothing is spoilt, and when they meet one of them goes on.
#[test]
fn two_leaders_that_send_the_same_and_meet_again_spoil_nothing() {
    in_lab(|lab| {
        let (mut agents, leader) = settled(lab, 6)?;
        ensure!(leader == 0, "h{} leads", leader + 1);
        let file = assignment(agents.lab, 24 * MIB)?;
        agents.part(&[0, 1, 2])?;
        agents.settle(&[0, 1, 2])?;
        let (other, _) = agents.settle(&[3, 4, 5])?;
        let before = sent(&agents, 0);
        let id = offer(&agents, 0, &file, None)?;
        let same = offer(&agents, other, &file, None)?;
        ensure!(id == same, "{id} and {same}");
        under_way(&agents, 0, before, 6 * MIB)?;
        agents.lab.set_faults(&[])?;
        agents.settle_all()?;
        arrives(&agents, &[0, 1, 2, 3, 4, 5], &id, &file)
    });
}

/// A segment without any multicast is a chain: nobody sends it more than twice.
#[test]
fn where_there_is_no_multicast_members_pass_it_on() {
    in_lab(|lab| {
        let segment = lab.segment()?;
        let hosts = lab.hosts(5, segment)?;
        for host in &hosts {
            lab.shape(host, Shape::rate(RATE))?;
        }
        lab.set_faults(&[Fault::new(Loss::All).of(Traffic::Multicast)])?;
        let peers = format!(
            "[channel]\nport = 7711\npeers = [\"{}:7711\"]\n",
            hosts[0].ipv4()
        );
        let agents = Agents::start_on(lab, hosts, peers)?;
        let (leader, _) = agents.settle_all()?;
        let file = assignment(agents.lab, 6 * MIB)?;
        let before: Vec<u64> = (0..5).map(|index| sent(&agents, index)).collect();
        let id = offer(&agents, leader, &file, None)?;
        arrives(&agents, &[0, 1, 2, 3, 4], &id, &file)?;
        reported(&agents, leader, &id, 4)?;
        for (index, before) in before.iter().enumerate() {
            let bytes = sent(&agents, index) - before;
            ensure!(bytes < 6 * MIB * 5 / 2, "h{} sent {bytes} bytes", index + 1);
        }
        Ok(())
    });
}
