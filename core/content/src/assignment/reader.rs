//! Reading an assignment front to back from any reader.

use std::fmt;
use std::io::{self, Read};

use bellwether_delta::{Codec, GroupDecoder};
use bellwether_types::Hash;
use bellwether_wire::{ContentKey, KeyId, Opener, PublicKey, SEALED_CHUNK_LEN, UnsealError};

use super::writer::{BODY_PURPOSE, DATA_PURPOSE};
use super::{Blocks, Compression, DecodeHeaderError, Header, MAGIC, Trust, block_len, seal};

/// Why an assignment is refused. Nothing of it has had any effect.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bytes could not be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// It does not begin as assignments do.
    #[error("is not an assignment")]
    Magic,
    /// It is cut short.
    #[error("ends in the midst of its {0}: fetch it again")]
    Truncated(&'static str),
    /// Its header cannot be.
    #[error(transparent)]
    Header(#[from] DecodeHeaderError),
    /// Its header is too long.
    #[error("has a header of {0} bytes, which is too long")]
    HeaderLen(u32),
    /// Nobody signed it, and a signature is needed.
    #[error("is not signed, and only key {trusted} is trusted here")]
    Unsigned {
        /// Who is trusted.
        trusted: KeyIds,
    },
    /// Somebody else signed it.
    #[error("is signed with key {signer}; trusted here is key {trusted}")]
    Untrusted {
        /// Who signed.
        signer: KeyId,
        /// Who is trusted.
        trusted: KeyIds,
    },
    /// Signature or hash of header, block hashes and trailer do not hold.
    #[error("was changed after it was sealed: fetch it again from its source")]
    Seal,
    /// The list of block hashes is not the one that the header names.
    #[error("has a list of block hashes that its header does not name")]
    BlockList,
    /// The commands are not the ones that the trailer names.
    #[error("has commands that its trailer does not name")]
    Body,
    /// It is sealed and no key was given.
    #[error("is encrypted: give the content key of its group")]
    KeyNeeded,
    /// It was sealed with another key.
    #[error("{0}")]
    Unseal(&'static str, #[source] UnsealError),
    /// The commands cannot be decompressed.
    #[error("has commands that cannot be decompressed")]
    Decompress,
    /// A block is not the one that the header names.
    #[error("block {index} of its data file was changed: fetch it again")]
    Block {
        /// Which, from 0.
        index: usize,
    },
    /// Something follows its data file.
    #[error("has bytes behind its data file")]
    LeftOver,
}

/// Keys, as an error names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyIds(pub Vec<KeyId>);

impl fmt::Display for KeyIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&ids.join(" or "))
    }
}

/// An assignment whose header, block hashes and commands are proved.
#[derive(Debug)]
pub struct Opened<R> {
    /// What it says.
    pub header: Header,
    /// The commands, see [`crate::body`].
    pub body: Vec<u8>,
    /// The data file, proved block by block as it is read.
    pub data: DataReader<R>,
}

/// What proves the data file of an assignment, whether or not its commands can be read here: all that a node needs to
/// store and pass on what is sealed for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// What it says.
    pub header: Header,
    /// The hashes of the blocks of its data file.
    pub blocks: Blocks,
    /// Bytes before the data file.
    pub head_len: u64,
}

/// Reads and proves everything before the data file, but for what only the key of its group opens.
///
/// # Errors
/// See [`OpenError`]; no byte of the data file has been read.
pub fn outline<R: Read>(input: R, trust: &Trust) -> Result<Outline, OpenError> {
    read_head(input, trust).map(|head| head.outline)
}

/// Reads and proves everything before the data file.
///
/// # Errors
/// See [`OpenError`]; no byte beyond what is needed to tell has been read.
pub fn open<R: Read>(
    mut input: R,
    trust: &Trust,
    key: Option<&ContentKey>,
) -> Result<Opened<R>, OpenError> {
    let SealedHead {
        outline: Outline { header, blocks, .. },
        sent,
    } = read_head(&mut input, trust)?;
    let body = open_body(&header, sent, key)?;
    let opener = match (header.encryption, key) {
        (None, _) => None,
        (Some(_), None) => return Err(OpenError::KeyNeeded),
        (Some(encryption), Some(key)) => Some(key.opener(&encryption.salt, DATA_PURPOSE)),
    };
    Ok(Opened {
        body,
        data: DataReader::new(input, &header, blocks, opener),
        header,
    })
}

/// What comes before the header: what this is, and how long the header is.
const FIXED_LEN: usize = 8;

/// Everything before the data file, proved; the commands as they were sent.
struct SealedHead {
    outline: Outline,
    sent: Vec<u8>,
}

