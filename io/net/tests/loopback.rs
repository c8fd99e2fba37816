//! Channels with real sockets on the loopback interface.

mod kit;

use std::net::SocketAddr;

use bellwether_net::{Channel, Destination, Everyone, OpenError, Via};

use kit::{LEN_MAX, heard, hears, member, new_group, peers, settings};

/// CHAN-01, ELECT-07, ELECT-21. Several agents of one machine, whose own words come back to them.
#[tokio::test]
async fn a_group_is_heard_by_all_its_members_and_each_can_be_answered_alone() {
    let group = new_group();
    let [mut ann, mut ben, mut cat] = [member(group), member(group), member(group)];
    ann.send(Destination::Everyone, b"to all");
    hears(&mut ben, Via::Multicast, &ann, "to all").await;
    hears(&mut cat, Via::Multicast, &ann, "to all").await;
    let echo = heard(&mut ann).await;
    ben.send(Destination::Address(echo.from), b"to ann");
    hears(&mut ann, Via::Unicast, &ben, "to ann").await;
    ben.send(Destination::Everyone, b"to all again");
    hears(&mut cat, Via::Multicast, &ben, "to all again").await;
    let counters = ben.counters();
    assert_eq!(
        (counters.sent, counters.sent_bytes, counters.send_errors),
        (2, 18, 0)
    );
    assert_eq!((counters.received, counters.received_bytes), (1, 6));
}

/// CHAN-02, CHAN-05, CHAN-07, CHAN-08. What is heard first was sent last, so the rest was never there.
#[tokio::test]
async fn groups_are_joined_and_left_while_it_runs() {
    let [control, news, films] = [new_group(), new_group(), new_group()];
    let [mut ann, mut ben, mut cat] = [member(control), member(control), member(control)];
    ben.join(news).unwrap();
    ben.join(news).unwrap();
    cat.join(films).unwrap();
    ann.send(Destination::Address(news), b"news");
    ann.send(Destination::Address(films), b"film");
    hears(&mut ben, Via::Multicast, &ann, "news").await;
    hears(&mut cat, Via::Multicast, &ann, "film").await;
    ben.leave(news);
    ben.join(films).unwrap();
    cat.leave(films);
    ann.send(Destination::Address(news), b"more news");
    ann.send(Destination::Address(films), b"more film");
    ann.send(Destination::Everyone, b"the end");
    assert_eq!(two_heard(&mut ben).await, ["more film", "the end"]);
    hears(&mut cat, Via::Multicast, &ann, "the end").await;
}

/// CHAN-03, CHAN-09. Who did not hear of the move still hears the order on the old channel.
#[tokio::test]
async fn the_control_channel_moves() {
    let [old, new] = [new_group(), new_group()];
    let [mut ann, mut ben, mut cat] = [member(old), member(old), member(old)];
    for channel in [&mut ann, &mut ben] {
        channel.join(new).unwrap();
        channel.set_everyone(Everyone::Group(new)).unwrap();
    }
    ben.leave(old);
    ann.send(Destination::Address(old), b"we have moved");
    ann.send(Destination::Everyone, b"here");
    hears(&mut ben, Via::Multicast, &ann, "here").await;
    hears(&mut cat, Via::Multicast, &ann, "we have moved").await;
    assert_eq!(two_heard(&mut ann).await, ["here", "we have moved"]);
    cat.send(Destination::Everyone, b"where?");
    hears(&mut ann, Via::Multicast, &cat, "where?").await;
}

/// Sockets are read in turn, so what came to different groups has no order.
async fn two_heard(channel: &mut Channel) -> [String; 2] {
    let mut two = [heard(channel).await, heard(channel).await]
        .map(|datagram| String::from_utf8(datagram.bytes).unwrap());
    two.sort();
    two
}

#[tokio::test]
async fn without_multicast_everyone_is_each_peer() {
    for (interface, first) in [("127.0.0.1", "127.0.0.1:9"), ("::1", "[::1]:9")] {
        let first: SocketAddr = first.parse().unwrap();
        let open = || Channel::open(settings(interface, peers(&[first])));
        if let Err(OpenError::Interface(error)) = open() {
            println!("skipped: {error}");
            continue;
        }
        let [mut ann, mut ben, mut cat] = [(); 3].map(|()| open().unwrap());
        let others = [ben.address().unwrap(), cat.address().unwrap()];
        ann.set_everyone(peers(&others)).unwrap();
        ann.send(Destination::Everyone, b"to all");
        hears(&mut ben, Via::Unicast, &ann, "to all").await;
        hears(&mut cat, Via::Unicast, &ann, "to all").await;
        assert_eq!(ann.counters().sent, 2);
    }
}

#[tokio::test]
async fn a_flood_on_one_socket_leaves_the_others_their_turn() {
    let group = new_group();
    let [mut ann, mut ben] = [member(group), member(group)];
    for _ in 0..100 {
        ann.send(Destination::Address(ben.address().unwrap()), b"flood");
    }
    ann.send(Destination::Everyone, b"to all");
    assert_eq!(two_heard(&mut ben).await, ["flood", "to all"]);
}

#[tokio::test]
async fn what_cannot_be_sent_or_read_is_counted_and_does_no_harm() {
    let group = new_group();
    let [mut ann, mut ben] = [member(group), member(group)];
    ann.send(
        Destination::Address("[::1]:9".parse().unwrap()),
        b"another family",
    );
    ann.send(Destination::Everyone, &vec![0; LEN_MAX + 1]);
    ann.send(Destination::Everyone, &[0; LEN_MAX]);
    assert_eq!(heard(&mut ben).await.bytes.len(), LEN_MAX);
    assert_eq!(ann.counters().send_errors, 1);
    assert_eq!((ben.counters().received, ben.counters().oversized), (2, 1));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_what_to_do() {
    let group = new_group();
    let mut ann = member(group);
    let refused = |everyone| Channel::open(settings("127.0.0.1", everyone)).unwrap_err();
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let ipv6: SocketAddr = "[::1]:9".parse().unwrap();
    for (error, said) in [
        (refused(Everyone::Group(address)), "239.0.0.0/8"),
        (refused(peers(&[])), "at least one peer"),
        (refused(peers(&[address, ipv6])), "all of them by IPv4"),
        (
            refused(Everyone::Group("[ff02::7]:9".parse().unwrap())),
            "name the peers",
        ),
        (ann.join(address).unwrap_err(), "no multicast group"),
        (ann.set_everyone(peers(&[ipv6])).unwrap_err(), "IPv4"),
    ] {
        assert!(error.to_string().contains(said), "{error}");
    }
    let mut taken = settings("127.0.0.1", Everyone::Group(group));
    taken.port = ann.address().unwrap().port();
    let error = Channel::open(taken).unwrap_err();
    assert!(matches!(error, OpenError::Port { .. }), "{error}");
}
