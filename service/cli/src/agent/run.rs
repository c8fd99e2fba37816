use std::path::PathBuf;

use bellwether_agent::{
    ControlServer, Ended, EnrolError, FolderError, RunError, Settings, SettingsError,
};
use bellwether_client::ServerUrl;
use bellwether_types::Hash;
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
    /// The control server that this node belongs to, which says to which segment: `https://HOST` or `https://HOST:PORT`.
    #[arg(long, value_name = "URL", requires = "ca", conflicts_with_all = ["segment", "key_file"])]
    server: Option<ServerUrl>,
    /// The fingerprint of the server's authority, which it tells when it starts.
    #[arg(long, value_name = "FINGERPRINT", requires = "server")]
    ca: Option<Hash>,
    /// What admits this node, once.
    #[arg(long, requires = "server", conflicts_with = "token_file")]
    token: Option<String>,
    /// The file of it, so that the command line does not show it.
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
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
        let ended = match self.control()? {
            Some(server) => bellwether_agent::run_enrolled(settings, server)?,
            None => {
                let key = keys::read_segment(&settings.key_file)?;
                bellwether_agent::run(settings, key)?
            }
        };
        Ok(match ended {
            Ended::Left => Exit::Done,
            Ended::Interrupted => Exit::Interrupted,
        })
    }

    fn control(&self) -> Result<Option<ControlServer>, Failure> {
        let (Some(url), Some(ca)) = (self.server.clone(), self.ca) else {
            return Ok(None);
        };
        let token = match &self.token_file {
            None => self.token.clone(),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                Some(text.map_err(|error| Failure::io("read", path, error))?)
            }
        };
        let token = token.map(|token| token.trim().to_owned());
        Ok(Some(ControlServer { url, ca, token }))
    }

    /// What was given here, as it would stand in a file.
    fn given(&self) -> Table {
        let text = |value: &Option<String>| value.clone().map(Value::String);
        let word = |word: Option<&str>| word.map(|word| Value::String(word.to_owned()));
        // Settings have a segment and a key; with a control server it says which.
        let told = self.server.is_some().then_some("told");
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
            ("segment", text(&self.segment).or_else(|| word(told))),
            ("key_file", text(&self.key_file).or_else(|| word(told))),
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
            RunError::Folder(FolderError::Io { source, .. })
            | RunError::Serve { source, .. }
            | RunError::Io { source, .. } => Exit::of_io(source),
            RunError::Folder(FolderError::Damaged { .. }) => Exit::Failed,
            RunError::Enrol(_) => return Self::of_enrol(error),
            RunError::Network(_) | RunError::Transfers(_) | RunError::Unaddressed(_) => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

impl Failure {
    fn of_enrol(error: RunError) -> Self {
        let RunError::Enrol(error) = error else {
            return error.into();
        };
        let hint = match &error {
            EnrolError::Tokenless(_) | EnrolError::PutOut(_) => {
                Some("`bellwether token create NAME --role node` gives a token, for --token-file")
            }
            _ => None,
        };
        let failure = match error {
            EnrolError::Call(error) => error.into(),
            EnrolError::Folder(error) => RunError::Folder(error).into(),
            EnrolError::Interface(_) => Self::new(Exit::Usage, error),
            EnrolError::Tokenless(_) | EnrolError::PutOut(_) => Self::new(Exit::Forbidden, error),
            EnrolError::Key(_) | EnrolError::Settings(_) | EnrolError::Runtime(_) => {
                Self::new(Exit::Failed, error)
            }
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
