use bellwether_store::{Actor, Command, Entry};

use crate::kit::{begin, fresh, name, propose_at, site};

#[tokio::test]
async fn events_are_numbered_without_gaps_and_go_on_where_one_stopped() {
    let fresh = fresh().await;
    fresh.propose(begin()).await.unwrap();
    fresh
        .propose(Command::CreateSite(site("shop")))
        .await
        .unwrap();
    fresh
        .propose(Command::CreateSite(site("shop")))
        .await
        .unwrap_err();
    fresh
        .propose(Command::RemoveSite { site: name("shop") })
        .await
        .unwrap();
    let events = fresh.store.events(0, 100).await.unwrap().unwrap();
    let shown: Vec<_> = events
        .iter()
        .map(|event| (event.number, event.kind.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (1, "token.created"),
            (2, "server.begun"),
            (3, "site.created"),
            (4, "site.removed")
        ]
    );
    let rest = fresh.store.events(2, 1).await.unwrap().unwrap();
    assert_eq!(rest, events[2..3]);
    assert_eq!(fresh.store.events(4, 100).await.unwrap(), Some(Vec::new()));
    assert_eq!(
        fresh.store.events(5, 100).await.unwrap(),
        None,
        "it has not happened"
    );
}

#[tokio::test]
async fn whoever_waits_for_an_event_is_woken_by_it() {
    let fresh = fresh().await;
    let (woken, _) = tokio::join!(fresh.store.event_after(1), async {
        fresh.propose(Command::CreateSite(site("a"))).await.unwrap();
        fresh.propose(Command::CreateSite(site("b"))).await.unwrap();
    });
    assert!(woken);
    assert!(fresh.store.event_after(0).await, "it is there already");
}

/// Only so many are kept: who missed more is told so.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_forgotten_are_told_apart_from_none() {
    let fresh = fresh().await;
    let mut tokens = Vec::new();
    for number in 0..10_000 {
        let id = format!("t{number}");
        tokens.push(crate::kit::token(&id, bellwether_fleet::Role::Viewer, None));
    }
    let Command::Begin { authority, .. } = begin() else {
        unreachable!("it begins")
    };
    fresh
        .propose(Command::Begin { authority, tokens })
        .await
        .unwrap();
    assert_eq!(fresh.store.last_event(), 10_001);
    assert_eq!(fresh.store.events(0, 10).await.unwrap(), None);
    assert_eq!(
        fresh.store.events(1, 10).await.unwrap().unwrap()[0].number,
        2
    );
}

/// Who, when, what, result; of refusals too; never secrets.
#[tokio::test]
async fn the_audit_tells_who_wanted_what_and_what_came_of_it() {
    let fresh = fresh().await;
    let actor = Actor::Token {
        id: name("ours"),
        name: "ann".to_owned(),
    };
    let create = Command::CreateSite(site("shop"));
    for _ in 0..2 {
        let entry = Entry::new(7, actor.clone(), create.clone());
        let _ = fresh.store.propose(entry).await.unwrap();
    }
    propose_at(&fresh.store, 8, begin()).await.unwrap();
    let lines = fresh.store.audit(u64::MAX, 10).await.unwrap();
    let shown: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line.number,
                line.at_ms,
                line.actor.as_str(),
                line.action.as_str(),
                line.result.as_str(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (3, 8, "server", "server.begin", "done"),
            (
                2,
                7,
                "token ours (ann)",
                "site.create",
                "refused: there is a site shop already"
            ),
            (1, 7, "token ours (ann)", "site.create", "done"),
        ]
    );
    assert_eq!(fresh.store.audit(2, 10).await.unwrap(), lines[2..]);
    let hash = bellwether_types::Hash::of(b"first").to_string();
    assert!(!format!("{lines:?}").contains(&hash));
}
