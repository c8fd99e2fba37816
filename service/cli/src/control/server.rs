use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use bellwether_client::ServerUrl;
use bellwether_control::{
    BeginError, Ended, FolderError, Running, ServerSettings, StartError, start,
};
use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::log::LogArgs;
use crate::output::{Output, Report};

/// Run the control server, until it is told to end (SIGTERM or SIGINT).
///
/// The first start makes everything that it needs, and prints the line that makes another machine a node of it. The log
/// goes to standard error.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Where the server keeps everything; made if it is not there.
    #[arg(long, env = "BELLWETHER_SERVER_DATA")]
    data: PathBuf,
    /// Where it listens. Port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv6Addr::UNSPECIFIED, ServerUrl::PORT)))]
    listen: SocketAddr,
    /// A name or an address under which others reach it, besides the addresses that this machine has itself. May be
    /// given several times; the first one is told to others.
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    #[command(flatten)]
    log: LogArgs,
}

/// A server that runs.
#[derive(Debug, Serialize)]
struct Started {
    url: String,
    address: SocketAddr,
    ca_fingerprint: String,
    /// At the first start: the token of the line to paste.
    #[serde(skip_serializing_if = "Option::is_none")]
    join_token: Option<String>,
    /// At the first start: where the first administrator's token stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_token: Option<PathBuf>,
}

impl Report for Started {
    const KIND: &'static str = "server.started";
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            ca_fingerprint: ca,
            ..
        } = self;
        write!(f, "server       {url}\nfingerprint  {ca}")?;
        if let (Some(join), Some(admin)) = (&self.join_token, &self.admin_token) {
            write!(
                f,
                "\n\non each node, within a day:\n  bellwether agent run --server {url} --ca {ca} --token {join} \
                 --interface INTERFACE --data DIR\n\nas administrator:\n  bellwether login {url} --ca {ca} --token-file {}",
                admin.display()
            )?;
        }
        Ok(())
    }
}

impl Server {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        self.log.begin();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::of_io(&error), error))?;
        let ended = runtime.block_on(async {
            let settings = ServerSettings {
                data: self.data,
                listen: self.listen,
                names: self.names,
            };
            let running = start(settings).await?;
            output.report(&told(&running))?;
            Ok(match running.run().await {
                Ended::Terminated => Exit::Done,
                Ended::Interrupted => Exit::Interrupted,
            })
        });
        // An assignment in the making is not waited for: it is made anew after the next start.
        runtime.shutdown_background();
        ended
    }
}

fn told(running: &Running) -> Started {
    let beginning = running.beginning.as_ref();
    Started {
        url: running.url.clone(),
        address: running.address,
        ca_fingerprint: running.ca_fingerprint.clone(),
        join_token: beginning.map(|beginning| beginning.join_token.clone()),
        admin_token: beginning.map(|beginning| beginning.admin_token.clone()),
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let folder = match &error {
            StartError::Folder(fault) | StartError::Begin(BeginError::Folder(fault)) => Some(fault),
            _ => None,
        };
        let exit = match (folder, &error) {
            (Some(FolderError::Taken { .. }), _) => Exit::Conflict,
            (Some(FolderError::Open { .. }), _) => Exit::Permission,
            (Some(FolderError::Io { source, .. }), _) => Exit::of_io(source),
            (_, StartError::Listen { source, .. }) => match source.kind() {
                std::io::ErrorKind::AddrInUse => Exit::Conflict,
                _ => Exit::of_io(source),
            },
            (_, StartError::Face(_)) => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}
