use std::path::PathBuf;
use std::sync::Arc;

use bellwether_api::{Code, Endpoint};
use bellwether_client::{CallError, Client, Credential};
use clap::Args;
use tokio::runtime::Runtime;

use super::context::{self, Context};
use crate::exit::Exit;
use crate::failure::Failure;

/// With which control server to speak.
#[derive(Debug, Clone, Args)]
pub(crate) struct Access {
    /// The file that `login` wrote, instead of the one in the home directory.
    #[arg(
        long,
        env = "BELLWETHER_CONTEXT",
        value_name = "FILE",
        help_heading = "Server"
    )]
    context: Option<PathBuf>,
}

/// A control server to ask.
pub(crate) struct Remote {
    pub(super) client: Arc<Client>,
    runtime: Runtime,
}

impl Access {
    /// By the file that `login` wrote there.
    pub(crate) const fn of(context: PathBuf) -> Self {
        Self {
            context: Some(context),
        }
    }

    pub(super) fn place(&self) -> Result<PathBuf, Failure> {
        self.context.clone().map_or_else(context::place, Ok)
    }

    pub(crate) fn open(&self) -> Result<Remote, Failure> {
        Remote::open(Context::read(&self.place()?)?)
    }
}

impl Remote {
    pub(super) fn open(context: Context) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::of_io(&error), error))?;
        let credential = Credential::Token(context.token);
        Ok(Self {
            client: Arc::new(Client::new(context.server, context.ca, credential)?),
            runtime,
        })
    }

    /// To ask in other ways than one question after the other.
    pub(crate) fn into_parts(self) -> (Arc<Client>, Runtime) {
        (self.client, self.runtime)
    }

    /// Asks, and waits for the answer.
    pub(crate) fn call<E: Endpoint>(
        &self,
        key: &E::Key,
        query: &E::Query,
        body: &E::Body,
    ) -> Result<E::Reply, Failure> {
        Ok(self
            .runtime
            .block_on(self.client.call::<E>(key, query, body))?)
    }
}

impl Remote {
    /// Waits for whatever takes several requests.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let exit = match &error {
            CallError::Problem(problem) => exit(problem.code),
            CallError::Untrusted { .. } | CallError::Identity(_) => Exit::Forbidden,
            CallError::Silent { .. } => Exit::TimedOut,
            CallError::Unreachable { .. } | CallError::Foreign { .. } => Exit::Failed,
        };
        let hint = match &error {
            CallError::Problem(problem) => problem.hint.clone(),
            CallError::Untrusted { .. } => Some(
                "compare the fingerprint with the one that the server tells in its log".to_owned(),
            ),
            CallError::Unreachable { .. } => {
                Some("is the server running, and its port open from here?".to_owned())
            }
            CallError::Silent { .. } | CallError::Identity(_) | CallError::Foreign { .. } => None,
        };
        Self {
            hint,
            ..Self::new(exit, error)
        }
    }
}

const fn exit(code: Code) -> Exit {
    match code {
        Code::Unauthenticated | Code::Forbidden => Exit::Forbidden,
        Code::NotFound => Exit::NotFound,
        Code::Conflict => Exit::Conflict,
        Code::Malformed
        | Code::Invalid
        | Code::TooLarge
        | Code::Range
        | Code::UnsupportedType
        | Code::MethodNotAllowed => Exit::Usage,
        Code::NoSpace => Exit::NoSpace,
        Code::TooMany | Code::Internal | Code::Unavailable => Exit::Failed,
    }
}
