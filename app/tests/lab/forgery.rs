//! Who has not the key.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellwether_lab::{Host, in_lab};

use crate::agents::{Agents, counter};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 66);
const PORT: u16 = 7_766;

/// ELECT-31, CRYPT-05: more than 100,000 forged datagrams at the leader and 20,000 at everybody change nothing but counters.
#[test]
fn floods_of_forged_and_replayed_datagrams_change_no_leader() {
    in_lab(|lab| {
        let segment = lab.segment()?;
        let mut hosts = lab.hosts(4, segment)?;
        let stranger = hosts.pop().context("the fourth")?;
        let agents = Agents::start_on(lab, hosts, String::new())?;
        let (leader, epoch) = agents.settle_all()?;
        let target = agents.status(leader)?.node.address.context("an address")?;
        let captured = listen(&stranger)?;
        let group = SocketAddr::from((GROUP, PORT));
        thread::scope(|scope| -> Result<()> {
            let unicast = scope.spawn(|| flood(&stranger, target, &captured, 150_000));
            let multicast = scope.spawn(|| flood(&stranger, group, &captured, 30_000));
            for sent in [unicast, multicast] {
                sent.join().expect("no panic")?;
            }
            Ok(())
        })?;
        let (still, same) = agents.settle_all()?;
        ensure!(
            still == leader && counter(&same) == counter(&epoch),
            "{same}"
        );
        for index in agents.running() {
            let counters = agents.status(index)?.counters;
            let rejected: u64 = ["not-sealed", "replayed"]
                .map(|why| counters.rejected[why])
                .iter()
                .sum();
            ensure!(rejected > 1_000, "the flood did not arrive: {counters:?}");
            ensure!(counters.leader_silent == 0, "{counters:?}");
        }
        Ok(())
    });
}

/// Some datagrams of the segment, as anybody on the network can have them.
fn listen(stranger: &Host) -> Result<Vec<Vec<u8>>> {
    let socket = stranger.udp(PORT)?;
    socket.join_multicast_v4(&GROUP, &stranger.ipv4())?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut buffer = [0; 2_048];
    let captured = (0..8).map(|_| {
        let len = socket.recv(&mut buffer).context("nobody speaks")?;
        Ok(buffer[..len].to_vec())
    });
    captured.collect()
}

/// What was captured, as it was and with one byte changed at every place in turn.
fn flood(stranger: &Host, to: SocketAddr, captured: &[Vec<u8>], count: usize) -> Result<()> {
    let socket = stranger.udp(0)?;
    let mut places = 0..;
    for (number, datagram) in captured.iter().cycle().take(count).enumerate() {
        let mut forged = datagram.clone();
        if number % 4 != 0 {
            let place: usize = places.next().context("there is no end of numbers")?;
            let len = forged.len();
            forged[place % len] ^= 1;
        }
        // A full queue drops: that is what floods do.
        let _ = socket.send_to(&forged, to);
    }
    Ok(())
}
