use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Where strangers ask: only so many at once, and each for a bounded time.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    places: Arc<Semaphore>,
    count: u32,
    patience: Duration,
}

/// What strangers come in by.
pub(crate) trait Door {
    type Stream: Send;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

/// For want of file descriptors, say, nobody can be let in: others may free some meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

impl Desk {
    pub(crate) fn new(count: u32, patience: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(count as usize)),
            count,
            patience,
        }
    }

    /// Lets in whoever comes, for ever, and has each answered apart from the others.
    pub(crate) async fn serve<D: Door, A>(self, door: D, answer: impl Fn(D::Stream) -> A)
    where
        A: Future<Output = io::Result<()>> + Send + 'static,
    {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                return;
            };
            let Ok(stream) = door.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let answered = timeout(self.patience, answer(stream));
            tokio::spawn(async move {
                // Who goes away or stays silent is not waited for.
                let _ = answered.await;
                drop(place);
            });
        }
    }

    /// Waits until whoever asked was told, but not for those who do not listen.
    pub(crate) async fn all_told(&self, patience: Duration) {
        let _ = timeout(patience, self.places.acquire_many(self.count)).await;
    }
}
