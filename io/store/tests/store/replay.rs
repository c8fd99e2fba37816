use std::collections::BTreeSet;

use bellwether_fleet::Role;
use bellwether_scheduling::Kind;
use bellwether_store::{Actor, Command, Entry, NewJob, Observation, Seen, StoreError};
use bellwether_types::{Hash, VersionId};
use proptest::prelude::*;

use crate::jobs::steps;
use crate::kit::{
    begin, certificate, enrol, fresh, group, keep, key, labels, name, node, site, token,
};

/// Commands over few names, so that they meet: some are refused.
fn command() -> impl Strategy<Value = Command> {
    let few = 0..3u8;
    let site_name = few.clone().prop_map(|n| format!("site-{n}"));
    let group_name = few.clone().prop_map(|n| format!("group-{n}"));
    let segment = prop_oneof![Just("boston"), Just("net-10.0.0.0-24")].prop_map(name);
    prop_oneof![
        Just(begin()),
        few.clone()
            .prop_map(|n| Command::CreateToken(token(&format!("t{n}"), Role::Viewer, None))),
        few.clone().prop_map(|n| Command::CreateToken(token(
            &format!("n{n}"),
            Role::Node,
            Some("auto")
        ))),
        Just(Command::CreateToken(token(
            "n9",
            Role::Node,
            Some("boston")
        ))),
        few.clone().prop_map(|n| Command::RevokeToken {
            id: name(&format!("n{n}"))
        }),
        site_name
            .clone()
            .prop_map(|text| Command::CreateSite(site(&text))),
        site_name.clone().prop_map(|text| {
            let mut site = site(&text);
            site.parts.clear();
            Command::ChangeSite(site)
        }),
        site_name
            .clone()
            .prop_map(|text| Command::RemoveSite { site: name(&text) }),
        (group_name.clone(), site_name).prop_map(|(text, site)| group(&text, &site, &["media"])),
        (0..3u8, 0..3u8, any::<bool>()).prop_map(|(site, version, all)| {
            let part = if all { "" } else { "@media" };
            keep(&format!("site-{site}{part}"), version)
        }),
        group_name.prop_map(|text| Command::RemoveGroup { group: name(&text) }),
        (
            few.clone(),
            prop_oneof![Just("n0"), Just("n9")],
            few.clone()
        )
            .prop_map(|(n, token, secret)| Command::Enrol(enrol(
                n,
                token,
                Some("10.0.0.0/24"),
                secret
            ))),
        (few.clone(), 0..9u8).prop_map(|(n, byte)| Command::Renew {
            node: node(n),
            key: [byte; 32],
            certificate: certificate(byte, byte.into()),
        }),
        (few.clone(), few.clone()).prop_map(|(n, label)| Command::LabelNode {
            node: node(n),
            set: labels(&[(&format!("l{label}"), "x")]),
            unset: BTreeSet::from([name("l0")]),
        }),
        (few.clone(), segment.clone()).prop_map(|(n, segment)| Command::MoveNode {
            node: node(n),
            segment
        }),
        few.prop_map(|n| Command::RemoveNode { node: node(n) }),
        segment.clone().prop_map(|segment| Command::TitleSegment {
            segment,
            title: name("Boston")
        }),
        (segment.clone(), 0..4u8).prop_map(|(segment, to)| Command::ChangeLeader {
            segment,
            to: (to > 0).then(|| node(to)),
        }),
        (segment.clone(), 0..9u8).prop_map(|(segment, id)| Command::AnnounceKey {
            segment,
            key: key(id)
        }),
        segment
            .clone()
            .prop_map(|segment| Command::AdvanceKey { segment }),
        segment.prop_map(|segment| Command::RetireKey { segment }),
        (0..3u8).prop_map(|n| {
            let site = format!("site-{n}").parse().unwrap();
            let target = VersionId(Hash([n; 32]));
            let group = name(&format!("group-{n}"));
            Command::CreateJob(NewJob::new(Kind::Publish, site, group, Some(target)))
        }),
        (0..60u64, 0..5usize).prop_map(|(number, step)| {
            let job = name(&format!("j-{number}"));
            Command::keep_step(job, &steps(number, VersionId(Hash([1; 32])))[step])
        }),
        (0..3u8, any::<bool>()).prop_map(|(n, present)| {
            let seen = if present { Seen::Present } else { Seen::Lost };
            Command::Observe(Observation {
                nodes: [(node(n), seen)].into(),
                segments: [(name("boston"), present.then(|| node(n)))].into(),
            })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// DB-09: whoever applies the same log keeps the same, and refuses the same.
    #[test]
    fn the_same_log_makes_the_same_database(commands in prop::collection::vec(command(), 1..60)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (first, second) = (fresh().await, fresh().await);
            let mut outcomes = Vec::new();
            for (at, command) in commands.into_iter().enumerate() {
                let entry = Entry::new(at as i64 * 10, Actor::Node(node(at as u8)), command);
                outcomes.push(first.store.propose(entry).await.unwrap());
            }
            let log = first.store.log(0, u32::MAX).await.unwrap().unwrap();
            for ((number, entry), outcome) in log.into_iter().zip(outcomes) {
                assert_eq!(second.store.apply(number, entry).await.unwrap(), outcome);
            }
            assert_eq!(first.store.dump().await.unwrap(), second.store.dump().await.unwrap());
        });
    }
}

#[tokio::test]
async fn entries_are_applied_in_their_order_only_and_once() {
    let fresh = fresh().await;
    let entry = Entry::new(1, Actor::Server, Command::CreateSite(site("shop")));
    for (number, fits) in [
        (2, false),
        (0, false),
        (1, true),
        (1, false),
        (3, false),
        (2, true),
    ] {
        let applied = fresh.store.apply(number, entry.clone()).await;
        match fits {
            true => drop(applied.unwrap()),
            false => assert!(matches!(applied, Err(StoreError::Gap { .. })), "{number}"),
        }
    }
    assert_eq!(fresh.store.applied(), 2);
}

#[tokio::test]
async fn a_refusal_leaves_nothing_but_its_place_in_log_and_audit() {
    let fresh = fresh().await;
    fresh
        .propose(Command::CreateSite(site("shop")))
        .await
        .unwrap();
    let before = fresh.store.dump().await.unwrap();
    // Its token would be made before the one that is refused.
    let tokens = vec![
        token("a", Role::Viewer, None),
        token("a", Role::Viewer, None),
    ];
    let Command::Begin { authority, .. } = begin() else {
        unreachable!("it begins")
    };
    fresh
        .propose(Command::Begin { authority, tokens })
        .await
        .unwrap_err();
    let after = fresh.store.dump().await.unwrap();
    let told = |line: &&str| {
        let table = line.split(' ').next();
        !matches!(table, Some("log" | "audit" | "position"))
    };
    let (before, after): (Vec<_>, Vec<_>) = (
        before.lines().filter(told).collect(),
        after.lines().filter(told).collect(),
    );
    assert_eq!(before, after);
}

/// An entry stays readable for releases to come.
#[test]
fn entries_are_written_as_documented() {
    let entry = Entry::new(
        1,
        Actor::Node(node(7)),
        Command::RemoveSite { site: name("shop") },
    );
    let text = concat!(
        r#"{"format":1,"at_ms":1,"actor":{"node":"07070707070707070707070707070707"},"#,
        r#""command":{"remove-site":{"site":"shop"}}}"#
    );
    assert_eq!(serde_json::to_string(&entry).unwrap(), text);
    assert_eq!(serde_json::from_str::<Entry>(text).unwrap(), entry);
}
