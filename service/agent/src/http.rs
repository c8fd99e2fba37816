//! `GET /metrics`, and nothing else.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::admin::{Reply, Request};
use crate::desk::Desk;
use crate::metrics::exposition;
use crate::node::Order;

const ASKERS_MAX: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers for as long as the agent lives.
pub(crate) async fn serve(listener: TcpListener, orders: mpsc::Sender<Order>) {
    let desk = Desk::new(ASKERS_MAX, PATIENCE);
    desk.serve(listener, |stream| answer(stream, orders.clone()))
        .await;
}

async fn answer(mut stream: TcpStream, orders: mpsc::Sender<Order>) -> io::Result<()> {
    let mut head = [0; 4_096];
    let mut len = 0;
    while !head[..len].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut head[len..]).await? {
            0 => return Ok(()),
            more => len += more,
        }
    }
    let asks = head.starts_with(b"GET /metrics ") || head.starts_with(b"GET /metrics?");
    let (code, body) = match asks {
        true => ("200 OK", metrics(&orders).await),
        false => ("404 Not Found", None),
    };
    let code = if asks && body.is_none() {
        "503 Service Unavailable"
    } else {
        code
    };
    let body = body.unwrap_or_default();
    let reply = format!(
        "HTTP/1.1 {code}\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\ncontent-length: \
         {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

async fn metrics(orders: &mpsc::Sender<Order>) -> Option<String> {
    let (tell, told) = oneshot::channel();
    orders
        .send(Order::Asked(Request::Status, tell))
        .await
        .ok()?;
    match told.await.ok()? {
        Reply::Status(status) => Some(exposition(&status)),
        _ => None,
    }
}
