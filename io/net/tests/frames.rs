//! Frames by batches, with real sockets on the loopback interface.

mod kit;

use std::net::SocketAddr;

use bellwether_net::{Everyone, FrameChannel, Via};

use kit::{in_time, new_group, settings};

const FRAME_LEN: usize = 1_432;

fn open() -> FrameChannel {
    FrameChannel::open(&settings("127.0.0.1", Everyone::Group(new_group()))).unwrap()
}

/// So many frames, of which the last is short, each with its number all over.
fn batch(count: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..count).flat_map(|number| [number; FRAME_LEN]).collect();
    bytes.truncate(bytes.len() - FRAME_LEN / 2);
    bytes
}

async fn send(channel: &mut FrameChannel, to: SocketAddr, frames: &[u8], frame_len: usize) {
    while !channel.send(to, frames, frame_len).unwrap() {
        channel.writable().await.unwrap();
    }
}

/// The first so many frames that come, each checked to be of one number and one way.
async fn numbers(channel: &mut FrameChannel, via: Via, count: usize) -> Vec<(u8, usize)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let mut frames = in_time(channel.receive()).await.unwrap();
        assert_eq!(frames.via(), via);
        frames.each(|_, frame| {
            assert!(frame.iter().all(|byte| *byte == frame[0]));
            seen.push((frame[0], frame.len()));
        });
    }
    seen
}

/// CHAN-02, CHAN-05, MCTP-21.
#[tokio::test]
async fn a_batch_comes_as_its_frames_to_all_who_listen() {
    let group = new_group();
    let [mut ann, mut ben, mut cat] = [open(), open(), open()];
    ben.join(group).unwrap();
    cat.join(group).unwrap();
    let count = ann.batch_frames_max(FRAME_LEN).min(40) as u8;
    send(&mut ann, group, &batch(count), FRAME_LEN).await;
    let mut expected: Vec<_> = (0..count).map(|number| (number, FRAME_LEN)).collect();
    expected.last_mut().unwrap().1 = FRAME_LEN / 2;
    for channel in [&mut ben, &mut cat] {
        assert_eq!(
            numbers(channel, Via::Multicast, count.into()).await,
            expected
        );
    }
}

/// CHAN-07: what came first to who left was sent last.
#[tokio::test]
async fn who_does_not_listen_has_no_part_in_it() {
    let group = new_group();
    let [mut ann, mut ben] = [open(), open()];
    ben.join(group).unwrap();
    ben.leave(group);
    send(&mut ann, group, &[1; 100], FRAME_LEN).await;
    let alone = ben.address().unwrap();
    send(&mut ann, alone, &[2; 100], FRAME_LEN).await;
    assert_eq!(numbers(&mut ben, Via::Unicast, 1).await, [(2, 100)]);
}

#[tokio::test]
async fn a_frame_may_be_as_long_as_the_route_takes() {
    let mut ann = open();
    let mut ben = open();
    let to = ben.address().unwrap();
    let len = ann.frame_len_max(to).unwrap();
    assert!(len > FRAME_LEN, "the loopback interface takes more: {len}");
    send(&mut ann, to, &vec![3; len], len).await;
    assert_eq!(numbers(&mut ben, Via::Unicast, 1).await, [(3, len)]);
    assert_eq!(ann.batch_frames_max(len), 1);
    ann.send(to, &vec![3; 65_508], 65_508).unwrap_err();
}

#[tokio::test]
async fn too_small_a_buffer_is_told_with_what_to_do() {
    let mut buffer = open().receive_buffer();
    buffer.granted = buffer.wanted;
    assert_eq!(buffer.advice(), None);
    buffer.granted -= 1;
    assert!(buffer.advice().unwrap().contains("net.core.rmem_max="));
}
