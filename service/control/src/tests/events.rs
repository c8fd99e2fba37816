use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use bellwether_api::Code;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::kit::{Bench, bench};

async fn site(bench: &Bench, name: &str) {
    let made = bench
        .admin("POST /v1/sites", &format!(r#"{{"name":"{name}"}}"#))
        .await;
    assert_eq!(made.status, 201);
}

/// A stream of events, read piece by piece.
struct Told(Response, String);

impl Told {
    async fn open(bench: &Bench, path: &str, last: Option<&str>) -> Self {
        let mut request = Request::builder()
            .uri(path)
            .header(header::ACCEPT, "text/event-stream")
            .header(header::AUTHORIZATION, format!("Bearer {}", bench.admin));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = bench.router.clone().oneshot(request).await.unwrap();
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream"
        );
        Self(response, String::new())
    }

    /// Reads until this was told.
    async fn until(&mut self, text: &str) {
        while !self.1.contains(text) {
            let frame = self
                .0
                .body_mut()
                .frame()
                .await
                .expect("it goes on")
                .unwrap();
            self.1
                .push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_long_poll_is_answered_when_something_happens_and_at_the_latest_in_time() {
    let bench = bench().await;
    let last = bench.admin("GET /v1/events?after=0", "").await.body["last"]
        .as_u64()
        .unwrap();
    let line = format!("GET /v1/events?after={last}&wait=60s");
    let (told, ()) = tokio::join!(bench.admin(&line, ""), site(&bench, "shop"));
    assert_eq!(told.body["events"][0]["kind"], "site.created");
    assert_eq!(told.body["last"], last + 1);
    let silent = bench
        .admin(&format!("GET /v1/events?after={}&wait=1ms", last + 1), "")
        .await;
    assert_eq!(silent.body["events"].as_array().unwrap().len(), 0);
    for wait in ["61s", "1h", "s", "-1s", "30"] {
        let refused = bench
            .admin(&format!("GET /v1/events?wait={wait}"), "")
            .await;
        assert_eq!(refused.problem().code, Code::Invalid, "{wait}");
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_that_was_seen() {
    let bench = bench().await;
    let mut told = Told::open(&bench, "/v1/events", None).await;
    told.until("retry: 1000").await;
    site(&bench, "shop").await;
    site(&bench, "blog").await;
    told.until("site blog was defined").await;
    let seen = told
        .1
        .split("id: ")
        .nth(1)
        .unwrap()
        .split('\n')
        .next()
        .unwrap()
        .to_owned();
    drop(told);
    let mut again = Told::open(&bench, "/v1/events", Some(&seen)).await;
    again.until("site blog was defined").await;
    assert!(!again.1.contains("site shop was defined"), "{}", again.1);
    assert!(
        again.1.contains("event: site.created\ndata: {"),
        "{}",
        again.1
    );
}

/// As after a restore from a copy: what was seen has not happened.
#[tokio::test]
async fn who_saw_what_has_not_happened_is_told_to_look_anew_and_at_once() {
    let bench = bench().await;
    let mut told = Told::open(&bench, "/v1/events?after=0", Some("999999")).await;
    told.until("event: reset").await;
    site(&bench, "shop").await;
    told.until("site shop was defined").await;
    let polled = bench
        .admin("GET /v1/events?after=999999&wait=60s", "")
        .await
        .body;
    assert_eq!(polled["reset"], true);
    assert_eq!(polled["last"], bench.server.store.last_event());
}

#[tokio::test]
async fn a_stream_beats_while_nothing_happens() {
    let bench = bench().await;
    let mut told = Told::open(&bench, "/v1/events", None).await;
    told.until("retry").await;
    tokio::time::pause();
    told.until(": still here").await;
}

/// Who waits does not hold up the end.
#[tokio::test]
async fn whoever_waits_is_answered_when_the_server_ends() {
    let bench = bench().await;
    let mut told = Told::open(&bench, "/v1/events", None).await;
    told.until("retry").await;
    let (answer, ()) = tokio::join!(bench.admin("GET /v1/events?wait=60s", ""), async {
        while bench.server.metrics.waiting.get() < 2 {
            tokio::task::yield_now().await;
        }
        bench.end.send_replace(true);
    });
    assert_eq!(answer.status, 200);
    while told.0.body_mut().frame().await.is_some() {}
    assert_eq!(bench.server.metrics.waiting.get(), 0);
}
