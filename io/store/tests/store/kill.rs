use std::io::{BufRead, BufReader};
use std::process::{Command as Process, Stdio};

use bellwether_store::{Actor, Command, Entry};

use crate::kit::{begin, fresh, group, name, open, site};

/// What the child proposes, over and over: something with many effects, and something refused.
fn story(round: u64) -> [Command; 5] {
    let text = format!("site-{round}");
    [
        Command::CreateSite(site(&text)),
        group("shops", &text, &["media"]),
        begin(),
        Command::RemoveGroup {
            group: name("shops"),
        },
        Command::RemoveSite { site: name(&text) },
    ]
}

/// The child of the test below: proposes until it is killed, and tells what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as a process of its own, and is killed"]
async fn child() {
    let Some(home) = std::env::var_os("BELLWETHER_KILL_HOME") else {
        return;
    };
    let store = open(home.as_ref()).await;
    for round in 0.. {
        for command in story(round) {
            let entry = Entry::new(round as i64, Actor::Server, command);
            let _ = store.propose(entry).await.unwrap();
            println!("acknowledged {}", store.applied());
        }
    }
}

/// DB-09: killed between any two steps, the store has all of a command or nothing of it, and whatever was
/// acknowledged.
#[test]
fn a_store_that_is_killed_has_whole_commands_and_all_that_were_acknowledged() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    for kill in 0..12u64 {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--ignored", "--nocapture"])
            .env("BELLWETHER_KILL_HOME", home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut acknowledged = 0;
        let mut seen = 0;
        for line in lines {
            let Some((_, number)) = line.split_once("acknowledged ") else {
                continue;
            };
            acknowledged = number.trim().parse().unwrap();
            seen += 1;
            // At another place in the story each time, and at no particular step of the next command.
            if seen == 3 + kill {
                (0..kill * 40_000).for_each(|n| {
                    std::hint::black_box(n);
                });
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged > 0, "the child acknowledged nothing");
        runtime.block_on(async {
            let store = open(home.path()).await;
            assert!(
                store.applied() >= acknowledged,
                "{} < {acknowledged}",
                store.applied()
            );
            let again = fresh().await;
            for (number, entry) in store.log(0, u32::MAX).await.unwrap().unwrap() {
                let _ = again.store.apply(number, entry).await.unwrap();
            }
            assert_eq!(
                store.dump().await.unwrap(),
                again.store.dump().await.unwrap()
            );
            store.close().await;
        });
    }
}
