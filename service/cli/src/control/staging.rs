//! A tree of this machine on its way to the control server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bellwether_api::routes::{ListMissing, PutContent, ShowContent};
use bellwether_api::{Code, ContentPiece, ContentSize, MissingContent, MissingPage};
use bellwether_client::{CallError, Client};
use bellwether_disk::publish::Source;
use bellwether_types::{Hash, Name, TreePath};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::access::Remote;
use crate::content::TreeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// A tree that was scanned.
pub(super) struct Staging {
    source: Arc<Source>,
    /// Its manifest as it is sent.
    pub(super) manifest: Bytes,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) contents: u64,
    pub(super) bytes: u64,
}

/// Contents that are sent at once.
const SENDING_MAX: usize = 16;
/// A content goes in pieces of this length; what came of it stays when the connection breaks.
const PIECE_LEN: u64 = 4 << 20;
/// How often what is missing is asked for: somebody else may be sending some of it.
const ROUNDS_MAX: usize = 5;

impl Staging {
    pub(super) fn scan(
        directory: &Path,
        tree: &TreeArgs,
        output: &Output,
    ) -> Result<Self, Failure> {
        let source = Source::scanned(directory, tree.scan(directory, output)?)?;
        let manifest = source.manifest().encode().into();
        let source = Arc::new(source);
        Ok(Self { source, manifest })
    }

    /// Sends what the server lacks of it.
    pub(super) fn send(
        &self,
        remote: &Remote,
        site: &Name,
        output: &Output,
    ) -> Result<Sent, Failure> {
        let files = self.source.manifest().files();
        let paths: BTreeMap<Hash, &TreePath> =
            files.map(|(path, file)| (file.hash, path)).collect();
        let mut sent = Sent::default();
        for _ in 0..ROUNDS_MAX {
            if remote.wait(self.round(remote, site, &paths, &mut sent, output))? {
                return Ok(sent);
            }
        }
        let error = "somebody else sends the same contents, and is not done";
        Err(Failure::new(Exit::Conflict, error).hint("publish again in a moment"))
    }

    /// Sends what is missing at this moment; whether nothing was.
    async fn round(
        &self,
        remote: &Remote,
        site: &Name,
        paths: &BTreeMap<Hash, &TreePath>,
        sent: &mut Sent,
        output: &Output,
    ) -> Result<bool, Failure> {
        let progress = Progress::new(output, "sending");
        let mut page = MissingPage::default();
        let (mut done, mut complete) = (0, true);
        loop {
            let manifest = self.manifest.clone();
            let missing = remote.client.send::<ListMissing>(site, &page, manifest);
            let missing = missing.await?;
            let total = done + missing.bytes;
            let mut sending: JoinSet<Result<Sent, Failure>> = JoinSet::new();
            let mut contents = missing.contents.iter();
            loop {
                while sending.len() < SENDING_MAX
                    && let Some(content) = contents.next()
                {
                    complete = false;
                    let Some(path) = paths.get(&content.hash) else {
                        let error = "the control server asks for what is not in the tree";
                        return Err(Failure::new(Exit::Failed, error));
                    };
                    let delivery = Delivery {
                        client: Arc::clone(&remote.client),
                        source: Arc::clone(&self.source),
                        path: (*path).clone(),
                        content: *content,
                    };
                    sending.spawn(delivery.carry());
                }
                let Some(ended) = sending.join_next().await else {
                    break;
                };
                let one = ended.map_err(|error| Failure::new(Exit::Failed, error))??;
                done += one.bytes;
                sent.bytes += one.bytes;
                sent.contents += one.contents;
                progress.reach(done, total);
            }
            page.after = missing.contents.last().map(|content| content.hash);
            if !missing.more {
                return Ok(complete);
            }
        }
    }
}

/// A content on its way.
struct Delivery {
    client: Arc<Client>,
    source: Arc<Source>,
    path: TreePath,
    content: MissingContent,
}

impl Delivery {
    /// Sends it from where the last attempt ended. What somebody else is sending, or what came to something else, is left
    /// for the next round.
    async fn carry(self) -> Result<Sent, Failure> {
        let size = self.content.size;
        let mut offset = match size > PIECE_LEN {
            true => self.received().await?,
            // It comes whole, whatever is there of it.
            false => 0,
        };
        let began = offset;
        let sent = |contents, end: u64| Sent {
            contents,
            bytes: end.saturating_sub(began),
        };
        loop {
            let len = (size - offset).min(PIECE_LEN);
            let mut piece = vec![0; len as usize];
            self.source.read_at(&self.path, offset, &mut piece)?;
            let query = ContentPiece { size, offset };
            let key = self.key();
            let taken = self.client.send::<PutContent>(&key, &query, piece.into());
            match taken.await {
                Ok(taken) if taken.received >= size => return Ok(sent(1, size)),
                Ok(taken) => offset = taken.received,
                Err(CallError::Problem(problem))
                    if matches!(problem.code, Code::Conflict | Code::Invalid) =>
                {
                    return Ok(sent(0, offset));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn received(&self) -> Result<u64, Failure> {
        let query = ContentSize {
            size: self.content.size,
        };
        let key = self.key();
        let shown = self.client.call::<ShowContent>(&key, &query, &());
        match shown.await {
            Ok(shown) => Ok(shown.received),
            Err(CallError::Problem(problem)) if problem.code == Code::Conflict => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn key(&self) -> Name {
        let name = self.content.hash.to_string().parse();
        name.expect("64 digits are a name")
    }
}
