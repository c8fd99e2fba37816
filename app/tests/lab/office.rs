//! Taking office, losing it, handing it over.

use anyhow::{Context, ensure};
use bellwether_agent::{Answer, Request, State};
use bellwether_lab::in_lab;

use crate::agents::{Agents, bellwether, comes, counter};

/// ELECT-01, ELECT-04, REG-01: all start at once, and nobody was told of anybody.
#[test]
fn eight_that_start_at_once_agree_on_the_preferred_leader_and_all_are_in_its_report() {
    in_lab(|lab| {
        let agents = Agents::start(lab, 8)?;
        let (leader, _) = agents.settle_all()?;
        ensure!(leader == 0, "h{} leads", leader + 1);
        let status = agents.status(7)?;
        ensure!(
            status.why.contains("h1 is the strongest candidate"),
            "{}",
            status.why
        );
        ensure!(status.priority.parts.len() == 8, "{:?}", status.priority);
        let sum: u32 = status.priority.parts.iter().map(|part| part.points).sum();
        ensure!(sum == status.priority.value, "{:?}", status.priority);
        Ok(())
    });
}

/// ELECT-08, ELECT-34: whoever leads dies, again and again; the killed come back and depose nobody.
#[test]
fn a_leader_killed_twenty_times_in_a_row_is_replaced_each_time_in_a_higher_epoch() {
    in_lab(|lab| {
        let mut agents = Agents::start(lab, 5)?;
        let (mut leader, mut epoch) = agents.settle_all()?;
        for kill in 0..20 {
            agents.kill(leader)?;
            let (next, later) = agents
                .settle_all()
                .with_context(|| format!("after kill {kill}"))?;
            ensure!(counter(&later) > counter(&epoch), "{epoch}, then {later}");
            agents.run(leader)?;
            let (still, same) = agents
                .settle_all()
                .with_context(|| format!("h{} is back", leader + 1))?;
            ensure!(
                still == next && same == later,
                "h{} took over from h{}",
                still + 1,
                next + 1
            );
            let back = agents.status(leader)?;
            ensure!(back.node.incarnation > 1, "{:?}", back.node);
            (leader, epoch) = (next, later);
        }
        Ok(())
    });
}

/// ELECT-34: a leader that was paused finds itself deposed, and follows.
#[test]
fn a_leader_that_was_stopped_and_goes_on_follows_its_successor() {
    in_lab(|lab| {
        let mut agents = Agents::start(lab, 5)?;
        let (leader, epoch) = agents.settle_all()?;
        agents.program(leader)?.pause()?;
        let others: Vec<usize> = (0..5).filter(|index| *index != leader).collect();
        comes("the others follow another leader", || {
            let epochs = others
                .iter()
                .map(|index| agents.status(*index).ok().and_then(|status| status.leader));
            epochs
                .into_iter()
                .all(|now| now.is_some_and(|now| now.name != format!("h{}", leader + 1)))
        })?;
        agents.program(leader)?.resume()?;
        let (next, later) = agents.settle_all()?;
        ensure!(
            next != leader && counter(&later) > counter(&epoch),
            "h{} in {later}",
            next + 1
        );
        Ok(())
    });
}

/// A leader hands over when asked; nobody else can be asked to.
#[test]
fn a_leader_that_steps_down_is_succeeded_by_the_next_and_the_command_says_so() {
    in_lab(|lab| {
        let agents = Agents::start(lab, 3)?;
        let (leader, epoch) = agents.settle_all()?;
        let refused = bellwether()
            .args(["agent", "step-down", "--data"])
            .arg(agents.data(2))
            .output()?;
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(
            refused.status.code() == Some(5) && said.contains("h1 does"),
            "{said}"
        );
        let done = bellwether()
            .args(["agent", "step-down", "--data"])
            .arg(agents.data(leader))
            .output()?;
        ensure!(done.status.success(), "{done:?}");
        let (next, later) = agents.settle_all()?;
        ensure!(next == 1, "h{} leads", next + 1);
        ensure!(
            counter(&later) == counter(&epoch) + 1,
            "{epoch}, then {later}"
        );
        Ok(())
    });
}

/// REG-14: who leaves is gone from the report at once, and its agent ends; a leader hands over first.
#[test]
fn who_leaves_by_command_or_by_signal_is_gone_from_the_report() {
    in_lab(|lab| {
        let mut agents = Agents::start(lab, 4)?;
        agents.settle_all()?;
        let answer = agents.ask(2, Request::Leave)?;
        ensure!(matches!(answer, Answer::Done(_)), "{answer:?}");
        let status = agents.program(2)?.wait()?;
        ensure!(status.success(), "{status}");
        agents.programs[2] = None;
        let (leader, epoch) = agents.settle_all()?;
        agents.program(leader)?.terminate()?;
        let status = agents.program(leader)?.wait()?;
        ensure!(status.success(), "{status}");
        agents.programs[leader] = None;
        let (_, later) = agents.settle_all()?;
        ensure!(
            counter(&later) == counter(&epoch) + 1,
            "it was elected anew: {epoch}, then {later}"
        );
        for index in agents.running() {
            let status = agents.status(index)?;
            ensure!(status.counters.leader_silent == 0, "{:?}", status.counters);
        }
        Ok(())
    });
}

/// A node that comes back after it lost its disk is another node.
#[test]
fn an_agent_with_a_wiped_disk_joins_as_a_new_node() {
    in_lab(|lab| {
        let mut agents = Agents::start(lab, 4)?;
        let (leader, _) = agents.settle_all()?;
        let before = agents.status(3)?.node;
        agents.kill(3)?;
        std::fs::remove_dir_all(agents.data(3))?;
        agents.run(3)?;
        // The old one stays in the report until it has not answered; then there is one h4 again.
        let (still, _) = agents.settle_all()?;
        ensure!(still == leader, "h{} leads", still + 1);
        let after = agents.status(3)?.node;
        ensure!(
            after.id != before.id && after.incarnation == 1,
            "{before:?}, then {after:?}"
        );
        // The preferred leader itself, too: it is another node, and leads when it must.
        agents.kill(leader)?;
        std::fs::remove_dir_all(agents.data(leader))?;
        agents.run(leader)?;
        agents.settle_all()?;
        Ok(())
    });
}

/// A second agent on one directory would be two nodes with one id.
#[test]
fn a_second_agent_on_one_directory_is_refused_and_the_first_goes_on() {
    in_lab(|lab| {
        let agents = Agents::start(lab, 2)?;
        agents.settle_all()?;
        let config = agents.lab.folder().join("h1.toml");
        let mut command = bellwether();
        command.args(["agent", "run", "--config"]).arg(config);
        let mut second = agents.hosts[0].start(command)?;
        let status = second.wait()?;
        ensure!(status.code() == Some(5), "{status}");
        ensure!(agents.status(0)?.state == State::Leading);
        agents.settle_all().map(drop)
    });
}

/// GROUP-16.
#[test]
fn two_agents_of_one_host_are_two_members() {
    in_lab(|lab| {
        let segment = lab.segment()?;
        let [one, other] = lab
            .hosts(2, segment)?
            .try_into()
            .expect("two were asked for");
        let mut agents = Agents::start_on(lab, vec![one.clone(), one, other], String::new())?;
        let (leader, epoch) = agents.settle_all()?;
        agents.kill(leader)?;
        let (_, later) = agents.settle_all()?;
        ensure!(counter(&later) > counter(&epoch), "{epoch}, then {later}");
        Ok(())
    });
}
