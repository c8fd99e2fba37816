use bellwether_api::Code;

use super::kit::bench;

/// CGRP-01, CGRP-06: create, change, remove by the API.
#[tokio::test]
async fn sites_and_groups_are_defined_changed_and_forgotten() {
    let bench = bench().await;
    let site = r#"{"name":"shop","parts":[{"name":"media","types":["mp4"]}],"policy":{"quorum_before":"3"}}"#;
    let made = bench.admin("POST /v1/sites", site).await;
    assert_eq!(
        (made.status, made.body["policy"]["quorum_after"].as_str()),
        (201, Some("100%"))
    );
    assert_eq!(
        bench.admin("POST /v1/sites", site).await.problem().code,
        Code::Conflict
    );
    let group =
        r#"{"name":"films","site":"shop","parts":["media"],"selector":{"labels":{"tier":"gold"}}}"#;
    assert_eq!(bench.admin("POST /v1/groups", group).await.status, 201);
    let kept = bench.admin("DELETE /v1/sites/shop", "").await.problem();
    assert_eq!((kept.code, kept.hint.is_some()), (Code::Conflict, true));
    let changed = group.replace("gold", "silver");
    assert_eq!(
        bench.admin("PUT /v1/groups/films", &changed).await.status,
        200
    );
    let shown = bench.admin("GET /v1/groups/films", "").await;
    assert_eq!(shown.body["selector"]["labels"]["tier"], "silver");
    let renamed = bench
        .admin("PUT /v1/groups/films", &group.replace("films", "movies"))
        .await;
    assert_eq!(renamed.problem().code, Code::Invalid);
    assert_eq!(bench.admin("DELETE /v1/groups/films", "").await.status, 204);
    assert_eq!(bench.admin("DELETE /v1/sites/shop", "").await.status, 204);
    assert_eq!(
        bench.admin("GET /v1/sites/shop", "").await.problem().code,
        Code::NotFound
    );
}

#[tokio::test]
async fn lists_are_told_a_page_at_a_time() {
    let bench = bench().await;
    for number in 0..5 {
        let body = format!(r#"{{"name":"site-{number}"}}"#);
        assert_eq!(bench.admin("POST /v1/sites", &body).await.status, 201);
    }
    let mut names = Vec::new();
    let mut path = "GET /v1/sites?limit=2".to_owned();
    loop {
        let page = bench.admin(&path, "").await;
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        names.extend(
            items
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page.body["next"].as_str() else {
            break;
        };
        path = format!("GET /v1/sites?limit=2&after={next}");
    }
    assert_eq!(names, ["site-0", "site-1", "site-2", "site-3", "site-4"]);
    for limit in ["0", "1001", "-1", "many"] {
        let refused = bench
            .admin(&format!("GET /v1/sites?limit={limit}"), "")
            .await;
        assert!((400..500).contains(&refused.status), "{limit}");
        refused.problem();
    }
}

#[tokio::test]
async fn a_token_is_told_once_and_counts_until_it_is_revoked_or_ends() {
    let bench = bench().await;
    let wanted = r#"{"name":"ann","role":"viewer","lasts_s":3600}"#;
    let given = bench.admin("POST /v1/tokens", wanted).await.body;
    let token = given["token"].as_str().unwrap().to_owned();
    assert_eq!(bench.ask(&token, "GET /v1/server", "").await.status, 200);
    let listed = bench.admin("GET /v1/tokens", "").await.body.to_string();
    assert!(listed.contains("ann") && !listed.contains(&token));
    let id = given["info"]["id"].as_str().unwrap();
    assert_eq!(
        bench
            .admin(&format!("DELETE /v1/tokens/{id}"), "")
            .await
            .status,
        204
    );
    let refused = bench.ask(&token, "GET /v1/server", "").await.problem();
    assert_eq!(refused.code, Code::Unauthenticated);
    for wanted in [
        r#"{"name":"","role":"viewer"}"#,
        r#"{"name":"a","role":"viewer","lasts_s":0}"#,
        r#"{"name":"a","role":"viewer","lasts_s":18446744073709551615}"#,
        r#"{"name":"a","role":"viewer","segment":"boston"}"#,
        r#"{"name":"a","role":"node","segment":"a/b"}"#,
        r#"{"name":"a\u0007","role":"viewer"}"#,
    ] {
        assert_eq!(
            bench.admin("POST /v1/tokens", wanted).await.problem().code,
            Code::Invalid
        );
    }
}

/// Every change is in the audit, with who made it; no secret is.
#[tokio::test]
async fn the_audit_shows_who_changed_what() {
    let bench = bench().await;
    let operator = bench.token("operator").await;
    bench
        .ask(&operator, "POST /v1/sites", r#"{"name":"shop"}"#)
        .await;
    bench
        .ask(&operator, "POST /v1/sites", r#"{"name":"shop"}"#)
        .await;
    let lines = bench.admin("GET /v1/audit?limit=2", "").await.body;
    assert_eq!(
        lines["items"][0]["result"],
        "refused: there is a site shop already"
    );
    assert_eq!(lines["items"][1]["action"], "site.create");
    assert!(
        lines["items"][1]["actor"]
            .as_str()
            .unwrap()
            .ends_with("(somebody)")
    );
    let all = bench.admin("GET /v1/audit", "").await.body.to_string();
    assert!(!all.contains(&operator) && !all.contains(&bench.join));
}

#[tokio::test]
async fn metrics_count_what_was_answered() {
    let bench = bench().await;
    bench.admin("GET /v1/sites/nowhere", "").await;
    let text = bench.admin("GET /metrics", "").await.body;
    let text = text.as_str().unwrap();
    let line = r#"bellwether_control_requests_total{route="ShowSite",status="404"} 1"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains("bellwether_control_applied 1"), "{text}");
    assert!(text.ends_with("# EOF\n"));
    let stranger = bench.ask("bwt_none", "GET /metrics", "").await;
    assert_eq!(stranger.problem().code, Code::Unauthenticated);
}

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let bench = bench().await;
    let served = bench.ask("", "GET /v1/openapi.json", "").await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap();
    let committed: serde_json::Value = serde_json::from_str(&committed).unwrap();
    assert!(served.body == committed, "docs/openapi.json is another one");
}
