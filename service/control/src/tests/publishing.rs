use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bellwether_api::Code;
use bellwether_content::{Entry, File, Manifest, Mode, Timestamp};
use bellwether_types::{Hash, TreePath};
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::Value;

use super::kit::{Answer, Bench, bench};

/// A tree with its contents.
type Tree = BTreeMap<&'static str, &'static str>;

fn manifest(tree: &Tree, seconds: i64) -> Manifest {
    let entries = tree.iter().map(|(path, content)| {
        let entry = Entry::File(File {
            mode: Mode::new(0o644).unwrap(),
            owner: None,
            size: content.len() as u64,
            hash: Hash::of(content.as_bytes()),
            modified: Timestamp::new(seconds, 0).unwrap(),
        });
        (TreePath::new(path.as_bytes()).unwrap(), entry)
    });
    Manifest::from_entries(entries).unwrap()
}

async fn shop(site: &str) -> Bench {
    let bench = bench().await;
    assert_eq!(bench.admin("POST /v1/sites", site).await.status, 201);
    let group = r#"{"name":"shops","site":"shop"}"#;
    assert_eq!(bench.admin("POST /v1/groups", group).await.status, 201);
    bench
}

impl Bench {
    async fn bytes(&self, line: &str, body: impl Into<Body>) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.admin));
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn put(&self, content: &str, offset: usize, piece: &str) -> Answer {
        let (hash, size) = (Hash::of(content.as_bytes()), content.len());
        let line = format!("PUT /v1/contents/{hash}?size={size}&offset={offset}");
        self.bytes(&line, piece.to_owned()).await
    }

    async fn missing(&self, manifest: &Manifest) -> Vec<String> {
        let answer = self
            .bytes("POST /v1/sites/shop/missing", manifest.encode())
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let contents = answer.body["contents"].as_array().unwrap().iter();
        contents
            .map(|content| content["hash"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn keep(&self, manifest: &Manifest) -> Answer {
        self.bytes("POST /v1/sites/shop/versions", manifest.encode())
            .await
    }

    async fn publish(&self, tree: &Tree, seconds: i64) -> Value {
        let manifest = manifest(tree, seconds);
        for content in tree.values() {
            self.put(content, 0, content).await;
        }
        let answer = self.keep(&manifest).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}

/// STAGE-01: what is missing is sent, and no more; then it is the latest version.
#[tokio::test]
async fn what_the_server_lacks_is_sent_and_becomes_the_latest_version() {
    let bench = shop(r#"{"name":"shop"}"#).await;
    let first = Tree::from([
        ("index", "one"),
        ("same", "unchanged"),
        ("twin", "unchanged"),
    ]);
    let manifest_1 = manifest(&first, 100);
    let too_early = bench.keep(&manifest_1).await.problem();
    assert_eq!(
        (too_early.code, too_early.hint.is_some()),
        (Code::Conflict, true)
    );
    let mut hashes: Vec<String> = ["one", "unchanged"]
        .map(|content| Hash::of(content.as_bytes()).to_string())
        .to_vec();
    hashes.sort_unstable();
    assert_eq!(bench.missing(&manifest_1).await, hashes);
    let after = format!("POST /v1/sites/shop/missing?after={}", hashes[0]);
    let page = bench.bytes(&after, manifest_1.encode()).await.body;
    assert_eq!(page["contents"][0]["hash"], hashes[1]);
    let kept = bench.publish(&first, 100).await;
    let part = &kept["parts"][0];
    assert_eq!(part["version"], manifest_1.version().to_string());
    assert_eq!(
        (&part["changed"], &part["groups"][0]),
        (&true.into(), &"shops".into())
    );
    // Other times are no change; a content keeps the time at which it was first seen.
    let again = bench.publish(&first, 900).await;
    assert_eq!(again["parts"][0]["changed"], false);
    let second = Tree::from([("index", "two"), ("same", "unchanged")]);
    assert_eq!(
        bench.missing(&manifest(&second, 200)).await,
        [Hash::of(b"two").to_string()]
    );
    let expected = manifest(&second, 200)
        .with_first_seen(&manifest_1)
        .version();
    let kept = bench.publish(&second, 200).await;
    assert_eq!(kept["parts"][0]["version"], expected.to_string());
    let listed = bench
        .admin("GET /v1/sites/shop/versions?limit=1", "")
        .await
        .body;
    assert_eq!(listed["items"][0]["version"], expected.to_string());
    let next = listed["next"].as_str().unwrap();
    let rest = format!("GET /v1/sites/shop/versions?before={next}");
    let rest = bench.admin(&rest, "").await.body;
    assert_eq!(
        rest["items"][0]["version"],
        manifest_1.version().to_string()
    );
}

/// CGRP-02.
#[tokio::test]
async fn each_part_of_a_site_has_versions_of_its_own() {
    let bench = shop(r#"{"name":"shop","parts":[{"name":"media","types":["mp4"]}]}"#).await;
    let pages = r#"{"name":"pages","site":"shop","parts":["all"]}"#;
    assert_eq!(bench.admin("POST /v1/groups", pages).await.status, 201);
    let without = bench.publish(&Tree::from([("index", "one")]), 1).await;
    assert_eq!(without["parts"].as_array().unwrap().len(), 1);
    let tree = Tree::from([("index", "one"), ("film.mp4", "film")]);
    let kept = bench.publish(&tree, 1).await;
    let part = |at: usize| {
        let part = &kept["parts"][at];
        (
            part["site"].as_str().unwrap(),
            part["changed"].as_bool().unwrap(),
        )
    };
    assert_eq!([part(0), part(1)], [("shop", false), ("shop@media", true)]);
    assert_eq!(kept["parts"][0]["groups"].as_array().unwrap().len(), 2);
    assert_eq!(kept["parts"][1]["groups"].as_array().unwrap().len(), 1);
    // All that there was goes.
    let kept = bench.publish(&Tree::from([("index", "one")]), 1).await;
    assert_eq!(kept["parts"][1]["files"], 0);
    assert_eq!(kept["parts"][1]["changed"], true);
}

#[tokio::test]
async fn a_content_goes_on_where_it_broke_off_and_what_is_wrong_is_refused() {
    let bench = shop(r#"{"name":"shop"}"#).await;
    let content = "0123456789";
    let received = async || {
        let hash = Hash::of(content.as_bytes());
        let line = format!("GET /v1/contents/{hash}?size=10");
        bench.admin(&line, "").await.body["received"].clone()
    };
    assert_eq!(bench.put(content, 0, "0123").await.body["received"], 4);
    assert_eq!(received().await, 4);
    let refused = bench.put(content, 5, "56789").await.problem();
    assert_eq!(
        (refused.code, refused.hint.is_some()),
        (Code::Conflict, true)
    );
    let refused = bench.put(content, 4, "456789 and more").await.problem();
    assert_eq!(refused.code, Code::TooLarge);
    let refused = bench.put(content, 4, "wrong!").await.problem();
    assert_eq!(refused.code, Code::Invalid);
    assert_eq!(received().await, 0, "what is another content is forgotten");
    assert_eq!(bench.put(content, 0, content).await.body["received"], 10);
    assert_eq!(bench.put(content, 0, content).await.body["received"], 10);
    assert_eq!(bench.put("", 0, "").await.body["received"], 0);
    let hash = Hash::of(b"");
    let largest = u64::MAX;
    let line = format!("PUT /v1/contents/{hash}?size={largest}&offset={largest}");
    let refused = bench.bytes(&line, "x").await.problem();
    assert_eq!(refused.code, Code::TooLarge);
    for (line, code) in [
        ("PUT /v1/contents/xyz?size=1", Code::Malformed),
        (&*format!("PUT /v1/contents/{hash}"), Code::Malformed),
        (
            &*format!("PUT /v1/contents/{hash}?size=-1"),
            Code::Malformed,
        ),
    ] {
        assert_eq!(bench.bytes(line, "x").await.problem().code, code, "{line}");
    }
}

/// A body that breaks off.
struct Broken(Option<Bytes>);

impl hyper::body::Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        Poll::Ready(Some(self.0.take().map(Frame::data).ok_or_else(gone)))
    }
}

#[tokio::test]
async fn what_came_before_a_connection_broke_is_kept() {
    let bench = shop(r#"{"name":"shop"}"#).await;
    let line = format!("/v1/contents/{}?size=100", Hash::of(&[7; 100]));
    let broken = Body::new(Broken(Some(vec![7; 40].into())));
    let refused = bench.bytes(&format!("PUT {line}"), broken).await.problem();
    assert_eq!(refused.code, Code::Malformed);
    let received = bench.admin(&format!("GET {line}"), "").await.body;
    assert_eq!(received["received"], 40);
    let line = format!("PUT {line}&offset=40");
    let received = bench.bytes(&line, vec![7; 60]).await.body;
    assert_eq!(received["received"], 100);
}

#[tokio::test]
async fn manifests_that_cannot_be_are_refused() {
    let bench = shop(r#"{"name":"shop"}"#).await;
    let good = manifest(&Tree::from([("aa", "one")]), 1).encode();
    let last = good.len() - 1;
    let with = |at: usize, bytes: &[u8]| {
        let mut twisted = good.clone();
        twisted[at..at + bytes.len()].copy_from_slice(bytes);
        twisted
    };
    let path = good.windows(2).position(|pair| pair == b"aa").unwrap();
    let bodies = [
        good[..last].to_vec(),
        with(last, &[0x80]),
        with(path, b".."),
        with(path, b"/a"),
        Vec::new(),
        b"{}".to_vec(),
    ];
    for route in ["missing", "versions", "plan"] {
        for body in &bodies {
            let line = format!("POST /v1/sites/shop/{route}");
            let refused = bench.bytes(&line, body.clone()).await.problem();
            assert_eq!(refused.code, Code::Invalid, "{route}");
        }
        let line = format!("POST /v1/sites/nowhere/{route}");
        let refused = bench.bytes(&line, good.clone()).await.problem();
        assert_eq!(refused.code, Code::NotFound);
    }
}

#[tokio::test]
async fn a_site_that_no_group_names_is_not_published() {
    let bench = bench().await;
    bench.admin("POST /v1/sites", r#"{"name":"shop"}"#).await;
    let manifest = manifest(&Tree::from([("index", "one")]), 1).encode();
    for route in ["missing", "versions", "plan"] {
        let line = format!("POST /v1/sites/shop/{route}");
        let refused = bench.bytes(&line, manifest.clone()).await.problem();
        assert_eq!(refused.code, Code::Conflict, "{route}");
        assert!(refused.hint.unwrap().contains("group create"), "{route}");
    }
}

#[tokio::test]
async fn an_empty_tree_is_published_only_if_that_is_said() {
    let bench = shop(r#"{"name":"shop"}"#).await;
    bench.publish(&Tree::from([("index", "one")]), 1).await;
    let empty = Manifest::empty();
    let refused = bench.keep(&empty).await.problem();
    assert_eq!(refused.code, Code::Invalid);
    assert!(refused.hint.unwrap().contains("--allow-empty"));
    let line = "POST /v1/sites/shop/versions?allow_empty=true";
    let kept = bench.bytes(line, empty.encode()).await.body;
    assert_eq!(kept["parts"][0]["changed"], true);
    assert_eq!(kept["parts"][0]["files"], 0);
}

/// STAGE-01, STAGE-02: a directory of the server; nothing but a publish takes anything of it.
#[tokio::test]
async fn a_staging_source_is_scanned_by_the_server() {
    let bench = bench().await;
    let place = tempfile::tempdir().unwrap();
    let staging = place.path().join("staging");
    fs::create_dir_all(staging.join("docs")).unwrap();
    fs::write(staging.join("docs/page"), "text").unwrap();
    let source = |path: &str| format!(r#"{{"name":"shop","source":"{path}"}}"#);
    bench
        .admin("POST /v1/sites", &source(staging.to_str().unwrap()))
        .await;
    bench
        .admin("POST /v1/groups", r#"{"name":"shops","site":"shop"}"#)
        .await;
    let scan = "POST /v1/sites/shop/versions?scan=true";
    let planned = bench
        .bytes("POST /v1/sites/shop/plan?scan=true", "")
        .await
        .body;
    let kept = bench.bytes(scan, "").await.body;
    assert_eq!(kept["parts"][0]["version"], planned["parts"][0]["target"]);
    assert_eq!(kept["parts"][0]["bytes"], 4);
    let both = bench.bytes(scan, "both").await.problem();
    assert_eq!(both.code, Code::Malformed);
    fs::remove_dir_all(&staging).unwrap();
    let gone = bench.bytes(scan, "").await.problem();
    assert_eq!(gone.code, Code::Conflict);
    assert!(
        gone.message.contains("staging") && gone.hint.is_some(),
        "{gone:?}"
    );
    fs::create_dir(&staging).unwrap();
    assert_eq!(bench.bytes(scan, "").await.problem().code, Code::Invalid);
    std::os::unix::net::UnixListener::bind(staging.join("socket")).unwrap();
    let special = bench.bytes(scan, "").await.problem();
    assert!(special.message.contains("socket"), "{special:?}");
    // Neither the server's secrets nor what holds them.
    for path in [bench.home.path().to_str().unwrap(), "/"] {
        let changed = bench.admin("PUT /v1/sites/shop", &source(path)).await;
        assert_eq!(changed.status, 200);
        let refused = bench.bytes(scan, "").await.problem();
        assert_eq!(refused.code, Code::Invalid, "{path}: {refused:?}");
    }
    bench
        .admin("PUT /v1/sites/shop", r#"{"name":"shop"}"#)
        .await;
    assert_eq!(bench.bytes(scan, "").await.problem().code, Code::Invalid);
}

#[tokio::test]
async fn two_who_publish_at_once_follow_each_other() {
    let bench = shop(r#"{"name":"shop"}"#).await;
    let (one, two) = (Tree::from([("a", "one")]), Tree::from([("a", "two")]));
    tokio::join!(bench.publish(&one, 1), bench.publish(&two, 2));
    let listed = bench.admin("GET /v1/sites/shop/versions", "").await.body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_plan_tells_what_would_change_and_for_whom_and_changes_nothing() {
    let bench = shop(r#"{"name":"shop","policy":{"quorum_before":"50%"}}"#).await;
    for byte in 0..3 {
        super::enrolment::enrolled(&bench, byte).await;
    }
    bench
        .publish(&Tree::from([("index", "one"), ("old", "gone")]), 1)
        .await;
    let next = manifest(&Tree::from([("index", "one"), ("new", "quite new")]), 2);
    let line = "POST /v1/sites/shop/plan";
    let planned = bench.bytes(line, next.encode()).await.body;
    let part = &planned["parts"][0];
    assert_eq!(part["changes"], serde_json::json!({"deleted": 1, "new": 1}));
    assert_eq!(
        (&part["bytes"], &part["content_bytes"]),
        (&9.into(), &12.into())
    );
    let group = serde_json::json!({"group":"shops","nodes":3,"quorum_before":2,"quorum_after":3});
    assert_eq!(part["groups"][0], group);
    let listed = bench.admin("GET /v1/sites/shop/versions", "").await.body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}
