//! Messages on a stream of bytes: each behind its length.

use std::marker::PhantomData;

use minicbor::{Decode, Encode};

use super::{Downward, Upward};

/// The longest message, in bytes: what a segment of some 16,000 members needs to tell who they are.
pub const MESSAGE_LEN_MAX: usize = 16 << 20;

const PREFIX_LEN: usize = 4;
/// A buffer above this is given back when it is empty: long messages are rare.
const BUFFER_KEPT_LEN: usize = 64 << 10;

/// Why a stream cannot be read on, or a message not be sent.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// More than any message may have.
    #[error("a message of {len} bytes is longer than the {MESSAGE_LEN_MAX} that are allowed")]
    TooLong {
        /// How long it says it is, in bytes.
        len: usize,
    },
    /// Not CBOR, or a field of the wrong shape.
    #[error("a message is malformed")]
    Malformed(#[from] minicbor::decode::Error),
    /// Bytes of the frame that belong to no message.
    #[error("{0} bytes follow a message in its frame")]
    Trailing(usize),
    /// A message that cannot be meant.
    #[error("a message is refused: {0}")]
    Fault(&'static str),
    /// The stream was refused before.
    #[error("the stream was refused already")]
    Over,
}

/// What travels in one of the two directions.
pub trait Message: Encode<()> + for<'b> Decode<'b, ()> {
    /// What is wrong with it, if anything: lengths over their bounds, words that contradict each other.
    fn fault(&self) -> Option<&'static str>;
}

/// The messages of a stream, whatever pieces it comes in.
///
/// Holds at most what is pushed at once and one message. Messages of a kind that a later program added are skipped.
/// After an error the stream cannot be read on: close the connection.
#[derive(Debug)]
pub struct Frames<M> {
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that were read.
    taken: usize,
    over: bool,
    skipped: u64,
    message: PhantomData<M>,
}

/// A message as it travels: its length in 4 bytes, big-endian, and its encoding.
///
/// # Errors
/// If it is too long, or cannot be meant: the reader would refuse it.
pub fn frame<M: Message>(message: &M) -> Result<Vec<u8>, FrameError> {
    if let Some(fault) = message.fault() {
        return Err(FrameError::Fault(fault));
    }
    let mut bytes = vec![0; PREFIX_LEN];
    if minicbor::encode(message, &mut bytes).is_err() {
        unreachable!("a vector takes everything");
    }
    let len = bytes.len() - PREFIX_LEN;
    match u32::try_from(len) {
        Ok(prefix) if len <= MESSAGE_LEN_MAX => {
            bytes[..PREFIX_LEN].copy_from_slice(&prefix.to_be_bytes());
            Ok(bytes)
        }
        _ => Err(FrameError::TooLong { len }),
    }
}

impl<M: Message> Frames<M> {
    /// Nothing came yet.
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            over: false,
            skipped: 0,
            message: PhantomData,
        }
    }

    /// The stream goes on. Take all messages by [`Frames::next`] before more is pushed.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        if self.taken == self.buffer.len() && self.buffer.capacity() > BUFFER_KEPT_LEN {
            self.buffer = Vec::new();
        } else {
            self.buffer.drain(..self.taken);
        }
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message; `None` until more bytes come.
    ///
    /// # Errors
    /// If the stream is to be refused.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator ends at `None`; this does not"
    )]
    pub fn next(&mut self) -> Result<Option<M>, FrameError> {
        if self.over {
            return Err(FrameError::Over);
        }
        let read = self.read();
        if read.is_err() {
            self.over = true;
            self.buffer = Vec::new();
        }
        read
    }

    /// How many messages were skipped.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether the stream may end here: no message has begun.
    pub const fn is_whole(&self) -> bool {
        self.taken == self.buffer.len()
    }

    fn read(&mut self) -> Result<Option<M>, FrameError> {
        loop {
            let rest = &self.buffer[self.taken..];
            let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_LEN>() else {
                return Ok(None);
            };
            let len = u32::from_be_bytes(*prefix) as usize;
            if len > MESSAGE_LEN_MAX {
                return Err(FrameError::TooLong { len });
            }
            let Some(bytes) = rest.get(..len) else {
                return Ok(None);
            };
            let mut decoder = minicbor::Decoder::new(bytes);
            let read = decoder.decode::<M>();
            let trailing = len - decoder.position();
            self.taken += PREFIX_LEN + len;
            match read {
                Ok(_) if trailing > 0 => return Err(FrameError::Trailing(trailing)),
                Ok(message) => {
                    return match message.fault() {
                        None => Ok(Some(message)),
                        Some(fault) => Err(FrameError::Fault(fault)),
                    };
                }
                Err(error) if error.is_unknown_variant() => self.skipped += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<M: Message> Default for Frames<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl Message for Upward {
    fn fault(&self) -> Option<&'static str> {
        self.fault()
    }
}

impl Message for Downward {
    fn fault(&self) -> Option<&'static str> {
        self.fault()
    }
}
