use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bellwether_api::Problem;
use bellwether_disk::publish::Source;
use bellwether_disk::scan::{self, Fingerprints, ScanPolicy};
use bellwether_store::Store;
use bellwether_types::VersionId;
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::begin;
use crate::door::Peer;
use crate::folder::Folder;
use crate::jobs::Board;
use crate::keys::Handed;
use crate::metrics::Metrics;
use crate::router::router;
use crate::server::{Server, WAITING_MAX};
use crate::uplink::Hub;
use crate::works::Works;

/// A control server that nobody listens for.
pub(crate) struct Bench {
    pub(crate) server: Arc<Server>,
    pub(crate) router: Router,
    /// The first administrator's token.
    pub(crate) admin: String,
    /// The first join token.
    pub(crate) join: String,
    pub(crate) end: watch::Sender<bool>,
    tasks: JoinSet<()>,
    pub(crate) home: TempDir,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// What is shared, once nobody else has it.
async fn alone<T>(mut shared: Arc<T>) -> T {
    loop {
        match Arc::try_unwrap(shared) {
            Ok(alone) => return alone,
            Err(others) => shared = others,
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn bench() -> Bench {
    Bench::on(tempfile::tempdir().unwrap(), String::new()).await
}

impl Bench {
    /// A server on what is there; with the join token that its beginning told, if it has begun.
    async fn on(home: TempDir, mut join: String) -> Self {
        let folder = Folder::open(home.path()).unwrap();
        let store = Arc::new(Store::open(&folder.path("store.db")).await.unwrap());
        let (identity, beginning) = begin::open(&folder, &store).await.unwrap();
        let (end, ending) = watch::channel(false);
        let (vault, signing) = (Arc::new(identity.vault), Arc::new(identity.signing));
        let parts = (Arc::clone(&store), Arc::clone(&vault), Arc::clone(&signing));
        let works = Works::open(&folder, parts.0, parts.1, parts.2).unwrap();
        let board = Arc::new(Board::open_on(&store).await.unwrap());
        let hub = Hub::open_on(&store, Arc::clone(&board)).await.unwrap();
        let server = Arc::new(Server {
            store,
            vault,
            authority: Arc::new(identity.authority),
            signing,
            works: Arc::new(works),
            metrics: Metrics::new(),
            hub,
            board,
            handed: Handed::default(),
            ending,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        });
        if let Some(beginning) = beginning {
            join = beginning.join_token;
        }
        let admin = std::fs::read_to_string(folder.path("admin.token")).unwrap();
        Self {
            tasks: server.work(),
            router: router(Arc::clone(&server)),
            server,
            admin: admin.trim().to_owned(),
            join,
            end,
            home,
        }
    }

    /// Another server on the same directory; this one does nothing more. What it was writing is written: otherwise both
    /// would write at once, as no two servers do.
    pub(crate) async fn restart(mut self) -> Self {
        self.tasks.shutdown().await;
        self.end.send_replace(true);
        drop(self.router);
        let Server { store, works, .. } = alone(self.server).await;
        drop(works);
        alone(store).await.close().await;
        Self::on(self.home, self.join).await
    }

    /// Assignments that lie there.
    pub(crate) fn made(&self) -> usize {
        let lying = std::fs::read_dir(self.home.path().join("assignments")).unwrap();
        let names = lying.map(|entry| entry.unwrap().file_name());
        let is_hidden = |name: &std::ffi::OsString| name.as_encoded_bytes().starts_with(b".");
        names.filter(|name| !is_hidden(name)).count()
    }

    /// A version with one file, in the depot.
    pub(crate) fn keep_version(&self, content: &str) -> VersionId {
        let staging = self.home.path().join("staging");
        std::fs::create_dir_all(&staging).unwrap();
        std::fs::write(staging.join("index"), content).unwrap();
        let policy = ScanPolicy::default();
        let scan = scan::scan(&staging, &policy, Fingerprints::default(), &()).unwrap();
        let source = Source::scanned(&staging, scan).unwrap();
        let depot = self.server.works.depot();
        depot.import(&source, 1).unwrap();
        depot.keep(source.manifest()).unwrap()
    }
}

impl Bench {
    /// Asks as the bearer of a token.
    pub(crate) async fn ask(&self, token: &str, line: &str, body: &str) -> Answer {
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
    pub(crate) async fn admin(&self, line: &str, body: &str) -> Answer {
        self.ask(&self.admin, line, body).await
    }

    /// Asks with a certificate.
    pub(crate) async fn node(&self, peer: Peer, line: &str, body: &str) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(path);
        let request = request
            .extension(peer)
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn send(&self, request: Request) -> Answer {
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
    pub(crate) async fn token(&self, role: &str) -> String {
        let body = format!(r#"{{"name":"somebody","role":"{role}"}}"#);
        let answer = self.admin("POST /v1/tokens", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["token"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    /// The problem that was answered, which has the status of its code.
    pub(crate) fn problem(&self) -> Problem {
        let problem: Problem = serde_json::from_value(self.body.clone())
            .unwrap_or_else(|fault| panic!("{fault}: {self:?}"));
        assert_eq!(problem.code.status(), self.status, "{self:?}");
        assert!(!problem.message.is_empty());
        problem
    }
}
