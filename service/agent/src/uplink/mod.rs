//! The connection of this node to its control server while it leads: opened from below, kept open, opened again.

mod fetch;

use std::sync::Arc;
use std::time::Duration;

use bellwether_api::Code;
use bellwether_client::{CallError, Client, Uplink};
use bellwether_types::Time;
use bellwether_wire::uplink::{Dismiss, Downward, Hello, Reason, Upward};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

pub(crate) use fetch::{Fetched, Fetching, fetch};

/// How the connection stands.
#[derive(Debug)]
pub(crate) enum Link {
    /// There is none: this node does not lead.
    Unwanted,
    /// There is none; another is tried then.
    Down { again: Time, tries: u32 },
    /// It is being opened, or open.
    Up {
        number: u64,
        tries: u32,
        up: mpsc::UnboundedSender<Upward>,
        task: JoinHandle<()>,
    },
}

/// What comes by it.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message.
    Said(Downward),
    /// The server knows no such node.
    Unknown,
    /// It is gone, or was not to be had.
    Gone(String),
}

/// Silence until the server has said how long it may be silent.
const SILENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Whom the server does not want to hear waits longer.
const DISMISSED: Duration = Duration::from_secs(5);

impl Link {
    /// Opens a connection, and tells what comes by it.
    pub(crate) fn open(
        client: Arc<Client>,
        hello: Hello,
        number: u64,
        tries: u32,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        let (up, waiting) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let url = client.url().clone();
            let gone = match client.uplink(hello).await {
                Ok(uplink) => speak(uplink, waiting, &tell).await,
                Err(error) => {
                    if is_unknown(&error) {
                        tell(Event::Unknown);
                    }
                    format!("{error}{}", cause(&error))
                }
            };
            tell(Event::Gone(format!("{url}: {gone}")));
        });
        Self::Up {
            number,
            tries,
            up,
            task,
        }
    }

    /// Says something, if somebody listens.
    pub(crate) fn say(&self, message: Upward) {
        if let Self::Up { up, .. } = self {
            let _ = up.send(message);
        }
    }

    /// Whether an event of the connection of that number is one of this.
    pub(crate) fn is(&self, event_of: u64) -> bool {
        matches!(self, Self::Up { number, .. } if *number == event_of)
    }

    /// The connection is gone: another is tried, sooner if this one worked.
    pub(crate) fn fail(&mut self, now: Time, why: &str) {
        let Self::Up { tries, .. } = self else {
            return;
        };
        let tries = tries.saturating_add(1);
        if tries == 1 || tries.is_power_of_two() {
            warn!(
                tries,
                "the control server does not hear this segment: {why}"
            );
        }
        let wait = (AGAIN * 2u32.saturating_pow(tries - 1)).min(AGAIN_MAX);
        self.end(now + wait, tries);
    }

    /// The server heard this node, or told it to go.
    pub(crate) fn heard(&mut self, now: Time, message: &Downward) {
        match (message, &mut *self) {
            (Downward::Welcome(_), Self::Up { tries, .. }) => {
                *tries = 0;
                info!("the control server hears this segment");
            }
            (Downward::Dismiss(Dismiss { reason, text }), Self::Up { tries, .. }) => {
                let tries = *tries;
                warn!(
                    ?reason,
                    "the control server does not hear this node: {text}"
                );
                match reason {
                    Reason::Later => self.fail(now, text),
                    Reason::Superseded(_) | Reason::Fault | Reason::NotAllowed => {
                        self.end(now + DISMISSED, tries);
                    }
                }
            }
            _ => {}
        }
    }

    /// This node leads no longer, or in another reign.
    pub(crate) fn close(&mut self) {
        self.end(Time::ZERO, 0);
        *self = Self::Unwanted;
    }

    fn end(&mut self, again: Time, tries: u32) {
        if let Self::Up { task, .. } = self {
            task.abort();
        }
        *self = Self::Down { again, tries };
    }
}

/// Says what is to be said and hears what comes, until the connection is gone; why it is.
async fn speak(
    uplink: Uplink,
    mut waiting: mpsc::UnboundedReceiver<Upward>,
    tell: &(impl Fn(Event) + Sync),
) -> String {
    let Uplink { sender, mut stream } = uplink;
    let mut silence = SILENCE;
    loop {
        tokio::select! {
            message = waiting.recv() => {
                let Some(message) = message else { return "this node leads no longer".to_owned() };
                if let Err(error) = sender.send(&message).await {
                    return format!("{error}{}", cause(&error));
                }
            }
            message = stream.next(silence) => match message {
                Ok(message) => {
                    if let Downward::Welcome(welcome) = &message {
                        silence = Duration::from_millis(welcome.silence_ms.max(1_000).into());
                    }
                    tell(Event::Said(message));
                }
                Err(error) => return format!("{error}{}", cause(&error)),
            }
        }
    }
}

fn is_unknown(error: &CallError) -> bool {
    matches!(error, CallError::Problem(problem) if problem.code == Code::Unauthenticated)
}

fn cause(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
