//! The key of a running segment, replaced when a node is put out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bellwether_agent::{Answer, Request, Status, ask};
use bellwether_lab::farm::Farm;
use bellwether_lab::{in_lab, until};

/// All who are reached are under the new key within this.
const ROTATED: Duration = Duration::from_secs(10);

/// CRYPT-06, REG-11: whoever was put out learns it and ends, and nobody else notices; the leader itself may be the one.
/// A node that was off meanwhile comes back.
#[test]
fn a_node_that_is_put_out_ends_and_the_others_go_on_under_another_key() {
    in_lab(|lab| {
        let mut farm = Farm::start(lab, env!("CARGO_BIN_EXE_bellwether").as_ref(), 1, 5)?;
        let leader = farm.leader(0)?;
        let mut others = (0..5).filter(|index| *index != leader);
        let (paused, absent) = (others.next().context("one")?, others.next().context("two")?);
        let first = status(&farm, leader)?.key;
        farm.kill(absent)?;
        // It cannot hear that it was put out, and goes on when all is over.
        farm.nodes[paused]
            .program
            .as_mut()
            .context("it runs")?
            .pause()?;
        put_out(&mut farm, paused)?;
        let second = rotated(&farm, &[paused, absent], &first)?;
        let members = status(&farm, leader)?.members;
        let name = farm.nodes[paused].name.clone();
        ensure!(
            members.iter().all(|member| member.name != name),
            "{members:?}"
        );
        let program = farm.nodes[paused].program.as_mut().context("it runs")?;
        program.resume()?;
        ends(&mut farm, paused)?;
        let rejected = status(&farm, leader)?.counters.rejected;
        let refused = |reason: &str| rejected.get(reason).copied().unwrap_or(0);
        ensure!(
            refused("unknown-key") + refused("put-out") > 0,
            "{rejected:?}"
        );

        put_out(&mut farm, leader)?;
        ends(&mut farm, leader)?;
        let third = rotated(&farm, &[paused, absent, leader], &second)?;
        ensure!(third != first);

        farm.start_node(absent)?;
        farm.heard()?;
        ensure!(status(&farm, absent)?.key == third);
        Ok(())
    });
}

fn status(farm: &Farm, index: usize) -> Result<Status> {
    match ask(&farm.data(&farm.nodes[index].name), Request::Status)? {
        Answer::Status(status) => Ok(*status),
        other => anyhow::bail!("{other:?}"),
    }
}

fn put_out(farm: &mut Farm, index: usize) -> Result<()> {
    let name = farm.nodes[index].name.clone();
    farm.run(&["node", "remove", &name]).map(drop)
}

/// The key that all but these seal with, once it is the same and another than before.
fn rotated(farm: &Farm, but: &[usize], before: &str) -> Result<String> {
    let began = Instant::now();
    let rest: Vec<usize> = (0..5).filter(|index| !but.contains(index)).collect();
    let mut keys = Vec::new();
    let rotated = until("all seal with another key", ROTATED, || {
        let shown = rest.iter().map(|index| status(farm, *index));
        keys = shown.filter_map(|status| Some(status.ok()?.key)).collect();
        let is_new = |key: &String| *key != before && *key == keys[0];
        keys.len() == rest.len() && keys.iter().all(is_new)
    });
    rotated.with_context(|| format!("{keys:?}, before {before}"))?;
    println!("rotated after {:?}", began.elapsed());
    keys.pop().context("somebody is left")
}

/// It ends by itself, and says why.
fn ends(farm: &mut Farm, index: usize) -> Result<()> {
    let mut program = farm.nodes[index].program.take().context("it ran")?;
    let ended = program.wait()?;
    ensure!(ended.code() == Some(4), "{ended}");
    program
        .transcript()
        .await_line(0, "has put this node out", ROTATED)
        .map(drop)
}
