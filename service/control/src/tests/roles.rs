use bellwether_api::Code;
use serde_json::Value;

use super::kit::bench;

/// Method, path and who may ask, of every route that is documented.
pub(super) fn routes() -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(&bellwether_api::document()).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let access = operation["x-access"].as_str().unwrap().to_owned();
            routes.push((method.to_uppercase(), path.clone(), access));
        }
    }
    assert!(routes.len() > 20);
    routes
}

/// A documented path with something in the place of its key.
pub(super) fn filled(path: &str, key: &str) -> String {
    match (path.find('{'), path.find('}')) {
        (Some(from), Some(to)) => format!("{}{key}{}", &path[..from], &path[to + 1..]),
        _ => path.to_owned(),
    }
}

#[tokio::test]
async fn nobody_asks_without_a_token_and_none_asks_beyond_its_role() {
    let bench = bench().await;
    let roles = [
        "the role node",
        "the role viewer",
        "the role operator",
        "the role admin",
    ];
    let mut tokens = vec![bench.join.clone()];
    for role in ["viewer", "operator", "admin"] {
        tokens.push(bench.token(role).await);
    }
    for (method, path, access) in routes() {
        let line = format!("{method} {}", filled(&path, "x"));
        if access == "anyone" {
            assert!(bench.ask("", &line, "").await.status < 300, "{line}");
            continue;
        }
        for stranger in ["", "bwt_", "bwt_0_0"] {
            let refused = bench.ask(stranger, &line, "").await.problem();
            assert_eq!(refused.code, Code::Unauthenticated, "{line}");
        }
        let Some(least) = roles.iter().position(|role| *role == access) else {
            // A node's certificate: no token stands in for it.
            for token in &tokens {
                let refused = bench.ask(token, &line, "").await.problem();
                assert_eq!(refused.code, Code::Unauthenticated, "{line}");
            }
            continue;
        };
        for (role, token) in tokens.iter().enumerate() {
            let answer = bench.ask(token, &line, "").await;
            let forbidden = answer.status == 403;
            // Only a join token enrols: a better one is refused by what it is for, once the body is read.
            assert_eq!(
                forbidden,
                role < least,
                "{line} as {}: {answer:?}",
                roles[role]
            );
        }
    }
}
