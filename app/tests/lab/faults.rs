//! What goes wrong in a network.

use anyhow::ensure;
use bellwether_agent::Multicast;
use bellwether_lab::{Fault, Loss, Traffic, in_lab};

use crate::agents::{Agents, comes, counter};

/// GROUP-01: both parts govern themselves, and become one again that knows what both knew.
#[test]
fn a_partition_of_five_and_three_heals_into_one_segment() {
    in_lab(|lab| {
        let mut agents = Agents::start(lab, 8)?;
        let (_, before) = agents.settle_all()?;
        let (small, large) = ([0, 1, 2], [3, 4, 5, 6, 7]);
        agents.part(&small)?;
        let one = agents.settle(&small)?;
        let other = agents.settle(&large)?;
        ensure!(
            one.0 == 0 && other.0 == 3,
            "h{} and h{}",
            one.0 + 1,
            other.0 + 1
        );
        ensure!(
            counter(&other.1) > counter(&before),
            "{before}, then {}",
            other.1
        );
        agents.lab.set_faults(&[])?;
        let (_, after) = agents.settle_all()?;
        ensure!(
            counter(&after) >= counter(&other.1),
            "{} then {after}",
            other.1
        );
        let merges = agents
            .running()
            .into_iter()
            .filter_map(|index| agents.status(index).ok());
        let merges: u64 = merges.map(|status| status.counters.merges).sum();
        ensure!(merges > 0, "nobody merged");
        Ok(())
    });
}

/// A leader that sends but does not hear is of no use: it must notice, and another must lead.
#[test]
fn a_leader_that_hears_nobody_is_replaced() {
    in_lab(|lab| {
        let agents = Agents::start(lab, 5)?;
        let (leader, epoch) = agents.settle_all()?;
        let deaf = agents.hosts[leader].clone();
        agents
            .lab
            .set_faults(&[Fault::new(Loss::All).to(&[&deaf])])?;
        let others: Vec<usize> = (0..5).filter(|index| *index != leader).collect();
        let (next, later) = agents.settle(&others)?;
        ensure!(next != leader && counter(&later) > counter(&epoch));
        // Two leaders meet: the office goes to the stronger one, by an election that all take part in.
        agents.lab.set_faults(&[])?;
        let (_, last) = agents.settle_all()?;
        ensure!(counter(&last) > counter(&later), "{later}, then {last}");
        Ok(())
    });
}

/// A member whose words are lost, but which hears: it cannot register, and deposes nobody.
#[test]
fn a_member_that_is_not_heard_deposes_nobody() {
    in_lab(|lab| {
        let agents = Agents::start(lab, 4)?;
        let (leader, epoch) = agents.settle_all()?;
        let mute = agents.hosts[3].clone();
        agents
            .lab
            .set_faults(&[Fault::new(Loss::All).from(&[&mute])])?;
        let others = [0, 1, 2];
        let (still, same) = agents.settle(&others)?;
        ensure!(still == leader && same == epoch, "h{} in {same}", still + 1);
        agents.lab.set_faults(&[])?;
        let (still, same) = agents.settle_all()?;
        ensure!(still == leader && same == epoch, "h{} in {same}", still + 1);
        Ok(())
    });
}

#[test]
fn a_segment_forms_and_replaces_its_leader_at_five_per_cent_loss() {
    forms_and_replaces_its_leader(50);
}

#[test]
fn a_segment_forms_and_replaces_its_leader_at_twenty_per_cent_loss() {
    forms_and_replaces_its_leader(200);
}

fn forms_and_replaces_its_leader(loss_permille: u16) {
    in_lab(|lab| {
        lab.set_faults(&[Fault::new(Loss::PerMille(loss_permille))])?;
        let mut agents = Agents::start(lab, 5)?;
        let (_, mut epoch) = agents.settle_all()?;
        for _ in 0..3 {
            let (leader, _) = agents.settle_all()?;
            agents.kill(leader)?;
            let (_, later) = agents.settle_all()?;
            ensure!(counter(&later) > counter(&epoch), "{epoch}, then {later}");
            agents.run(leader)?;
            epoch = later;
        }
        agents.settle_all().map(drop)
    });
}

/// CHAN-01: a switch forgets who listens; unicast lives.
#[test]
fn multicast_that_dies_while_unicast_lives_is_noticed_and_deposes_nobody() {
    in_lab(|lab| {
        let mut agents = Agents::start(lab, 4)?;
        let (leader, _) = agents.settle_all()?;
        agents
            .lab
            .set_faults(&[Fault::new(Loss::All).of(Traffic::Multicast)])?;
        comes("members notice that multicast is lost", || {
            let members = (0..4).filter(|index| *index != leader);
            let mut seen = members.map(|index| agents.status(index));
            seen.all(|status| status.is_ok_and(|status| status.multicast == Multicast::Lost))
        })?;
        let (still, _) = agents.settle_all()?;
        ensure!(still == leader, "h{} leads", still + 1);
        agents.kill(leader)?;
        agents.settle_all()?;
        agents.run(leader)?;
        agents.lab.set_faults(&[])?;
        agents.settle_all()?;
        comes("multicast is back", || {
            let mut seen = (0..4).map(|index| agents.status(index));
            seen.all(|status| status.is_ok_and(|status| status.multicast == Multicast::Works))
        })
    });
}

/// A network where no multicast ever works: one address is enough to find all, and the protocol is the same.
#[test]
fn without_multicast_agents_find_each_other_by_one_address() {
    in_lab(|lab| {
        let segment = lab.segment()?;
        let hosts = lab.hosts(5, segment)?;
        let known = hosts[0].ipv4();
        lab.set_faults(&[Fault::new(Loss::All).of(Traffic::Multicast)])?;
        let settings = format!("[channel]\nport = 7767\npeers = [\"{known}:7767\"]\n");
        let mut agents = Agents::start_on(lab, hosts, settings)?;
        let (leader, epoch) = agents.settle_all()?;
        ensure!(agents.status(leader)?.multicast == Multicast::Unused);
        // Also without the one that all were told of.
        agents.kill(0)?;
        let (_, later) = agents.settle_all()?;
        ensure!(counter(&later) >= counter(&epoch), "{epoch}, then {later}");
        agents.run(0)?;
        agents.settle_all().map(drop)
    });
}

/// An interface that goes down and comes back.
#[test]
fn a_leader_whose_interface_went_down_comes_back_as_a_member() {
    in_lab(|lab| {
        let agents = Agents::start(lab, 3)?;
        let (leader, epoch) = agents.settle_all()?;
        let host = agents.hosts[leader].clone();
        host.take_down()?;
        let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        let (next, later) = agents.settle(&others)?;
        ensure!(counter(&later) > counter(&epoch), "{epoch}, then {later}");
        comes("it says that its interface is down", || {
            agents
                .status(leader)
                .is_ok_and(|status| !status.interface_up)
        })?;
        host.bring_up()?;
        let (still, _) = agents.settle_all()?;
        ensure!(still == next || still == leader, "h{} leads", still + 1);
        Ok(())
    });
}
