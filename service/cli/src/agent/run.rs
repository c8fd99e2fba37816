use std::path::PathBuf;

use bellwether_agent::{Ended, FolderError, RunError, Settings, SettingsError};
use clap::{Args, ValueEnum};
use toml::{Table, Value};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;

/// Run this node's agent, until it is told to leave (SIGTERM, SIGINT or `agent leave`).
///
/// What is not given here comes from the file of --config, and what is not there either from the defaults, which are
/// documented in docs/agent.toml. The log goes to standard error.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A file of settings (TOML).
    #[arg(long, env = "BELLWETHER_CONFIG")]
    config: Option<PathBuf>,
    /// The segment this node belongs to.
    #[arg(long)]
    segment: Option<String>,
    /// The file of the segment's key (`agent keygen`).
    #[arg(long)]
    key_file: Option<String>,
    /// The interface that leads to the segment, by name or address.
    #[arg(long)]
    interface: Option<String>,
    /// The directory where the agent keeps who this node is and what it must remember.
    #[arg(long, env = "BELLWETHER_DATA")]
    data: Option<String>,
    /// What the node is called; the host name unless given.
    #[arg(long)]
    name: Option<String>,
    /// Which timing the segment has.
    #[arg(long, value_enum)]
    timing: Option<Timing>,
    /// How the log is written.
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// How much is logged: error, warn, info, debug or trace.
    #[arg(long)]
    log_level: Option<String>,
    /// Serve metrics over HTTP at this address.
    #[arg(long)]
    metrics: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Timing {
    /// A dead leader is replaced within about three heartbeats of half a second or less.
    Fast,
    /// The original protocol's: about 20 seconds.
    Classic,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Run {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let settings = Settings::load(self.config.as_deref(), self.given())?;
        let key = keys::read_segment(&settings.key_file)?;
        Ok(match bellwether_agent::run(settings, key)? {
            Ended::Left => Exit::Done,
            Ended::Interrupted => Exit::Interrupted,
        })
    }

    /// What was given here, as it would stand in a file.
    fn given(&self) -> Table {
        let text = |value: &Option<String>| value.clone().map(Value::String);
        let word = |word: Option<&str>| word.map(|word| Value::String(word.to_owned()));
        let timing = self.timing.map(|timing| match timing {
            Timing::Fast => "fast",
            Timing::Classic => "classic",
        });
        let format = self.log_format.map(|format| match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        });
        let tables = [
            ("timing", table([("profile", word(timing))])),
            (
                "log",
                table([("format", word(format)), ("level", text(&self.log_level))]),
            ),
        ];
        let mut given = table([
            ("segment", text(&self.segment)),
            ("key_file", text(&self.key_file)),
            ("interface", text(&self.interface)),
            ("data", text(&self.data)),
            ("name", text(&self.name)),
            ("metrics", text(&self.metrics)),
        ]);
        for (name, table) in tables {
            given.insert(name.to_owned(), Value::Table(table));
        }
        given
    }
}

fn table<const N: usize>(values: [(&str, Option<Value>); N]) -> Table {
    let given = values.into_iter();
    given
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        match &error {
            SettingsError::Read { source, .. } => Self::new(Exit::of_io(source), error),
            SettingsError::Written { .. } | SettingsError::Values(_) => {
                Self::new(Exit::Usage, error).hint("docs/agent.toml explains every setting")
            }
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match &error {
            RunError::Folder(FolderError::Taken { .. }) => Exit::Conflict,
            RunError::Folder(FolderError::Io { source, .. }) | RunError::Io { source, .. } => {
                Exit::of_io(source)
            }
            RunError::Folder(FolderError::Damaged { .. }) => Exit::Failed,
            RunError::Network(_) | RunError::Transfers(_) | RunError::Unaddressed(_) => Exit::Usage,
        };
        Self::new(exit, error)
    }
}
