use std::time::Duration;

use bellwether_api::{NodeSettings, SettingsKey};
use tokio::task::JoinHandle;

use super::enrolment::settings;
use super::kit::{Bench, bench};
use super::leader::{Enrolled, Leader};

/// What a node is told once its segment's keys stand so; the other nodes that are there ask along with it.
async fn told(
    bench: &Bench,
    nodes: &[Enrolled],
    stand: impl Fn(&SettingsKey) -> bool,
) -> NodeSettings {
    loop {
        let mut last = None;
        for node in nodes {
            last = Some(settings(bench, node.peer).await);
        }
        match last {
            Some(settings) if stand(&settings.keys) => return settings,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Answers pings as long as it is heard.
fn speak(mut leader: Leader) -> JoinHandle<()> {
    tokio::spawn(async move { while leader.next().await.is_some() {} })
}

async fn remove(bench: &Bench, node: Enrolled) {
    let line = format!("DELETE /v1/nodes/{}", node.id);
    assert_eq!(bench.admin(&line, "").await.status, 204);
}

const fn is_over(keys: &SettingsKey) -> bool {
    keys.previous.is_none() && keys.next.is_none()
}

/// CRYPT-06: previous, current and next; and whoever is left knows whom not to hear until the keys are others.
#[tokio::test]
async fn the_keys_of_a_segment_are_replaced_when_a_node_is_put_out() {
    let bench = bench().await;
    let nodes = bench.enrol([1, 2, 3]).await;
    speak(Leader::lead(&bench, nodes[0], &nodes).await);
    let first = settings(&bench, nodes[0].peer).await;
    remove(&bench, nodes[2]).await;
    let announced = told(&bench, &nodes[..1], |keys| keys.next.is_some()).await;
    assert_eq!(announced.keys.current, first.keys.current);
    assert_eq!(announced.put_out, [nodes[2].id]);
    let left = &nodes[..2];
    let over = |keys: &SettingsKey| is_over(keys) && keys.current != first.keys.current;
    let last = told(&bench, left, over).await;
    assert_eq!(Some(last.keys.current), announced.keys.next);
    assert!(last.put_out.is_empty(), "it knows no key any more");
    let audit = bench.admin("GET /v1/audit", "").await.body.to_string();
    for step in ["announce-key", "advance-key", "retire-key"] {
        assert!(audit.contains(step), "{step}: {audit}");
    }
}

/// A node that is there and does not ask holds a step up for some seconds, and whoever asks later is told all.
#[tokio::test]
async fn a_rotation_waits_for_who_is_there_but_not_for_ever() {
    let bench = bench().await;
    let nodes = bench.enrol([1, 2, 3]).await;
    speak(Leader::lead(&bench, nodes[0], &nodes).await);
    let first = settings(&bench, nodes[0].peer).await;
    remove(&bench, nodes[2]).await;
    // The other one asks for nothing.
    let only = &nodes[..1];
    let over = |keys: &SettingsKey| is_over(keys) && keys.current != first.keys.current;
    let last = told(&bench, only, over).await;
    let late = settings(&bench, nodes[1].peer).await;
    assert_eq!(late.keys, last.keys);
}

/// CCM-12: whatever step it was killed after.
#[tokio::test]
async fn a_rotation_goes_on_after_the_server_died() {
    let mut bench = bench().await;
    let nodes = bench.enrol([1, 2, 3]).await;
    let left = &nodes[..2];
    let first = settings(&bench, nodes[0].peer).await;
    remove(&bench, nodes[2]).await;
    bench = bench.restart().await;
    // Nobody speaks for the segment yet: it stays announced.
    let announced = told(&bench, &nodes[..1], |keys| keys.next.is_some()).await;
    bench = bench.restart().await;
    let leader = speak(Leader::lead(&bench, nodes[0], left).await);
    let advanced = told(&bench, left, |keys| keys.current != first.keys.current).await;
    assert_eq!(Some(&advanced.keys.current), announced.keys.next.as_ref());
    leader.abort();
    bench = bench.restart().await;
    speak(Leader::lead(&bench, nodes[0], left).await);
    let last = told(&bench, left, is_over).await;
    assert_eq!(
        last.keys.current, advanced.keys.current,
        "nothing was done twice"
    );
}
