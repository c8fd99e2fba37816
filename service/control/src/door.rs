//! How every request is admitted, read and answered. Handlers see values that cannot be wrong, and whose right to ask is
//! settled.

use std::any::TypeId;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bellwether_api::{Access, Code, Endpoint, Key, Octets, Problem};
use bellwether_fleet::Role;
use bellwether_store::{Actor, Token};
use bellwether_types::{Hash, NodeId};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::clock::now_ms;
use crate::problem;
use crate::server::Server;
use crate::token;

/// A request that was admitted.
pub(crate) struct Call<E: Endpoint, B = <E as Endpoint>::Body> {
    pub(crate) server: Arc<Server>,
    pub(crate) caller: Caller,
    pub(crate) key: E::Key,
    pub(crate) query: E::Query,
    pub(crate) body: B,
    pub(crate) headers: HeaderMap,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Nobody needs to know.
    Anyone,
    /// The bearer of a token.
    Bearer(Token),
    /// A node.
    Node(NodeId),
}

/// The certificate that a connection came with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) Option<Hash>);

const BODY_LEN_MAX: usize = 1 << 20;
/// Whoever sends more slowly than this is not waited for.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Admits a request, has it handled, and answers in JSON.
pub(crate) async fn answer<E: Endpoint, F>(
    server: Arc<Server>,
    request: Request,
    handler: impl Fn(Call<E>) -> F,
) -> Response
where
    F: Future<Output = Result<E::Reply, Problem>>,
{
    respond::<E, _>(server, request, async |call| {
        let reply = handler(call).await?;
        let mut response = match TypeId::of::<E::Reply>() == TypeId::of::<()>() {
            true => Response::new(Body::empty()),
            false => json(&reply),
        };
        *response.status_mut() = StatusCode::from_u16(E::STATUS).unwrap_or(StatusCode::OK);
        Ok(response)
    })
    .await
}

/// The same for whoever answers otherwise.
pub(crate) async fn respond<E: Endpoint, F>(
    server: Arc<Server>,
    request: Request,
    handler: impl FnOnce(Call<E>) -> F,
) -> Response
where
    F: Future<Output = Result<Response, Problem>>,
{
    measured::<E>(Arc::clone(&server), async {
        let (call, body) = admit::<E>(server, request).await?;
        let body = read_body::<E::Body>(&call.headers, body).await?;
        handler(call.with(body)).await
    })
    .await
}

/// The same for whoever takes the body as it comes, and answers in JSON.
pub(crate) async fn receive<E: Endpoint<Body = Octets>, F>(
    server: Arc<Server>,
    request: Request,
    handler: impl FnOnce(Call<E>, Body) -> F,
) -> Response
where
    F: Future<Output = Result<E::Reply, Problem>>,
{
    measured::<E>(Arc::clone(&server), async {
        let (call, body) = admit::<E>(server, request).await?;
        let reply = handler(call.with(Octets), body).await?;
        Ok(json(&reply))
    })
    .await
}

async fn measured<E: Endpoint>(
    server: Arc<Server>,
    answered: impl Future<Output = Result<Response, Problem>>,
) -> Response {
    let began = Instant::now();
    let response = answered.await;
    let response = response.unwrap_or_else(|problem| of_problem(&problem));
    let status = response.status().as_u16();
    server.metrics.answered(E::NAME, status, began.elapsed());
    response
}

/// All of a body that is no JSON.
pub(crate) async fn read_all(body: Body, len_max: usize) -> Result<Bytes, Problem> {
    let mut body = Limited::new(body, len_max);
    let mut bytes = BytesMut::new();
    while let Some(piece) = next_piece(&mut body, len_max).await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// The next piece of a body; `None` at its end.
pub(crate) async fn next_piece(
    body: &mut Limited<Body>,
    len_max: usize,
) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = tokio::time::timeout(BODY_PATIENCE, body.frame()).await;
        let Some(frame) = frame.map_err(|_| late())? else {
            return Ok(None);
        };
        if let Ok(piece) = frame.map_err(|fault| broken(&*fault, len_max))?.into_data() {
            return Ok(Some(piece));
        }
    }
}

fn late() -> Problem {
    Problem::new(Code::Malformed, "the body did not come in time")
}

