//! The loop that drives machines, with real sockets.

mod kit;

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bellwether_machine::{Machine, Outbox};
use bellwether_net::{Channel, Destination, Event, Role, drive, now};
use bellwether_types::Time;
use tokio::sync::mpsc;

use kit::{heard, in_time, member, new_group};

/// Keeps and says what it is told, and counts its ticks.
struct Diary {
    tick_at: Option<Time>,
    ticks: Arc<AtomicU64>,
    datagrams: Arc<AtomicU64>,
}

enum Input {
    Note(&'static str),
    Datagram,
    Wake,
}

enum Output {
    Keep(&'static str),
    Say(&'static str),
}

const TICK: Duration = Duration::from_millis(1);

impl Machine for Diary {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        match input {
            Input::Note(text) => {
                out.push(Output::Keep(text));
                out.push(Output::Say(text));
            }
            Input::Datagram => {
                assert!(self.tick_at.is_none_or(|at| now < at), "a deadline is due");
                self.datagrams.fetch_add(1, Ordering::Relaxed);
            }
            Input::Wake => {
                if self.tick_at.is_some_and(|at| at <= now) {
                    self.tick_at = Some(now + TICK);
                    self.ticks.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn wake_at(&self) -> Option<Time> {
        self.tick_at
    }
}

/// A disk with room for so many notes.
struct Host {
    kept: Vec<&'static str>,
    room: usize,
}

impl Role for Host {
    type Machine = Diary;
    type Order = &'static str;
    type Error = io::Error;

    fn input(&mut self, event: Event<&'static str>, _: &Diary) -> Option<Input> {
        match event {
            Event::Datagram(_) => Some(Input::Datagram),
            Event::Wake => Some(Input::Wake),
            Event::Network(_) => None,
            Event::Order(text) => Some(Input::Note(text)),
        }
    }

    fn carry_out(&mut self, output: Output, channel: &mut Channel) -> io::Result<()> {
        match output {
            Output::Keep(text) if self.kept.len() < self.room => self.kept.push(text),
            Output::Keep(_) => return Err(io::ErrorKind::StorageFull.into()),
            Output::Say(text) => channel.send(Destination::Everyone, text.as_bytes()),
        }
        Ok(())
    }
}

#[tokio::test]
async fn nothing_is_said_that_could_not_be_kept() {
    let group = new_group();
    let [mut ours, mut theirs] = [member(group), member(group)];
    let mut host = Host {
        kept: Vec::new(),
        room: 1,
    };
    let mut diary = diary(None);
    let (orders, mut ordered) = mpsc::channel(2);
    orders.send("first").await.unwrap();
    orders.send("second").await.unwrap();
    let ended = drive(&mut diary, &mut host, &mut ours, &mut ordered);
    let error = in_time(ended).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(host.kept, ["first"]);
    assert_eq!(heard(&mut theirs).await.bytes, b"first");
    assert_eq!(ours.counters().sent, 1);
}

#[tokio::test]
async fn it_ends_when_nobody_can_give_orders_any_longer() {
    let mut channel = member(new_group());
    let mut host = Host {
        kept: Vec::new(),
        room: 9,
    };
    let (orders, mut ordered) = mpsc::channel(1);
    orders.send("last words").await.unwrap();
    drop(orders);
    let mut diary = diary(None);
    let ended = drive(&mut diary, &mut host, &mut channel, &mut ordered);
    in_time(ended).await.unwrap();
    assert_eq!(host.kept, ["last words"]);
}

/// The machine itself asserts that nothing comes before a deadline that is due.
#[tokio::test]
async fn a_flood_makes_no_deadline_late_and_leaves_other_tasks_their_turn() {
    let mut channel = member(new_group());
    let mut host = Host {
        kept: Vec::new(),
        room: 0,
    };
    let mut diary = diary(Some(now()));
    let (ticks, datagrams) = (diary.ticks.clone(), diary.datagrams.clone());
    let (orders, mut ordered) = mpsc::channel(1);
    let target = channel.address().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let over = over.clone();
        move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            while !over.load(Ordering::Relaxed) {
                let _ = socket.send_to(&[7; 100], target);
            }
        }
    });
    tokio::spawn(async move {
        while ticks.load(Ordering::Relaxed) < 50 || datagrams.load(Ordering::Relaxed) < 5_000 {
            tokio::task::yield_now().await;
        }
        drop(orders);
    });
    let ended = in_time(drive(&mut diary, &mut host, &mut channel, &mut ordered)).await;
    over.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    ended.unwrap();
}

fn diary(tick_at: Option<Time>) -> Diary {
    Diary {
        tick_at,
        ticks: Arc::default(),
        datagrams: Arc::default(),
    }
}
