//! Nodes that missed something get it from their neighbours, over real processes: the control server sends words, and no
//! content.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use bellwether_lab::farm::{Farm, PATIENCE};
use bellwether_lab::{in_lab, until};

use crate::sites::{MIB, launch, over, site, slow, start};

/// Of each version; nothing of it is in any other.
const FILM: usize = 6 * MIB;

/// Publishes so many versions while a node is away, and what is live then.
fn without(farm: &mut Farm<'_>, away: usize, versions: std::ops::Range<u64>) -> Result<PathBuf> {
    farm.kill(away)?;
    farm.heard()?;
    let mut tree = PathBuf::new();
    for version in versions {
        tree = site(farm.lab.folder(), version, FILM)?;
        let job = launch(farm, &tree)?;
        over(farm, &job)?;
    }
    farm.serves(&tree)?;
    Ok(tree)
}

fn sent(farm: &Farm<'_>) -> Result<u64> {
    Ok(farm.control.counters()?.sent_bytes)
}

/// The control server sent next to nothing since.
fn sent_words_only(farm: &Farm<'_>, before: u64) -> Result<()> {
    let sent = sent(farm)? - before;
    ensure!(
        sent < FILM as u64 / 25,
        "the control server sent {sent} bytes"
    );
    Ok(())
}

/// JOB-03, JOB-04, VERSION-12: a node that was away for three versions comes back.
#[test]
fn who_was_away_has_what_it_missed_from_neighbours() {
    in_lab(|lab| {
        let mut farm = start(lab, 1, 3)?;
        farm.define(&["--quorum-after", "60%"])?;
        let first = site(farm.lab.folder(), 1, FILM)?;
        farm.publish(&first)?;
        farm.serves(&first)?;
        let away = (farm.leader(0)? + 1) % 3;
        let tree = without(&mut farm, away, 2..5)?;
        let before = sent(&farm)?;
        farm.start_node(away)?;
        farm.serves(&tree)?;
        sent_words_only(&farm, before)
    });
}

/// JOB-03: a leader that lost all its content comes back.
#[test]
#[ignore = "once in four runs the control server sent the content: who holds it is not known yet right after the leader changed"]
fn a_leader_that_lost_its_content_has_it_from_neighbours() {
    in_lab(|lab| {
        let mut farm = start(lab, 1, 3)?;
        farm.define(&["--quorum-after", "60%"])?;
        let tree = site(farm.lab.folder(), 1, FILM)?;
        farm.publish(&tree)?;
        farm.serves(&tree)?;
        let wiped = farm.leader(0)?;
        farm.kill(wiped)?;
        farm.heard()?;
        let data = farm.data(&farm.nodes[wiped].name);
        for folder in ["sites", "assignments"] {
            fs::remove_dir_all(data.join(folder))?;
        }
        let before = sent(&farm)?;
        farm.start_node(wiped)?;
        farm.serves(&tree)?;
        sent_words_only(&farm, before)
    });
}

/// JOB-04, ARCH-09: a neighbour that dies while it gives something is left for the others.
#[test]
fn a_neighbour_that_dies_meanwhile_is_left_for_the_others() {
    in_lab(|lab| {
        let mut farm = start(lab, 1, 4)?;
        farm.define(&["--quorum-after", "60%"])?;
        let first = site(farm.lab.folder(), 1, 0)?;
        farm.publish(&first)?;
        farm.serves(&first)?;
        let leader = farm.leader(0)?;
        let (away, dies) = ((leader + 1) % 4, (leader + 2) % 4);
        let tree = without(&mut farm, away, 2..3)?;
        slow(&farm)?;
        let before = sent(&farm)?;
        let had = farm.nodes[dies].host.counters()?.sent_bytes;
        farm.start_node(away)?;
        until("it gives something", PATIENCE, || {
            let counters = farm.nodes[dies].host.counters();
            counters.is_ok_and(|counters| counters.sent_bytes > had + MIB as u64 / 2)
        })?;
        farm.kill(dies)?;
        farm.serves(&tree)?;
        sent_words_only(&farm, before)
    });
}
