use std::collections::BTreeSet;

use bellwether_fleet::Role;
use bellwether_store::{Command, KeyPlace, OpenError, Refused, Store};
use bellwether_types::Hash;

use crate::kit::{
    begin, certificate, enrol, fresh, group, keep, key, labels, name, node, open, propose_at, site,
    token,
};

#[tokio::test]
async fn an_installation_begins_once() {
    let fresh = fresh().await;
    assert_eq!(fresh.store.authority().await.unwrap(), None);
    assert_eq!(fresh.propose(begin()).await, Ok(1));
    assert!(fresh.store.authority().await.unwrap().is_some());
    assert_eq!(fresh.propose(begin()).await, Err(Refused::Begun));
}

/// CRYPT-06: what is secret stands nowhere as it is.
#[tokio::test]
async fn a_token_is_found_by_its_hash_until_it_is_revoked() {
    let fresh = fresh().await;
    let hash = Hash::of(b"ours");
    fresh
        .propose(Command::CreateToken(token("ours", Role::Operator, None)))
        .await
        .unwrap();
    let found = fresh.store.token(&hash).await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.role), ("ours", Role::Operator));
    fresh
        .propose(Command::RevokeToken { id: name("ours") })
        .await
        .unwrap();
    assert_eq!(fresh.store.token(&hash).await.unwrap(), None);
    let again = fresh
        .propose(Command::RevokeToken { id: name("ours") })
        .await;
    assert!(matches!(again, Err(Refused::Missing { .. })), "{again:?}");
}

#[tokio::test]
async fn tokens_that_cannot_be_are_refused() {
    let fresh = fresh().await;
    for (refused, id) in [
        (token("a", Role::Node, None), "a node's without a place"),
        (
            token("a", Role::Admin, Some("auto")),
            "a place for a person",
        ),
    ] {
        let outcome = fresh.propose(Command::CreateToken(refused)).await;
        assert!(
            matches!(outcome, Err(Refused::Invalid(_))),
            "{id}: {outcome:?}"
        );
    }
    let late = propose_at(
        &fresh.store,
        100_000,
        Command::CreateToken(token("a", Role::Admin, None)),
    );
    assert!(matches!(late.await, Err(Refused::Invalid(_))));
    fresh
        .propose(Command::CreateToken(token("a", Role::Admin, None)))
        .await
        .unwrap();
    let twice = fresh
        .propose(Command::CreateToken(token("a", Role::Viewer, None)))
        .await;
    assert!(matches!(twice, Err(Refused::Exists { .. })), "{twice:?}");
}

/// CGRP-01, CGRP-04: a group is of a site that there is, and of parts that it has.
#[tokio::test]
async fn a_site_stays_as_long_as_a_group_needs_it_and_so_do_its_parts() {
    let fresh = fresh().await;
    let orphan = fresh.propose(group("shops", "shop", &[])).await;
    assert!(
        matches!(orphan, Err(Refused::Missing { what: "site", .. })),
        "{orphan:?}"
    );
    fresh
        .propose(Command::CreateSite(site("shop")))
        .await
        .unwrap();
    let astray = fresh.propose(group("shops", "shop", &["music"])).await;
    assert!(
        matches!(astray, Err(Refused::Missing { what: "part", .. })),
        "{astray:?}"
    );
    fresh
        .propose(group("shops", "shop", &["media", "all"]))
        .await
        .unwrap();

    let mut less = site("shop");
    less.parts.clear();
    let cut = fresh.propose(Command::ChangeSite(less.clone())).await;
    assert!(
        matches!(cut, Err(Refused::InUse { what: "part", .. })),
        "{cut:?}"
    );
    let removal = || fresh.propose(Command::RemoveSite { site: name("shop") });
    let kept = removal().await;
    assert!(
        matches!(kept, Err(Refused::InUse { what: "site", .. })),
        "{kept:?}"
    );

    fresh
        .propose(Command::RemoveGroup {
            group: name("shops"),
        })
        .await
        .unwrap();
    fresh.propose(Command::ChangeSite(less)).await.unwrap();
    removal().await.unwrap();
    assert_eq!(fresh.store.site(&name("shop")).await.unwrap(), None);
}

