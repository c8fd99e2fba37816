use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

/// A body that is a range of a file. One piece of it is in memory, whatever its length, and is read when it is wanted.
#[derive(Debug)]
pub(crate) struct Reading {
    file: Arc<File>,
    at: u64,
    end: u64,
    next: Option<JoinHandle<io::Result<Bytes>>>,
}

const PIECE_LEN: u64 = 256 << 10;

impl Reading {
    /// From `at` up to `end`, which lies within the file.
    pub(crate) fn new(file: File, at: u64, end: u64) -> Self {
        Self {
            file: Arc::new(file),
            at,
            end,
            next: None,
        }
    }
}

impl Body for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let len = PIECE_LEN.min(self.end - self.at);
        if len == 0 {
            return Poll::Ready(None);
        }
        let (file, at) = (Arc::clone(&self.file), self.at);
        let next = self.next.get_or_insert_with(|| {
            spawn_blocking(move || {
                let mut piece = vec![0; len as usize];
                file.read_exact_at(&mut piece, at)?;
                Ok(piece.into())
            })
        });
        let read = ready!(Pin::new(next).poll(context));
        self.next = None;
        let piece = read.map_err(io::Error::other).flatten();
        self.at = match &piece {
            Ok(_) => at + len,
            Err(_) => self.end,
        };
        Poll::Ready(Some(piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}
