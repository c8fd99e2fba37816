use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bellwether_api::Problem;
use bellwether_store::Store;
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::begin;
use crate::door::Peer;
use crate::folder::Folder;
use crate::metrics::Metrics;
use crate::router::router;
use crate::server::{Server, WAITING_MAX};

/// A control server that nobody listens for.
pub(super) struct Bench {
    pub(super) server: Arc<Server>,
    pub(super) router: Router,
    /// The first administrator's token.
    pub(super) admin: String,
    /// The first join token.
    pub(super) join: String,
    pub(super) end: watch::Sender<bool>,
    _home: TempDir,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

pub(super) async fn bench() -> Bench {
    let home = tempfile::tempdir().unwrap();
    let folder = Folder::open(home.path()).unwrap();
    let store = Store::open(&folder.path("store.db")).await.unwrap();
    let (identity, beginning) = begin::open(&folder, &store).await.unwrap();
    let (end, ending) = watch::channel(false);
    let server = Arc::new(Server {
        store,
        vault: identity.vault,
        authority: Arc::new(identity.authority),
        signing: identity.signing,
        metrics: Metrics::new(),
        ending,
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
    });
    let beginning = beginning.unwrap();
    Bench {
        router: router(Arc::clone(&server)),
        server,
        admin: std::fs::read_to_string(beginning.admin_token)
            .unwrap()
            .trim()
            .to_owned(),
        join: beginning.join_token,
        end,
        _home: home,
    }
}

impl Bench {
    /// Asks as the bearer of a token.
    pub(super) async fn ask(&self, token: &str, line: &str, body: &str) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.send(request).await
    }

    /// Asks as the first administrator.
    pub(super) async fn admin(&self, line: &str, body: &str) -> Answer {
        self.ask(&self.admin, line, body).await
    }

    /// Asks with a certificate.
    pub(super) async fn node(&self, peer: Peer, line: &str, body: &str) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(path);
        let request = request
            .extension(peer)
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.send(request).await
    }

    pub(super) async fn send(&self, request: Request) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()),
        };
        Answer { status, body }
    }

    /// A token of a role.
    pub(super) async fn token(&self, role: &str) -> String {
        let body = format!(r#"{{"name":"somebody","role":"{role}"}}"#);
        let answer = self.admin("POST /v1/tokens", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["token"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    /// The problem that was answered, which has the status of its code.
    pub(super) fn problem(&self) -> Problem {
        let problem: Problem = serde_json::from_value(self.body.clone())
            .unwrap_or_else(|fault| panic!("{fault}: {self:?}"));
        assert_eq!(problem.code.status(), self.status, "{self:?}");
        assert!(!problem.message.is_empty());
        problem
    }
}
