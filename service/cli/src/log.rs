use std::io;

use clap::{Args, ValueEnum};
use tracing::Level;

/// How a server's log is written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LogArgs {
    /// How the log is written.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// How much is logged: error, warn, info, debug or trace.
    #[arg(long, default_value_t = Level::INFO)]
    log_level: Level,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogArgs {
    /// Sends what is told to standard error from now on. A process does so once.
    pub(crate) fn begin(self) {
        let log = tracing_subscriber::fmt()
            .with_writer(io::stderr)
            .with_max_level(self.log_level)
            .with_target(false)
            .with_ansi(false);
        // A second subscriber, as in tests, is refused: the first one stays.
        let _ = match self.log_format {
            LogFormat::Text => log.try_init(),
            LogFormat::Json => log.json().flatten_event(true).try_init(),
        };
    }
}
