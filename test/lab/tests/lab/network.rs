//! Frames get through, and are lost, as asked.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bellwether_lab::{Fault, Host, Lab, Loss, Privilege, Shape, Traffic, in_lab, until};

const PORT: u16 = 7000;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
/// For what happens at once on a machine that is not asleep.
const SOON: Duration = Duration::from_secs(20);

/// A host with a socket that listens to itself and to the group.
struct Listener {
    host: Host,
    socket: UdpSocket,
}

impl Listener {
    fn at(host: &Host) -> Result<Self> {
        let socket = host.udp(PORT)?;
        socket.join_multicast_v4(&GROUP, &host.ipv4())?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            host: host.clone(),
            socket,
        })
    }

    fn all_in(lab: &mut Lab, count: usize) -> Result<Vec<Self>> {
        let segment = lab.segment()?;
        lab.hosts(count, segment)?.iter().map(Self::at).collect()
    }

    fn say(&self, word: &str, address: Ipv4Addr) -> Result<()> {
        self.socket.send_to(word.as_bytes(), (address, PORT))?;
        Ok(())
    }

    /// Everything that came until now.
    fn heard(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut bytes = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            words.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        words
    }

    fn hears(&self, word: &str) -> Result<()> {
        let what = format!("{} hears {word:?}", self.host.name());
        until(&what, SOON, || {
            self.heard().iter().any(|heard| heard == word)
        })
    }
}

#[test]
fn hosts_hear_each_other_by_unicast_and_multicast() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 3)?;
        hosts[0].say("to you", hosts[1].host.ipv4())?;
        hosts[1].hears("to you")?;
        hosts[0].say("to all", GROUP)?;
        hosts[1].hears("to all")?;
        hosts[2].hears("to all")?;
        ensure!(hosts[0].heard().is_empty());
        Ok(())
    });
}

#[test]
fn segments_do_not_hear_each_other_but_a_host_in_both_hears_both() {
    in_lab(|lab| {
        let (left, right) = (lab.segment()?, lab.segment()?);
        let alone = Listener::at(&lab.host("left", &[left])?)?;
        let other = Listener::at(&lab.host("right", &[right])?)?;
        let both = lab.host("both", &[left, right])?;
        let both = Listener::at(&both)?;
        both.socket
            .join_multicast_v4(&GROUP, &both.host.ipv4_in(1))?;
        other.say("from the right", GROUP)?;
        both.hears("from the right")?;
        alone.say("from the left", GROUP)?;
        both.hears("from the left")?;
        ensure!(alone.heard().is_empty() && other.heard().is_empty());
        Ok(())
    });
}

#[test]
fn every_nth_frame_is_lost_on_the_way_to_one_host_only() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 3)?;
        lab.set_faults(&[Fault::new(Loss::EveryNth(5))
            .of(Traffic::Multicast)
            .to(&[&hosts[1].host])])?;
        let counts = multicast(lab, &hosts, 1000)?;
        ensure!(lab.lost()? == [200]);
        ensure!(counts == [800, 1000], "{counts:?}");
        Ok(())
    });
}

#[test]
fn random_loss_is_about_as_much_as_asked() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 3)?;
        lab.set_faults(&[Fault::new(Loss::PerMille(200))
            .of(Traffic::Multicast)
            .from(&[&hosts[0].host])])?;
        let counts = multicast(lab, &hosts, 2000)?;
        // Eight standard deviations about the mean of a binomial distribution.
        ensure!(
            counts.iter().all(|count| (1457..=1743).contains(count)),
            "{counts:?}"
        );
        Ok(())
    });
}

/// The first host multicasts; how many datagrams each of the others heard, when all are heard or lost.
fn multicast(lab: &Lab, hosts: &[Listener], datagrams: usize) -> Result<Vec<usize>> {
    let mut counts = vec![0; hosts.len() - 1];
    let take = |counts: &mut Vec<usize>| {
        for (count, host) in counts.iter_mut().zip(&hosts[1..]) {
            *count += host.heard().len();
        }
    };
    for number in 0..datagrams {
        hosts[0].say(&number.to_string(), GROUP)?;
        // Before the sockets' buffers are full.
        if number % 50 == 49 {
            take(&mut counts);
        }
    }
    until("each datagram is heard or counted as lost", SOON, || {
        take(&mut counts);
        let lost: u64 = lab.lost().map_or(0, |lost| lost.iter().sum());
        counts.iter().sum::<usize>() + lost as usize == datagrams * counts.len()
    })?;
    Ok(counts)
}

