//! A page that shows how everything stands, and follows what happens. It can be looked at, and nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bellwether_api::routes::{ListEvents, ListJobs, ListSegments, ShowStatus};
use bellwether_api::{After, JobsPage, Page, StatusPage};
use bellwether_client::{CallError, Client};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::control::Access;
use crate::exit::Exit;
use crate::failure::Failure;

/// The page, before it is served.
pub(super) struct Board {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    client: Arc<Client>,
}

impl Board {
    pub(super) fn open(context: PathBuf) -> Result<Self, Failure> {
        let fault = |error: std::io::Error| Failure::new(Exit::of_io(&error), error);
        let (client, runtime) = Access::of(context).open()?.into_parts();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.map_err(fault)?;
        Ok(Self {
            address: listener.local_addr().map_err(fault)?,
            client,
            runtime,
            listener,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves it until Ctrl-C.
    pub(super) fn serve(self) -> Result<(), Failure> {
        let router = Router::new()
            .route("/", get(async || Html(include_str!("page.html"))))
            .route("/state", get(state))
            .route("/events", get(events))
            .with_state(self.client);
        let Self {
            runtime, listener, ..
        } = self;
        runtime
            .block_on(async {
                tokio::select! {
                    served = axum::serve(listener, router) => served,
                    interrupted = tokio::signal::ctrl_c() => interrupted,
                }
            })
            .map_err(|error| Failure::new(Exit::of_io(&error), error))
    }
}

/// All that the page shows.
async fn state(State(client): State<Arc<Client>>) -> Response {
    answer(look(&client).await)
}

async fn look(client: &Client) -> Result<Value, CallError> {
    let (segments, nodes, jobs) = (Page::default(), StatusPage::default(), JobsPage::default());
    let segments = client
        .call::<ListSegments>(&(), &segments, &())
        .await?
        .items;
    let nodes = client.call::<ShowStatus>(&(), &nodes, &()).await?.items;
    let jobs = client.call::<ListJobs>(&(), &jobs, &()).await?.items;
    Ok(json!({ "segments": segments, "nodes": nodes, "jobs": jobs }))
}

/// What happened since the page asked last, as soon as something has.
async fn events(State(client): State<Arc<Client>>, Query(after): Query<After>) -> Response {
    let told = client.call::<ListEvents>(&(), &after, &()).await;
    answer(told.map(|told| json!(told)))
}

fn answer(found: Result<Value, CallError>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match found {
        Ok(found) => (headers, found.to_string()).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