/// CLUSTER-13: the first node of a subnet makes its segment, the next one finds it.
#[tokio::test]
async fn nodes_come_to_the_segment_of_their_token_or_of_their_subnet() {
    let fresh = fresh().await;
    for (id, place) in [("any", "auto"), ("boston", "boston")] {
        let token = token(id, Role::Node, Some(place));
        fresh.propose(Command::CreateToken(token)).await.unwrap();
    }
    let subnet = Some("10.0.0.0/24");
    for enrolment in [
        enrol(1, "any", subnet, 1),
        enrol(2, "any", subnet, 2),
        enrol(3, "boston", subnet, 3),
    ] {
        fresh.propose(Command::Enrol(enrolment)).await.unwrap();
    }
    let segments = fresh.store.segments("", 10).await.unwrap();
    let shown: Vec<_> = segments
        .iter()
        .map(|s| (s.name.as_str(), s.nodes))
        .collect();
    assert_eq!(shown, [("boston", 1), ("net-10.0.0.0-24", 2)]);
    let keys = fresh
        .store
        .segment_keys(&name("net-10.0.0.0-24"))
        .await
        .unwrap();
    assert_eq!(keys.len(), 1, "the second node brings no other key");
    assert_eq!(keys[0].id, key(1).id);
    let placeless = fresh
        .propose(Command::Enrol(enrol(4, "any", None, 4)))
        .await;
    assert!(
        matches!(placeless, Err(Refused::Invalid(_))),
        "{placeless:?}"
    );
}

#[tokio::test]
async fn only_a_token_for_nodes_that_has_not_ended_admits_one() {
    let fresh = fresh().await;
    fresh
        .propose(Command::CreateToken(token("admin", Role::Admin, None)))
        .await
        .unwrap();
    let boston = token("boston", Role::Node, Some("boston"));
    fresh.propose(Command::CreateToken(boston)).await.unwrap();
    for token in ["admin", "nobody"] {
        let outcome = fresh
            .propose(Command::Enrol(enrol(1, token, None, 1)))
            .await;
        assert_eq!(outcome, Err(Refused::Token), "{token}");
    }
    let late = propose_at(
        &fresh.store,
        100_000,
        Command::Enrol(enrol(1, "boston", None, 1)),
    );
    assert_eq!(late.await, Err(Refused::Token));
    assert!(fresh.store.nodes("", 10).await.unwrap().is_empty());
    assert!(
        fresh.store.segments("", 10).await.unwrap().is_empty(),
        "a refusal leaves nothing"
    );
}

/// A node whose enrolment was cut short comes again with the same key; nobody else takes its place.
#[tokio::test]
async fn a_node_may_enrol_again_with_its_own_key_only() {
    let fresh = fresh().await;
    let boston = token("boston", Role::Node, Some("boston"));
    fresh.propose(Command::CreateToken(boston)).await.unwrap();
    for _ in 0..2 {
        fresh
            .propose(Command::Enrol(enrol(1, "boston", None, 1)))
            .await
            .unwrap();
    }
    assert_eq!(fresh.store.nodes("", 10).await.unwrap().len(), 1);
    let thief = fresh
        .propose(Command::Enrol(enrol(1, "boston", None, 9)))
        .await;
    assert!(matches!(thief, Err(Refused::NodeTaken { .. })), "{thief:?}");
}

#[tokio::test]
async fn the_certificates_of_a_node_count_until_it_is_put_out() {
    let fresh = fresh().await;
    let boston = token("boston", Role::Node, Some("boston"));
    fresh.propose(Command::CreateToken(boston)).await.unwrap();
    fresh
        .propose(Command::Enrol(enrol(1, "boston", None, 1)))
        .await
        .unwrap();
    for byte in [2, 3] {
        let certificate = certificate(byte, 60_000 + i64::from(byte));
        fresh
            .propose(Command::Renew {
                node: node(1),
                key: [1; 32],
                certificate,
            })
            .await
            .unwrap();
    }
    let holder = async |byte| fresh.store.holder(&Hash([byte; 32])).await.unwrap();
    assert_eq!(holder(1).await, None, "the oldest of three counts no more");
    assert_eq!(
        (holder(2).await, holder(3).await),
        (Some(node(1)), Some(node(1)))
    );
    fresh
        .propose(Command::RemoveNode { node: node(1) })
        .await
        .unwrap();
    assert_eq!((holder(2).await, holder(3).await), (None, None));
    let gone = Command::Renew {
        node: node(1),
        key: [1; 32],
        certificate: certificate(4, 70_000),
    };
    assert!(matches!(
        fresh.propose(gone).await,
        Err(Refused::Missing { .. })
    ));
}

