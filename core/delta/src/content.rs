//! Content of any size, read through whoever holds it.

/// A file's content, or another string of bytes that may be too long for memory.
pub trait Content {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes from `offset` on. Asked only for bytes before [`len`](Self::len).
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError>;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Content that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("content could not be read at byte {offset}")]
pub struct ReadError {
    /// Where.
    pub offset: u64,
    /// Why.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

impl Content for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..)?.get(..buf.len()))
            .ok_or_else(|| ReadError {
                offset,
                cause: "past its end".into(),
            })?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}
