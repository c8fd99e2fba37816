use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// A body that is sent as it comes to be.
pub(crate) struct Stream(mpsc::Receiver<Bytes>);

/// Both ends of a body. So many pieces may wait for a reader who is slow.
pub(crate) fn stream(pieces_max: usize) -> (mpsc::Sender<Bytes>, Stream) {
    let (pieces, body) = mpsc::channel(pieces_max);
    (pieces, Stream(body))
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
