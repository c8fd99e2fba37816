use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bellwether_api::Code;
use bellwether_types::Hash;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::kit::bench;
use super::roles::{filled, routes};
use crate::door::Peer;

/// Any JSON at all, small.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(field(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Names that bodies have, and others.
fn field() -> impl Strategy<Value = String> {
    let known = select(vec![
        "name",
        "role",
        "segment",
        "lasts_s",
        "site",
        "parts",
        "types",
        "paths",
        "policy",
        "selector",
        "labels",
        "segments",
        "nodes",
        "set",
        "unset",
        "title",
        "node",
        "addresses",
        "request",
        "source",
        "commit",
        "quorum_before",
        "retries",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => text()]
}

fn text() -> impl Strategy<Value = String> {
    let known = select(vec![
        "",
        "shop",
        "../../etc/passwd",
        "a/b",
        ".",
        "..",
        "-rf",
        "auto",
        "admin",
        "viewer",
        "node",
        "together",
        "101%",
        "\0",
        "\u{202e}",
        "DROP TABLE nodes;--",
        "' OR 1=1 --",
        "10.0.0.1/33",
        "ffffffffffffffffffffffffffffffff",
        "\u{10ffff}",
    ]);
    prop_oneof![known.prop_map(str::to_owned), ".{0,80}"]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => value().prop_map(|value| value.to_string().into_bytes()),
        2 => prop::collection::btree_map(field(), value(), 0..6)
            .prop_map(|fields| json!(fields).to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (value(), 0..50usize).prop_map(|(value, cut)| {
            let mut text = value.to_string().into_bytes();
            text.truncate(cut);
            text
        }),
        1 => (1..5_000usize).prop_map(|depth| "[".repeat(depth).into_bytes()),
        1 => Just(Vec::new()),
    ]
}

/// What stands in a path, escaped as it travels.
fn key() -> impl Strategy<Value = String> {
    let known = select(vec![
        "x",
        "..",
        "%2e%2e%2f",
        "%00",
        "%ff",
        "a%2Fb",
        ".",
        "-",
        "%F0%9F%90%91",
        "{site}",
        "*",
    ]);
    prop_oneof![known.prop_map(str::to_owned), "[a-zA-Z0-9._~-]{0,100}"]
}

fn query() -> impl Strategy<Value = String> {
    let known = select(vec![
        "",
        "?",
        "?limit=0",
        "?limit=99999999999",
        "?after=%00",
        "?after=%ff",
        "?wait=1h",
        "?wait=99s",
        "?after=-1",
        "?unknown=1",
        "?limit=1&limit=2",
        "?group=a%2Fb",
        "?%",
        "?a=%",
        "?before=x",
        "?wait=0ms",
    ]);
    prop_oneof![known.prop_map(str::to_owned), "\\?[a-z0-9=&%+]{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is sent to whatever route by whomever: it is done, or refused by a problem that names the client's fault.
    #[test]
    fn bodies_of_every_wrong_kind_are_refused_by_a_problem(
        asked in prop::collection::vec((key(), query(), body(), 0..4usize), 12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = bench().await;
            for (method, path, _) in routes() {
                for (key, query, body, who) in &asked {
                    let uri = format!("{}{query}", filled(&path, key));
                    let token = [&bench.admin, &bench.join, "", "bwt_0_0"][*who];
                    let Ok(request) = Request::builder()
                        .method(method.as_str())
                        .uri(&uri)
                        .header(header::AUTHORIZATION, format!("Bearer {token}"))
                        .extension(Peer(Some(Hash([7; 32]))))
                        .body(Body::from(body.clone()))
                    else {
                        // No client can send it.
                        continue;
                    };
                    let answer = bench.send(request).await;
                    assert!(answer.status < 500, "{method} {uri}: {answer:?}");
                    if answer.status >= 300 {
                        answer.problem();
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let bench = bench().await;
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(
        bench.admin("POST /v1/sites", &large).await.problem().code,
        Code::TooLarge
    );
}

#[tokio::test]
async fn each_kind_of_wrong_body_has_its_own_code() {
    let bench = bench().await;
    for (body, code) in [
        ("", Code::Malformed),
        ("{", Code::Malformed),
        ("not json", Code::Malformed),
        ("[]", Code::Invalid),
        ("{}", Code::Invalid),
        (r#"{"name":7}"#, Code::Invalid),
        (r#"{"name":"shop","extra":1}"#, Code::Invalid),
        (r#"{"name":"shop","name":"shop"}"#, Code::Invalid),
        (r#"{"name":"../shop"}"#, Code::Invalid),
        (r#"{"name":"shop","source":"relative"}"#, Code::Invalid),
        (
            r#"{"name":"shop","policy":{"quorum_before":"101%"}}"#,
            Code::Invalid,
        ),
    ] {
        assert_eq!(
            bench.admin("POST /v1/sites", body).await.problem().code,
            code,
            "{body}"
        );
    }
    let typed = Request::builder()
        .method("POST")
        .uri("/v1/sites")
        .header(header::AUTHORIZATION, format!("Bearer {}", bench.admin))
        .header(header::CONTENT_TYPE, "application/xml")
        .body(Body::from("<site/>"))
        .unwrap();
    assert_eq!(
        bench.send(typed).await.problem().code,
        Code::UnsupportedType
    );
    let body = bench.admin("GET /v1/sites", "{}").await.problem();
    assert_eq!(body.code, Code::Malformed, "a question has no body");
    assert_eq!(
        bench.admin("GET /v2/sites", "").await.problem().code,
        Code::NotFound
    );
    let patched = bench.admin("PATCH /v1/sites", "{}").await.problem();
    assert_eq!(patched.code, Code::MethodNotAllowed);
}