fn read_head<R: Read>(mut input: R, trust: &Trust) -> Result<SealedHead, OpenError> {
    let (header, header_bytes) = read_header(&mut input)?;
    check_signer(header.signer, trust)?;
    let block_list = take(
        &mut input,
        Blocks::count(header.data_len) * 32,
        "block hashes",
    )?;
    let sent = take(&mut input, header.body_len, "commands")?;
    let mut trailer = Hash::of(&sent);
    if !sent.is_empty() {
        let mut named = [0; 32];
        exact(&mut input, &mut named, "trailer")?;
        if named != trailer.0 {
            return Err(OpenError::Body);
        }
        trailer = Hash(named);
    }
    let sealed = take(
        &mut input,
        seal::seal_len(header.signer) as u64,
        "signature",
    )?;
    if !seal::holds(
        &seal::message(&header_bytes, &block_list, &trailer),
        header.signer,
        &sealed,
    ) {
        return Err(OpenError::Seal);
    }
    if header.data_len > 0 && Hash::of(&block_list) != header.blocks_hash {
        return Err(OpenError::BlockList);
    }
    let trailer_len = if sent.is_empty() { 0 } else { trailer.0.len() };
    let head_len =
        FIXED_LEN + header_bytes.len() + block_list.len() + sent.len() + trailer_len + sealed.len();
    Ok(SealedHead {
        outline: Outline {
            header,
            blocks: Blocks::decode(&block_list),
            head_len: head_len as u64,
        },
        sent,
    })
}

/// Reads what an assignment says of itself, and proves nothing: to know what it may be, before it is opened.
///
/// # Errors
/// If it does not begin as an assignment.
pub fn peek(mut input: impl Read) -> Result<Header, OpenError> {
    Ok(read_header(&mut input)?.0)
}

fn read_header(input: &mut impl Read) -> Result<(Header, Vec<u8>), OpenError> {
    let mut fixed = [0; FIXED_LEN];
    exact(input, &mut fixed, "header")?;
    if fixed[..4] != MAGIC {
        return Err(OpenError::Magic);
    }
    let header_len = u32::from_le_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    if header_len as usize > Header::LEN_MAX {
        return Err(OpenError::HeaderLen(header_len));
    }
    let header_bytes = take(input, header_len.into(), "header")?;
    let header = Header::decode(&header_bytes)?;
    Ok((header, header_bytes))
}

fn check_signer(signer: Option<PublicKey>, trust: &Trust) -> Result<(), OpenError> {
    let Trust::Keys(trusted) = trust else {
        return Ok(());
    };
    let ids = || KeyIds(trusted.iter().map(PublicKey::id).collect());
    match signer {
        None => Err(OpenError::Unsigned { trusted: ids() }),
        Some(signer) if trusted.contains(&signer) => Ok(()),
        Some(signer) => Err(OpenError::Untrusted {
            signer: signer.id(),
            trusted: ids(),
        }),
    }
}

fn open_body(
    header: &Header,
    mut sent: Vec<u8>,
    key: Option<&ContentKey>,
) -> Result<Vec<u8>, OpenError> {
    if sent.is_empty() {
        return Ok(sent);
    }
    if let Some(encryption) = header.encryption {
        let key = key.ok_or(OpenError::KeyNeeded)?;
        let opened = key.opener(&encryption.salt, BODY_PURPOSE).open_all(&sent);
        sent = opened.map_err(|error| OpenError::Unseal("its commands", error))?;
    }
    // Bounded by the header's check.
    let raw_len = header.body_raw_len as usize;
    let body = match header.body_compression {
        Compression::Stored => sent,
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(sent.as_slice());
            let mut body = Vec::new();
            let read = decoder.map(|decoder| decoder.take(raw_len as u64 + 1));
            let read = read.and_then(|mut decoder| decoder.read_to_end(&mut body));
            read.map_err(|_| OpenError::Decompress)?;
            body
        }
        Compression::Mixing => {
            let mut body = Vec::new();
            if raw_len > bellwether_delta::SEGMENT_NEW_MAX {
                return Err(OpenError::Decompress);
            }
            let decoded = GroupDecoder::new(Codec::Mixing).segment(&[], raw_len, &sent, &mut body);
            decoded.map_err(|_| OpenError::Decompress)?;
            body
        }
    };
    if body.len() == raw_len {
        Ok(body)
    } else {
        Err(OpenError::Decompress)
    }
}

/// The plain bytes of a data file. A block is read whole and proved before any byte of it is
/// handed on.
pub struct DataReader<R> {
    input: R,
    opener: Option<Opener>,
    blocks: Blocks,
    next_block: usize,
    block_len: usize,
    /// Bytes of the data file that are not read yet.
    left: u64,
    /// Proved bytes, still sealed if the data file is.
    proved: Vec<u8>,
    /// How much of `proved` was taken.
    taken: usize,
    plain: Vec<u8>,
    plain_taken: usize,
}

