use std::fmt;

use bellwether_api::routes::ListEvents;
use bellwether_api::{After, EventInfo};
use clap::Args;
use serde::Serialize;

use super::access::Access;
use super::moment::moment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Show what happened, an event a line; and with --follow what happens.
#[derive(Debug, Args)]
pub(crate) struct EventsCommand {
    /// Go on as things happen, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Begin after the event of this number; from the first that is kept unless given, or with --follow from now on.
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    #[command(flatten)]
    access: Access,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Told(EventInfo);

impl Report for Told {
    const KIND: &'static str = "event";
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventInfo {
            number,
            at_ms,
            kind,
            text,
            ..
        } = &self.0;
        write!(f, "{number:>6}  {}  {kind:<22} {text}", moment(*at_ms))
    }
}

/// A long poll of this length is no burden, and is answered at once when something happens.
const WAIT: &str = "30s";

impl EventsCommand {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let remote = self.access.open()?;
        let mut after = self.after.or_else(|| (!self.follow).then_some(0));
        let mut reset = false;
        loop {
            let wait = (self.follow && after.is_some()).then(|| WAIT.to_owned());
            let told = remote.call::<ListEvents>(&(), &After { after, wait }, &())?;
            if told.reset {
                if reset {
                    return Err(Failure::new(
                        Exit::Conflict,
                        "events are forgotten faster than they are read",
                    ));
                }
                reset = true;
                output.say("some events are forgotten already");
                // All that are kept.
                after = Some(told.last.saturating_sub(KEPT));
                continue;
            }
            reset = false;
            let over = told.events.is_empty();
            for event in told.events {
                output.report(&Told(event))?;
            }
            after = Some(told.last);
            if over && !self.follow {
                return Ok(Exit::Done);
            }
        }
    }
}

/// Fewer than the server keeps, so that none of them is forgotten between the question and the answer.
const KEPT: u64 = 9_900;