/// CLUSTER-07: people's name for a segment is its own, and found as its name is.
#[tokio::test]
async fn a_segment_has_a_name_for_people_and_nodes_move_between_segments() {
    let fresh = fresh().await;
    for place in ["a", "b"] {
        let token = token(place, Role::Node, Some(place));
        fresh.propose(Command::CreateToken(token)).await.unwrap();
    }
    fresh
        .propose(Command::Enrol(enrol(1, "a", None, 1)))
        .await
        .unwrap();
    fresh
        .propose(Command::Enrol(enrol(2, "b", None, 2)))
        .await
        .unwrap();
    let title = |segment: &str, title: &str| {
        let (segment, title) = (name(segment), name(title));
        fresh.propose(Command::TitleSegment { segment, title })
    };
    title("a", "Boston").await.unwrap();
    for taken in ["Boston", "a"] {
        let outcome = title("b", taken).await;
        assert!(
            matches!(outcome, Err(Refused::Exists { .. })),
            "{taken}: {outcome:?}"
        );
    }
    let found = fresh.store.segment(&name("Boston")).await.unwrap().unwrap();
    assert_eq!(found.name, name("a"));

    let number = fresh
        .propose(Command::MoveNode {
            node: node(1),
            segment: name("b"),
        })
        .await
        .unwrap();
    assert_eq!(
        fresh.store.node(node(1)).await.unwrap().unwrap().segment,
        name("b")
    );
    for segment in fresh.store.segments("", 10).await.unwrap() {
        assert_eq!(
            segment.settings, number,
            "both segments are told: {}",
            segment.name
        );
    }
    let nowhere = Command::MoveNode {
        node: node(1),
        segment: name("c"),
    };
    assert!(matches!(
        fresh.propose(nowhere).await,
        Err(Refused::Missing { .. })
    ));
}

#[tokio::test]
async fn labels_are_set_and_unset() {
    let fresh = fresh().await;
    let boston = token("boston", Role::Node, Some("boston"));
    fresh.propose(Command::CreateToken(boston)).await.unwrap();
    fresh
        .propose(Command::Enrol(enrol(1, "boston", None, 1)))
        .await
        .unwrap();
    let label = |set: &[(&str, &str)], unset: &[&str]| {
        let unset: BTreeSet<_> = unset.iter().map(|label| name(label)).collect();
        fresh.propose(Command::LabelNode {
            node: node(1),
            set: labels(set),
            unset,
        })
    };
    label(&[("tier", "gold"), ("os", "debian")], &[])
        .await
        .unwrap();
    label(&[("tier", "silver")], &["os", "rack"]).await.unwrap();
    let shown = fresh.store.node(node(1)).await.unwrap().unwrap().labels;
    assert_eq!(shown, labels(&[("tier", "silver")]));
    let many: Vec<String> = (0..65).map(|number| format!("l{number}")).collect();
    let many: Vec<_> = many.iter().map(|label| (label.as_str(), "x")).collect();
    assert!(matches!(
        label(&many, &[]).await,
        Err(Refused::TooMany { .. })
    ));
    assert_eq!(
        fresh
            .store
            .node(node(1))
            .await
            .unwrap()
            .unwrap()
            .labels
            .len(),
        1
    );
}

/// CRYPT-06: previous, current, next.
#[tokio::test]
async fn segment_keys_rotate_in_three_steps() {
    let fresh = fresh().await;
    let boston = token("boston", Role::Node, Some("boston"));
    fresh.propose(Command::CreateToken(boston)).await.unwrap();
    fresh
        .propose(Command::Enrol(enrol(1, "boston", None, 1)))
        .await
        .unwrap();
    let segment = name("boston");
    let keys = async || {
        let mut keys = fresh.store.segment_keys(&segment).await.unwrap();
        keys.sort_by_key(|key| key.place);
        keys.into_iter()
            .map(|key| (key.place, key.id))
            .collect::<Vec<_>>()
    };
    let announce = |id| Command::AnnounceKey {
        segment: segment.clone(),
        key: key(id),
    };
    let advance = || Command::AdvanceKey {
        segment: segment.clone(),
    };
    let retire = || Command::RetireKey {
        segment: segment.clone(),
    };
    let (one, seven) = (key(1).id, key(7).id);
    assert!(matches!(
        fresh.propose(advance()).await,
        Err(Refused::Missing { .. })
    ));
    fresh.propose(announce(7)).await.unwrap();
    assert_eq!(
        keys().await,
        [
            (KeyPlace::Current, one.clone()),
            (KeyPlace::Next, seven.clone())
        ]
    );
    assert!(matches!(
        fresh.propose(announce(8)).await,
        Err(Refused::Exists { .. })
    ));
    fresh.propose(advance()).await.unwrap();
    assert_eq!(
        keys().await,
        [
            (KeyPlace::Previous, one),
            (KeyPlace::Current, seven.clone())
        ]
    );
    fresh.propose(retire()).await.unwrap();
    assert_eq!(keys().await, [(KeyPlace::Current, seven)]);
    assert!(matches!(
        fresh.propose(retire()).await,
        Err(Refused::Missing { .. })
    ));
}

