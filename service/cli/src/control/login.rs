use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bellwether_api::NoQuery;
use bellwether_api::routes::ShowServer;
use bellwether_client::ServerUrl;
use bellwether_types::Hash;
use clap::Args;

use super::access::{Access, Remote};
use super::context::Context;
use super::shown::Done;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Keep how to reach a control server, and as whom, once that was seen to work.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Where the server is: `https://HOST` or `https://HOST:PORT`.
    #[arg(value_name = "URL")]
    server: ServerUrl,
    /// The fingerprint of its authority, which it tells when it starts.
    #[arg(long, value_name = "FINGERPRINT")]
    ca: Hash,
    /// The file of the token; standard input unless given.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

const TOKEN_LEN_MAX: u64 = 4_096;

impl Login {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let token = self.token()?;
        let context = || Context {
            server: self.server.clone(),
            ca: self.ca,
            token: token.clone(),
        };
        let shown = Remote::open(context())?.call::<ShowServer>(&(), &NoQuery {}, &())?;
        let path = self.access.place()?;
        context().write(&path)?;
        let done = format!(
            "{} is a control server of release {}; kept in {}",
            self.server,
            shown.version,
            path.display()
        );
        output.report(&Done { done })?;
        Ok(Exit::Done)
    }

    fn token(&self) -> Result<String, Failure> {
        let mut text = String::new();
        let (read, path) = match &self.token_file {
            Some(path) => {
                let file = std::fs::File::open(path);
                let read = file.and_then(|file| file.take(TOKEN_LEN_MAX).read_to_string(&mut text));
                (read, path.as_path())
            }
            None => (
                io::stdin().take(TOKEN_LEN_MAX).read_to_string(&mut text),
                Path::new("standard input"),
            ),
        };
        read.map_err(|error| Failure::io("read a token from", path, error))?;
        let token = text.trim().to_owned();
        // It stands in a header: one word of visible characters.
        match token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty() {
            true => Ok(token),
            false => Err(Failure::new(
                Exit::Usage,
                format!("there is no token in {}", path.display()),
            )),
        }
    }
}
