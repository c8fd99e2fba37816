use std::ops::Range;
use std::time::Duration;

use bellwether_types::{Hash, Name, NodeId, SitePart, VersionId};
use bellwether_wire::ContentKey;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, RANGE};
use tokio::time::timeout;

use crate::client::{CallError, Client};

/// That a node receives the content of a group, as it shows to another one that does. Nobody else can use it: both ends of
/// the connection are known by their certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Who asks.
    pub node: NodeId,
    /// The group.
    pub group: Name,
    /// What nobody can tell who does not have its key.
    pub proof: Hash,
}

/// The most bytes of a content that are asked for at once.
pub const PIECE_LEN_MAX: u64 = 1 << 20;
/// Of a version's list of files.
const MANIFEST_LEN_MAX: usize = 256 << 20;
/// A neighbour that has not answered after so long has gone, or is of no use.
const PATIENCE: Duration = Duration::from_secs(10);
const MANIFEST_PATIENCE: Duration = Duration::from_secs(60);
const SCHEME: &str = "Group";

impl Right {
    /// The right of `node` to ask `neighbour` for content of a group.
    pub fn new(node: NodeId, neighbour: NodeId, group: Name, key: &ContentKey) -> Self {
        let proof = Hash(key.proof(&purpose(node, neighbour)));
        Self { node, group, proof }
    }

    /// Whether it was made by this key, for asking `neighbour`.
    pub fn holds(&self, neighbour: NodeId, key: &ContentKey) -> bool {
        key.proves(&purpose(self.node, neighbour), &self.proof.0)
    }

    /// As it stands in a header `authorization`.
    pub fn to_text(&self) -> String {
        format!("{SCHEME} {} {} {}", self.node, self.group, self.proof)
    }

    /// What [`Self::to_text`] wrote.
    pub fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').take(5).collect();
        let [SCHEME, node, group, proof] = words[..] else {
            return None;
        };
        Some(Self {
            node: node.parse().ok()?,
            group: group.parse().ok()?,
            proof: proof.parse().ok()?,
        })
    }
}

impl Client {
    /// The list of files of a version, as a neighbour has it. Nothing of it is proved yet.
    ///
    /// # Errors
    /// If it does not answer, does not have it, or does not give it to this node.
    pub async fn manifest(
        &self,
        site: &SitePart,
        version: VersionId,
        right: &Right,
    ) -> Result<Bytes, CallError> {
        let path = format!("/v1/sites/{site}/versions/{version}");
        self.get(&path, right, None, MANIFEST_LEN_MAX, MANIFEST_PATIENCE)
            .await
    }

    /// Bytes of a content, at most [`PIECE_LEN_MAX`], as a neighbour has it. Nothing of them is proved yet.
    ///
    /// # Errors
    /// The same.
    pub async fn piece(
        &self,
        site: &SitePart,
        content: &Hash,
        range: Range<u64>,
        right: &Right,
    ) -> Result<Bytes, CallError> {
        let path = format!("/v1/sites/{site}/objects/{content}");
        let len = PIECE_LEN_MAX as usize;
        self.get(&path, right, Some(range), len, PATIENCE).await
    }

    async fn get(
        &self,
        path: &str,
        right: &Right,
        range: Option<Range<u64>>,
        len_max: usize,
        patience: Duration,
    ) -> Result<Bytes, CallError> {
        let mut request = self
            .begin("GET", path)
            .header(AUTHORIZATION, right.to_text());
        if let Some(Range { start, end }) = range {
            let last = end.saturating_sub(1);
            request = request.header(RANGE, format!("bytes={start}-{last}"));
        }
        let request = request.body(Full::new(Bytes::new()));
        let request = request.expect("names and digits need no escapes");
        let answered = timeout(patience, async {
            let mut sender = self.connected().await?;
            let response = sender.send_request(request).await;
            let response = response.map_err(|fault| self.silent(Some(fault)))?;
            let status = response.status();
            if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
                return Err(self.refused(response).await);
            }
            let body = Limited::new(response.into_body(), len_max).collect().await;
            let body = body.map_err(|fault| match fault.downcast::<hyper::Error>() {
                Ok(fault) => self.silent(Some(*fault)),
                Err(_) => CallError::Foreign {
                    url: self.url().clone(),
                    status: status.as_u16(),
                },
            })?;
            Ok(body.to_bytes())
        });
        answered.await.map_err(|_| self.silent(None)).flatten()
    }
}

fn purpose(node: NodeId, neighbour: NodeId) -> Vec<u8> {
    [
        b"neighbour ",
        node.as_bytes().as_slice(),
        neighbour.as_bytes(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    #[test]
    fn a_right_holds_for_one_who_asks_one_by_one_key() {
        let (key, other) = ([1, 2].map(|byte| ContentKey::from_bytes([byte; 32]))).into();
        let right = Right::new(node(1), node(2), "edge".parse().unwrap(), &key);
        assert_eq!(Right::read(&right.to_text()), Some(right.clone()));
        assert!(right.holds(node(2), &key));
        assert!(!right.holds(node(2), &other));
        assert!(!right.holds(node(3), &key), "shown to another");
        let stolen = Right {
            node: node(4),
            ..right.clone()
        };
        assert!(!stolen.holds(node(2), &key), "shown by another");
        let text = right.to_text();
        for none in [
            "",
            "Group",
            "Bearer x",
            &text[1..],
            &format!("{text} x"),
            &text[..99],
        ] {
            assert_eq!(Right::read(none), None, "{none}");
        }
    }
}
