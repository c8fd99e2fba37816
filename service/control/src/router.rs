use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, get, post};
use bellwether_api::{Code, Endpoint, Method, Octets, Problem, routes};

use crate::door::{self, Call};
use crate::handlers::{
    assignment, audit, content, enrol, event, group, job, node, segment, site, status, token,
    version, whole,
};
use crate::server::Server;
use crate::uplink::uplink;

/// Every route of the API with its handler.
pub(crate) fn router(server: Arc<Server>) -> Router {
    let mut house = House {
        router: Router::new(),
    };
    house.on::<routes::Health, _>(whole::health);
    house.on::<routes::ShowServer, _>(whole::show);

    house.on::<routes::CreateToken, _>(token::create);
    house.on::<routes::ListTokens, _>(token::list);
    house.on::<routes::RevokeToken, _>(token::revoke);

    house.on::<routes::CreateSite, _>(site::create);
    house.on::<routes::ListSites, _>(site::list);
    house.on::<routes::ShowSite, _>(site::show);
    house.on::<routes::ChangeSite, _>(site::change);
    house.on::<routes::RemoveSite, _>(site::remove);

    house.receive::<routes::ListMissing, _>(content::missing);
    house.on::<routes::ShowContent, _>(content::show);
    house.receive::<routes::PutContent, _>(content::put);
    house.receive::<routes::KeepVersion, _>(version::keep);
    house.on::<routes::ListVersions, _>(version::list);
    house.receive::<routes::PlanSite, _>(version::plan);

    house.on::<routes::CreateGroup, _>(group::create);
    house.on::<routes::ListGroups, _>(group::list);
    house.on::<routes::ShowGroup, _>(group::show);
    house.on::<routes::ChangeGroup, _>(group::change);
    house.on::<routes::RemoveGroup, _>(group::remove);

    house.on::<routes::ListSegments, _>(segment::list);
    house.on::<routes::ShowSegment, _>(segment::show);
    house.on::<routes::TitleSegment, _>(segment::title);
    house.on::<routes::ChangeLeader, _>(segment::change_leader);

    house.on::<routes::ListNodes, _>(node::list);
    house.on::<routes::ShowNode, _>(node::show);
    house.on::<routes::LabelNode, _>(node::label);
    house.on::<routes::MoveNode, _>(node::relocate);
    house.on::<routes::RemoveNode, _>(node::remove);

    house.on::<routes::CreateJob, _>(job::create);
    house.on::<routes::ListJobs, _>(job::list);
    house.on::<routes::ShowJob, _>(job::show);
    house.on::<routes::AbortJob, _>(job::abort);
    house.on::<routes::CommitJob, _>(job::commit);
    house.on::<routes::ShowStatus, _>(status::show);

    house.respond::<routes::ListEvents, _>(event::list);
    house.on::<routes::ListAudit, _>(audit::list);

    house.on::<routes::Enrol, _>(enrol::enrol);
    house.on::<routes::Renew, _>(enrol::renew);
    house.on::<routes::ShowSettings, _>(enrol::settings);
    house.respond::<routes::FetchAssignment, _>(assignment::fetch);

    let House { router } = house;
    router
        .route("/v1/openapi.json", get(openapi))
        .route("/metrics", get(metrics))
        .route(routes::UPLINK, post(leaders))
        .fallback(async || {
            door::of_problem(&Problem::new(Code::NotFound, "there is no such route"))
        })
        .method_not_allowed_fallback(async || {
            let message = "the route has no such method";
            door::of_problem(&Problem::new(Code::MethodNotAllowed, message))
        })
        .with_state(server)
}

struct House {
    router: Router<Arc<Server>>,
}

impl House {
    fn on<E: Endpoint, F>(&mut self, handler: fn(Call<E>) -> F)
    where
        F: Future<Output = Result<E::Reply, Problem>> + Send + 'static,
    {
        let answer = move |State(server): State<Arc<Server>>, request: Request| {
            door::answer::<E, F>(server, request, handler)
        };
        self.put::<E>(axum::routing::on(filter(E::METHOD), answer));
    }

    fn receive<E: Endpoint<Body = Octets>, F>(&mut self, handler: fn(Call<E>, Body) -> F)
    where
        F: Future<Output = Result<E::Reply, Problem>> + Send + 'static,
    {
        let answer = move |State(server): State<Arc<Server>>, request: Request| {
            door::receive::<E, F>(server, request, handler)
        };
        self.put::<E>(axum::routing::on(filter(E::METHOD), answer));
    }

    fn respond<E: Endpoint, F>(&mut self, handler: fn(Call<E>) -> F)
    where
        F: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        let answer = move |State(server): State<Arc<Server>>, request: Request| {
            door::respond::<E, F>(server, request, handler)
        };
        self.put::<E>(axum::routing::on(filter(E::METHOD), answer));
    }

    fn put<E: Endpoint>(&mut self, methods: MethodRouter<Arc<Server>>) {
        let router = std::mem::take(&mut self.router);
        self.router = router.route(E::PATH, methods);
    }
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

async fn leaders(State(server): State<Arc<Server>>, request: Request) -> Response {
    uplink(server, request).await
}

async fn openapi() -> Response {
    text("application/json", bellwether_api::document())
}

async fn metrics(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match door::admit_viewer(&server, &parts).await {
        Err(problem) => door::of_problem(&problem),
        Ok(()) => text(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            server.metrics.exposition(&server.store, &server.hub),
        ),
    }
}

fn text(kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