#[test]
fn a_partition_cuts_both_ways_until_it_heals() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 4)?;
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| &hosts[index].host);
        lab.set_faults(&Fault::partition(&[a, b], &[c, d]))?;
        hosts[0].say("left", GROUP)?;
        hosts[1].hears("left")?;
        hosts[3].say("right", GROUP)?;
        hosts[2].hears("right")?;
        until("both are counted as lost", SOON, || {
            lab.lost()
                .is_ok_and(|lost| lost.iter().all(|count| *count >= 2))
        })?;
        ensure!(hosts.iter().all(|host| host.heard().is_empty()));
        lab.set_faults(&[])?;
        hosts[0].say("whole", GROUP)?;
        hosts[2].hears("whole")?;
        hosts[3].hears("whole")
    });
}

#[test]
fn a_one_way_cut_leaves_the_other_way_open() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 2)?;
        lab.set_faults(&[Fault::new(Loss::All).from(&[&hosts[0].host])])?;
        hosts[0].say("there", GROUP)?;
        hosts[1].say("back", GROUP)?;
        hosts[0].hears("back")?;
        until("it is counted as lost", SOON, || {
            lab.lost().is_ok_and(|lost| lost[0] >= 1)
        })?;
        ensure!(hosts[1].heard().is_empty());
        Ok(())
    });
}

#[test]
fn multicast_and_unicast_fail_each_alone() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 2)?;
        for (traffic, lost, heard) in [
            (Traffic::Multicast, GROUP, hosts[1].host.ipv4()),
            (Traffic::Unicast, hosts[1].host.ipv4(), GROUP),
        ] {
            lab.set_faults(&[Fault::new(Loss::All).of(traffic)])?;
            hosts[0].say("lost", lost)?;
            hosts[0].say("heard", heard)?;
            hosts[1].hears("heard")?;
            until("it is counted as lost", SOON, || {
                lab.lost().is_ok_and(|lost| lost[0] >= 1)
            })?;
            ensure!(hosts[1].heard().is_empty(), "{traffic:?}");
        }
        Ok(())
    });
}

#[test]
fn a_rate_holds_frames_back_and_drops_what_its_queue_cannot_hold() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 2)?;
        let slow = Shape {
            queue_bytes: 4096,
            ..Shape::rate(8_000)
        };
        lab.shape(&hosts[0].host, slow)?;
        let before = hosts[1].host.counters()?;
        for _ in 0..100 {
            // A thousand bytes a second: 2 go at once, 3 wait, and the rest cannot.
            let _ = hosts[0].socket.send_to(&[0; 1000], (GROUP, PORT));
        }
        let text = hosts[0]
            .host
            .run(&["tc", "-s", "qdisc", "show", "dev", "eth0"])?;
        let dropped: u64 = text
            .split_once("dropped ")
            .and_then(|(_, rest)| rest.split([',', ' ']).next()?.parse().ok())
            .unwrap_or_default();
        let received = (hosts[1].host.counters()? - before).received_frames;
        ensure!(dropped >= 80, "{text}");
        ensure!(received <= 20, "{received} received");
        lab.shape(&hosts[0].host, Shape::default())?;
        hosts[0].say("fast", GROUP)?;
        hosts[1].hears("fast")
    });
}

#[test]
fn a_delay_is_there_or_refused() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 2)?;
        let (way, shaped) = (Duration::from_millis(50), &hosts[0].host);
        if !lab.can_delay() {
            eprintln!("skipped: this kernel has no netem");
            ensure!(lab.shape(shaped, Shape::delay(way)).is_err());
            return Ok(());
        }
        lab.shape(shaped, Shape::delay(way))?;
        let start = Instant::now();
        hosts[0].say("late", GROUP)?;
        hosts[1].hears("late")?;
        // Less would mean that it came too early, however slow the machine.
        ensure!(start.elapsed() >= way);
        Ok(())
    });
}

#[test]
fn frames_on_the_wire_are_counted_with_their_headers() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 2)?;
        let before = hosts[1].host.counters()?;
        for _ in 0..10 {
            hosts[0].socket.send_to(&[0; 58], (GROUP, PORT))?;
        }
        until("ten datagrams are counted", SOON, || {
            hosts[1].heard();
            let counted = hosts[1].host.counters().map(|now| now - before);
            // 14 + 20 + 8 + 58 bytes each; now and then the kernels speak to each other as well.
            counted.is_ok_and(|c| c.received_frames >= 10 && c.received_bytes >= 1000)
        })
    });
}

