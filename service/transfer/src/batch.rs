use std::collections::{BTreeMap, VecDeque};

use bellwether_wire::frame::{FrameHeader, FrameKey, SessionId};

/// Frames that came together: of one session, proved.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) headers: Vec<FrameHeader>,
    /// Their symbols, one after the other.
    symbols: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

/// Frames that wait to be told to the station.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    waiting: VecDeque<Batch>,
    /// For the next one, so that its room is used again.
    empty: Batch,
}

/// No more at once, so that timers are not late.
const BATCH_FRAMES_MAX: usize = 512;

impl Batches {
    /// Takes what may be a frame; if it is none of a session that is listened to, it has no effect.
    pub(crate) fn take(&mut self, bytes: &mut [u8], keys: &BTreeMap<SessionId, FrameKey>) {
        let session = FrameHeader::read(bytes).map(|header| header.session);
        let key = session.and_then(|session| keys.get(&session));
        let Some(Ok((header, symbol))) = key.map(|key| key.open(bytes)) else {
            return;
        };
        let fits = |batch: &Batch| {
            let same = batch
                .headers
                .first()
                .is_some_and(|first| first.session == header.session);
            same && batch.headers.len() < BATCH_FRAMES_MAX
        };
        if !self.waiting.back().is_some_and(fits) {
            self.waiting.push_back(std::mem::take(&mut self.empty));
        }
        let batch = self.waiting.back_mut().expect("one was put there");
        batch.headers.push(header);
        batch.symbols.extend_from_slice(symbol);
        batch.ends.push(batch.symbols.len());
    }

    pub(crate) fn pop(&mut self) -> Option<Batch> {
        self.waiting.pop_front()
    }

    /// A batch that is done with.
    pub(crate) fn give_back(&mut self, mut batch: Batch) {
        batch.headers.clear();
        batch.symbols.clear();
        batch.ends.clear();
        self.empty = batch;
    }
}

impl Batch {
    /// What came without frames, as the piece of a small assignment does.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            headers: Vec::new(),
            symbols: bytes.to_vec(),
            ends: vec![bytes.len()],
        }
    }

    /// The symbols of so many frames from the first on; `None` if so many did not come.
    pub(crate) fn symbols(&self, first: u16, count: u16) -> Option<&[u8]> {
        let end = |frames: usize| match frames.checked_sub(1) {
            None => Some(0),
            Some(last) => self.ends.get(last).copied(),
        };
        let first = usize::from(first);
        self.symbols
            .get(end(first)?..end(first + usize::from(count))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found_by_their_frames_and_none_beyond_them() {
        let batch = Batch {
            headers: Vec::new(),
            symbols: b"aabbbc".to_vec(),
            ends: vec![2, 5, 6],
        };
        assert_eq!(batch.symbols(0, 1), Some(&b"aa"[..]));
        assert_eq!(batch.symbols(1, 2), Some(&b"bbbc"[..]));
        assert_eq!(batch.symbols(2, 0), Some(&b""[..]));
        assert_eq!(batch.symbols(1, 3), None);
        assert_eq!(batch.symbols(9, 1), None);
        assert_eq!(Batch::of(b"piece").symbols(0, 1), Some(&b"piece"[..]));
        assert_eq!(Batch::default().symbols(0, 1), None);
    }
}