impl<R: Read> DataReader<R> {
    fn new(input: R, header: &Header, blocks: Blocks, opener: Option<Opener>) -> Self {
        Self {
            input,
            opener,
            blocks,
            next_block: 0,
            block_len: block_len(header.data_len),
            left: header.data_len,
            proved: Vec::new(),
            taken: 0,
            plain: Vec::new(),
            plain_taken: 0,
        }
    }

    /// Appends up to `len` bytes to `out`; fewer only at the end.
    pub fn read(&mut self, len: usize, out: &mut Vec<u8>) -> Result<usize, OpenError> {
        let start = out.len();
        while out.len() - start < len {
            if self.plain_taken == self.plain.len() && !self.refill()? {
                break;
            }
            let wanted = len - (out.len() - start);
            let rest = &self.plain[self.plain_taken..];
            let now = rest.len().min(wanted);
            out.extend_from_slice(&rest[..now]);
            self.plain_taken += now;
        }
        Ok(out.len() - start)
    }

    /// Gets more plain bytes; `false` at the end.
    fn refill(&mut self) -> Result<bool, OpenError> {
        self.plain.clear();
        self.plain_taken = 0;
        let Some(opener) = &mut self.opener else {
            // Nothing to open: the block itself is plain.
            self.taken = 0;
            self.proved.clear();
            let more = self.prove_block()?;
            std::mem::swap(&mut self.plain, &mut self.proved);
            return Ok(more);
        };
        let chunk_len = SEALED_CHUNK_LEN + 16;
        let mut chunk = Vec::with_capacity(chunk_len);
        let _ = opener;
        while chunk.len() < chunk_len {
            if self.taken == self.proved.len() {
                self.proved.clear();
                self.taken = 0;
                if !self.prove_block()? {
                    break;
                }
            }
            let rest = &self.proved[self.taken..];
            let now = rest.len().min(chunk_len - chunk.len());
            chunk.extend_from_slice(&rest[..now]);
            self.taken += now;
        }
        if chunk.is_empty() {
            return Ok(false);
        }
        let last = self.left == 0 && self.taken == self.proved.len();
        if let Some(opener) = &mut self.opener {
            let opened = opener.open(&mut chunk, last);
            opened.map_err(|error| OpenError::Unseal("its data file", error))?;
        }
        self.plain = chunk;
        Ok(true)
    }

    /// Appends the next block to `proved`; `false` at the end.
    fn prove_block(&mut self) -> Result<bool, OpenError> {
        if self.left == 0 {
            return Ok(false);
        }
        let len = self.left.min(self.block_len as u64);
        let start = self.proved.len();
        self.proved.resize(start + len as usize, 0);
        exact(&mut self.input, &mut self.proved[start..], "data file")?;
        let index = self.next_block;
        if self.blocks.0.get(index) != Some(&Hash::of(&self.proved[start..])) {
            return Err(OpenError::Block { index });
        }
        self.next_block += 1;
        self.left -= len;
        Ok(true)
    }

    /// Checks that nothing follows the data file, of which all must have been read.
    pub fn finish(mut self) -> Result<(), OpenError> {
        let unread =
            self.left > 0 || self.plain_taken < self.plain.len() || self.taken < self.proved.len();
        let mut byte = [0];
        if unread || self.input.read(&mut byte).map_err(OpenError::Read)? > 0 {
            return Err(OpenError::LeftOver);
        }
        Ok(())
    }

    /// Reads and proves what is left without a use for it: is the file whole?
    pub fn prove_rest(mut self) -> Result<(), OpenError> {
        self.plain_taken = self.plain.len();
        loop {
            self.proved.clear();
            self.taken = 0;
            if !self.prove_block()? {
                break;
            }
        }
        self.proved.clear();
        self.finish()
    }
}

impl<R> fmt::Debug for DataReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataReader")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

fn exact(input: &mut impl Read, buf: &mut [u8], what: &'static str) -> Result<(), OpenError> {
    input.read_exact(buf).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => OpenError::Truncated(what),
        _ => OpenError::Read(error),
    })
}

/// Reads `len` bytes, allocating only as they come.
fn take(input: &mut impl Read, len: u64, what: &'static str) -> Result<Vec<u8>, OpenError> {
    let mut bytes = Vec::new();
    input
        .by_ref()
        .take(len)
        .read_to_end(&mut bytes)
        .map_err(OpenError::Read)?;
    if bytes.len() as u64 == len {
        Ok(bytes)
    } else {
        Err(OpenError::Truncated(what))
    }
}