#[test]
fn with_snooping_only_those_who_joined_get_multicast() {
    in_lab(|lab| {
        let segment = lab.segment()?;
        let hosts = lab.hosts(3, segment)?;
        let (speaker, member) = (Listener::at(&hosts[0])?, Listener::at(&hosts[1])?);
        let stranger = &hosts[2];
        lab.set_snooping(segment, true)?;
        let big = "x".repeat(1000);
        until("the switch has learned who is a member", SOON, || {
            let before = stranger.counters().unwrap_or_default();
            let said = speaker.say(&big, GROUP);
            let after = stranger.counters().unwrap_or_default();
            said.is_ok()
                && !member.heard().is_empty()
                && after.received_bytes - before.received_bytes < 1000
        })?;
        lab.set_snooping(segment, false)?;
        let before = stranger.counters()?;
        speaker.say(&big, GROUP)?;
        until("the stranger gets it again", SOON, || {
            stranger
                .counters()
                .is_ok_and(|now| (now - before).received_bytes >= 1000)
        })
    });
}

#[test]
fn a_host_loses_its_carrier_when_unplugged_and_its_interface_when_taken_down() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 2)?;
        let host = &hosts[1].host;
        let link = || {
            host.run(&["ip", "link", "show", "eth0"])
                .unwrap_or_default()
        };
        lab.unplug(host)?;
        until("the carrier is lost", SOON, || {
            link().contains("NO-CARRIER")
        })?;
        lab.replug(host)?;
        until("the carrier is back", SOON, || {
            !link().contains("NO-CARRIER")
        })?;
        host.take_down()?;
        ensure!(link().contains("state DOWN"), "{}", link());
        host.bring_up()?;
        // Its address is as before, and so is its membership as far as IPv4 keeps it.
        until("it hears again", SOON, || {
            hosts[0].say("again", host.ipv4()).is_ok() && !hosts[1].heard().is_empty()
        })
    });
}

#[test]
fn a_small_mtu_refuses_large_packets() {
    in_lab(|lab| {
        let hosts = Listener::all_in(lab, 2)?;
        lab.set_mtu(&hosts[0].host, 1000)?;
        let word = "y".repeat(972);
        hosts[0].say(&word, hosts[1].host.ipv4())?;
        hosts[1].hears(&word)?;
        ensure!(
            hosts[0]
                .host
                .run(&["ip", "link", "show", "eth0"])?
                .contains("mtu 1000")
        );
        Ok(())
    });
}

#[test]
fn tests_can_speak_tcp_into_and_out_of_hosts() {
    use std::io::{Read, Write};
    in_lab(|lab| {
        let segment = lab.segment()?;
        let hosts = lab.hosts(2, segment)?;
        let listener = hosts[0].listen(80)?;
        let address = std::net::SocketAddrV4::new(hosts[0].ipv4(), 80);
        let mut there = hosts[1].connect(address)?;
        there.write_all(b"hello")?;
        drop(there);
        let (mut here, from) = listener.accept()?;
        ensure!(from.ip() == hosts[1].ipv4());
        let mut word = String::new();
        here.read_to_string(&mut word)?;
        ensure!(word == "hello");
        Ok(())
    });
}

#[test]
fn a_user_namespace_serves_as_well_as_root() {
    let mut lab = match Lab::open_with(&[Privilege::UserNamespace]) {
        Ok(lab) => lab,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let check = |lab: &mut Lab| -> Result<()> {
        let hosts = Listener::all_in(lab, 3)?;
        lab.shape(&hosts[0].host, Shape::rate(10_000_000))?;
        lab.set_faults(&[Fault::new(Loss::EveryNth(2))
            .of(Traffic::Multicast)
            .to(&[&hosts[2].host])])?;
        let counts = multicast(lab, &hosts, 100)?;
        ensure!(counts == [100, 50], "{counts:?}");
        let mut program = hosts[0].host.start(std::process::Command::new("id"))?;
        program.transcript().await_line(0, "uid=0", SOON)?;
        ensure!(program.wait()?.success());
        Ok(())
    };
    check(&mut lab).expect("it works");
}

#[test]
fn sixty_hosts_hear_one_datagram() {
    in_lab(|lab| {
        let start = Instant::now();
        let hosts = Listener::all_in(lab, 60)?;
        println!("60 hosts in {:?}", start.elapsed());
        hosts[0].say("all of you", GROUP)?;
        hosts[1..]
            .iter()
            .try_for_each(|host| host.hears("all of you"))
    });
}