fn broken(fault: &(dyn std::error::Error + Send + Sync + 'static), len_max: usize) -> Problem {
    match fault.is::<LengthLimitError>() {
        true => {
            let message = format!("a body has at most {len_max} bytes");
            Problem::new(Code::TooLarge, message)
        }
        false => Problem::new(Code::Malformed, "the body broke off"),
    }
}

/// Settles all but the body.
async fn admit<E: Endpoint>(
    server: Arc<Server>,
    request: Request,
) -> Result<(Call<E, ()>, Body), Problem> {
    let (mut parts, body) = request.into_parts();
    // Before anything else that is said is looked at.
    let caller = authenticate(&server, &parts, E::ACCESS).await?;
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params = params.map_err(|fault| Problem::new(Code::Malformed, fault.to_string()))?;
    let key = E::Key::read(params.iter().next().map(|(_, text)| text))
        .map_err(|fault| Problem::new(Code::Malformed, fault.to_string()))?;
    let query = Query::<E::Query>::try_from_uri(&parts.uri);
    let Query(query) = query.map_err(|fault| {
        Problem::new(
            Code::Malformed,
            "what stands behind the path is not understood",
        )
        .hint(fault.to_string())
    })?;
    let call = Call {
        server,
        caller,
        key,
        query,
        body: (),
        headers: parts.headers,
    };
    Ok((call, body))
}

/// Settles who asks, and whether that one may.
async fn authenticate(server: &Server, parts: &Parts, access: Access) -> Result<Caller, Problem> {
    match access {
        Access::Anyone => Ok(Caller::Anyone),
        Access::AtLeast(role) => {
            let token = bearer(server, &parts.headers).await?;
            if token.role < role {
                let message = format!("this needs {access}, and the token has {}", token.role);
                return Err(Problem::new(Code::Forbidden, message));
            }
            Ok(Caller::Bearer(token))
        }
        Access::Node => node(server, parts).await.map(Caller::Node),
    }
}

async fn node(server: &Server, parts: &Parts) -> Result<NodeId, Problem> {
    let unknown = || {
        Problem::new(
            Code::Unauthenticated,
            "this needs the certificate of a node",
        )
        .hint("nodes have one since they enrolled, until they are put out")
    };
    let Some(Peer(Some(fingerprint))) = parts.extensions.get() else {
        return Err(unknown());
    };
    let holder = server.store.holder(fingerprint).await;
    let holder = holder.map_err(|error| problem::of_store(&error))?;
    holder.ok_or_else(unknown)
}

async fn bearer(server: &Server, headers: &HeaderMap) -> Result<Token, Problem> {
    let unknown = |message: &str| {
        Problem::new(Code::Unauthenticated, message)
            .hint("`bellwether login` keeps a token; `bellwether token create` gives one")
    };
    let header = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let text = header.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    let text = text.ok_or_else(|| unknown("this needs a token (`Authorization: Bearer TOKEN`)"))?;
    let token = server.store.token(&token::hash(text)).await;
    let token = token.map_err(|error| problem::of_store(&error))?;
    let token = token.ok_or_else(|| unknown("the token is none, or was revoked"))?;
    match token.ends_ms {
        Some(end) if end <= now_ms() => Err(unknown("the token has ended")),
        _ => Ok(token),
    }
}

/// Admits a node to something that is not an [`Endpoint`].
pub(crate) async fn admit_node(server: &Server, parts: &Parts) -> Result<NodeId, Problem> {
    node(server, parts).await
}

/// Admits whoever asks for something that is not an [`Endpoint`].
pub(crate) async fn admit_viewer(server: &Server, parts: &Parts) -> Result<(), Problem> {
    authenticate(server, parts, Access::AtLeast(Role::Viewer))
        .await
        .map(drop)
}

async fn read_body<T: DeserializeOwned + 'static>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let collected = tokio::time::timeout(BODY_PATIENCE, Limited::new(body, BODY_LEN_MAX).collect());
    let collected = collected.await.map_err(|_| late())?;
    let bytes = collected.map_err(|fault| broken(&*fault, BODY_LEN_MAX))?;
    let bytes = bytes.to_bytes();
    if TypeId::of::<T>() == TypeId::of::<()>() {
        return match bytes.is_empty() {
            true => Ok(serde_json::from_str("null").expect("null is nothing")),
            false => Err(Problem::new(Code::Malformed, "this request has no body")),
        };
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("application/json")) {
        return Err(Problem::new(
            Code::UnsupportedType,
            "bodies are `application/json`",
        ));
    }
    serde_json::from_slice(&bytes).map_err(|fault| {
        let code = match fault.classify() {
            Category::Data => Code::Invalid,
            Category::Io | Category::Syntax | Category::Eof => Code::Malformed,
        };
        Problem::new(code, format!("the body is not what is expected: {fault}"))
            .hint("GET /v1/openapi.json tells what is")
    })
}

/// A problem as an answer.
pub(crate) fn of_problem(problem: &Problem) -> Response {
    let mut response = json(problem);
    let status = StatusCode::from_u16(problem.code.status());
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if problem.code == Code::Unauthenticated {
        let value = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    let bytes = serde_json::to_vec(value).expect("replies have text keys and finite numbers");
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    // Answers differ by who asks, and change.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<E: Endpoint> Call<E, ()> {
    fn with<B>(self, body: B) -> Call<E, B> {
        Call {
            server: self.server,
            caller: self.caller,
            key: self.key,
            query: self.query,
            body,
            headers: self.headers,
        }
    }
}

impl<E: Endpoint, B> Call<E, B> {
    /// Who the log says it was.
    pub(crate) fn actor(&self) -> Actor {
        match &self.caller {
            Caller::Anyone => Actor::Server,
            Caller::Bearer(token) => Actor::Token {
                id: token.id.clone(),
                name: token.name.clone(),
            },
            Caller::Node(node) => Actor::Node(*node),
        }
    }
}