/// CRYPT-06: what somebody knows who was put out is replaced, and until then all are told whom not to hear.
#[tokio::test]
async fn a_node_that_is_put_out_makes_its_segment_rotate() {
    let fresh = fresh().await;
    let boston = token("boston", Role::Node, Some("boston"));
    fresh.propose(Command::CreateToken(boston)).await.unwrap();
    for number in 1..=3 {
        let enrol = enrol(number, "boston", None, number);
        fresh.propose(Command::Enrol(enrol)).await.unwrap();
    }
    let segment = name("boston");
    // Each key with its place, and whether it is safe.
    let due = async || {
        let rotations = fresh.store.rotations(0).await.unwrap();
        let keys = rotations.into_iter().flat_map(|rotation| rotation.keys);
        let mut keys: Vec<_> = keys.map(|key| (key.place, key.id, key.is_safe)).collect();
        keys.sort();
        keys
    };
    let settings = async || {
        fresh
            .store
            .segment(&segment)
            .await
            .unwrap()
            .unwrap()
            .settings
    };
    let remove = |number| Command::RemoveNode { node: node(number) };
    let announce = |id| Command::AnnounceKey {
        segment: segment.clone(),
        key: key(id),
    };
    let advance = || Command::AdvanceKey {
        segment: segment.clone(),
    };
    let retire = || Command::RetireKey {
        segment: segment.clone(),
    };
    let id = |number| key(number).id;
    assert_eq!(due().await, []);
    let before = settings().await;
    fresh.propose(remove(2)).await.unwrap();
    assert!(settings().await > before);
    assert_eq!(due().await, [(KeyPlace::Current, id(1), false)]);
    assert_eq!(fresh.store.put_out(&segment).await.unwrap(), [node(2)]);
    fresh.propose(announce(7)).await.unwrap();
    // The next one goes knows that key already: it is replaced before it counts.
    fresh.propose(remove(3)).await.unwrap();
    let unsafe_keys = [
        (KeyPlace::Current, id(1), false),
        (KeyPlace::Next, id(7), false),
    ];
    assert_eq!(due().await, unsafe_keys);
    fresh.propose(announce(8)).await.unwrap();
    fresh.propose(advance()).await.unwrap();
    let put_out = fresh.store.put_out(&segment).await.unwrap();
    assert_eq!(
        put_out,
        [node(2), node(3)],
        "until no key is accepted that they know"
    );
    let advanced = [
        (KeyPlace::Previous, id(1), false),
        (KeyPlace::Current, id(8), true),
    ];
    assert_eq!(due().await, advanced);
    fresh.propose(retire()).await.unwrap();
    assert_eq!(due().await, []);
    assert_eq!(fresh.store.put_out(&segment).await.unwrap(), []);
    let old = fresh.store.rotations(i64::MAX).await.unwrap();
    assert_eq!(old.len(), 1, "a key that is old is to be replaced as well");
}

#[tokio::test]
async fn a_node_that_is_put_out_is_to_be_heard_nowhere_until_it_comes_back() {
    let fresh = fresh().await;
    for (number, place) in [(1, "boston"), (2, "paris")] {
        let token = token(place, Role::Node, Some(place));
        fresh.propose(Command::CreateToken(token)).await.unwrap();
        let enrol = enrol(number, place, None, number);
        fresh.propose(Command::Enrol(enrol)).await.unwrap();
    }
    let moved = Command::MoveNode {
        node: node(1),
        segment: name("paris"),
    };
    let put_out = async |segment| fresh.store.put_out(&name(segment)).await.unwrap();
    fresh.propose(moved).await.unwrap();
    assert_eq!(fresh.store.rotations(0).await.unwrap(), []);
    fresh
        .propose(Command::RemoveNode { node: node(1) })
        .await
        .unwrap();
    // It knows the keys of both.
    assert_eq!(put_out("boston").await, [node(1)]);
    assert_eq!(put_out("paris").await, [node(1)]);
    assert_eq!(fresh.store.rotations(0).await.unwrap().len(), 2);
    fresh
        .propose(Command::Enrol(enrol(1, "boston", None, 1)))
        .await
        .unwrap();
    assert_eq!(put_out("boston").await, []);
    assert_eq!(put_out("paris").await, []);
    assert_eq!(fresh.store.rotations(0).await.unwrap(), []);
}

/// DB-01: each kind is there after a restart.
#[tokio::test]
async fn what_is_kept_is_there_after_a_restart() {
    let fresh = fresh().await;
    fresh.propose(begin()).await.unwrap();
    fresh
        .propose(Command::CreateSite(site("shop")))
        .await
        .unwrap();
    fresh
        .propose(group("shops", "shop", &["media"]))
        .await
        .unwrap();
    let before = fresh.store.dump().await.unwrap();
    fresh.store.close().await;
    let store = open(fresh.home.path()).await;
    assert_eq!(store.dump().await.unwrap(), before);
    assert_eq!((store.applied(), store.last_event()), (3, 4));
    assert_eq!(
        propose_at(&store, 2_000, Command::CreateSite(site("blog"))).await,
        Ok(4)
    );
}

#[tokio::test]
async fn a_database_of_a_later_release_is_left_alone() {
    let fresh = fresh().await;
    fresh.store.close().await;
    let path = fresh.home.path().join("store.db");
    {
        use sqlx::{ConnectOptions, Connection};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let mut db = options.connect().await.unwrap();
        sqlx::query("INSERT INTO _sqlx_migrations VALUES (99, 'later', 0, TRUE, x'00', 0)")
            .execute(&mut db)
            .await
            .unwrap();
        db.close().await.unwrap();
    }
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { .. }), "{error}");
}

/// STAGE-01: what is published is known by its latest version, part by part.
#[tokio::test]
async fn the_version_that_was_kept_last_is_the_latest_of_its_part() {
    let fresh = fresh().await;
    let refused = fresh.propose(keep("shop", 1)).await;
    assert!(
        matches!(refused, Err(Refused::Missing { .. })),
        "{refused:?}"
    );
    for text in ["shop", "other"] {
        fresh
            .propose(Command::CreateSite(site(text)))
            .await
            .unwrap();
    }
    let refused = fresh.propose(keep("shop@nothing", 1)).await;
    assert!(
        matches!(refused, Err(Refused::Missing { .. })),
        "{refused:?}"
    );
    // The last one is the latest already; the fourth is an old one again.
    for (part, byte) in [
        ("shop", 1),
        ("shop@media", 2),
        ("shop", 3),
        ("shop", 1),
        ("shop", 1),
        ("other", 4),
    ] {
        fresh.propose(keep(part, byte)).await.unwrap();
    }
    let latest = async |part: &str| {
        let found = fresh.store.latest_version(&part.parse().unwrap()).await;
        found.unwrap().map(|version| version.version.0.0[0])
    };
    assert_eq!(latest("shop").await, Some(1));
    assert_eq!(latest("shop@media").await, Some(2));
    let listed = async |before, limit| {
        let found = fresh.store.versions(&name("shop"), before, limit).await;
        let found = found.unwrap().into_iter();
        found
            .map(|version| (version.number, version.version.0.0[0]))
            .collect::<Vec<_>>()
    };
    let all = listed(u64::MAX, 10).await;
    let bytes: Vec<u8> = all.iter().map(|(_, byte)| *byte).collect();
    assert_eq!(bytes, [1, 3, 2, 1]);
    assert_eq!(listed(all[1].0, 1).await, [all[2]]);
    fresh
        .propose(Command::RemoveSite { site: name("shop") })
        .await
        .unwrap();
    assert_eq!(latest("shop").await, None);
    assert_eq!(latest("other").await, Some(4));
}
