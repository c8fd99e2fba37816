use std::collections::VecDeque;

use bellwether_types::{Hash, Time};

/// What happened: a hash over all of it, and of the last of it the story, if somebody wants to read it.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    /// Hashed when it is full: many at once are ten times as fast.
    buffer: Vec<u8>,
    story: Option<VecDeque<String>>,
}

const BUFFER_LEN: usize = 32 << 10;
const STORY_LINES_MAX: usize = 10_000;

impl Trace {
    pub(crate) fn new(with_story: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            buffer: Vec::with_capacity(BUFFER_LEN),
            story: with_story.then(VecDeque::new),
        }
    }

    /// Something of the kind `tag` happened to a node.
    pub(crate) fn record(&mut self, now: Time, node: u32, tag: u8, detail: &[u8]) {
        if self.buffer.len() + detail.len() + 16 > BUFFER_LEN {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(&now.as_nanos().to_le_bytes());
        self.buffer.extend_from_slice(&node.to_le_bytes());
        let len = u32::try_from(detail.len()).unwrap_or(u32::MAX);
        self.buffer
            .extend_from_slice(&(len << 8 | u32::from(tag)).to_le_bytes());
        self.buffer.extend_from_slice(detail);
    }

    /// Does somebody want to read the story?
    pub(crate) const fn has_story(&self) -> bool {
        self.story.is_some()
    }

    /// Adds a line to the story.
    pub(crate) fn tell(&mut self, now: Time, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            if story.len() == STORY_LINES_MAX {
                story.pop_front();
            }
            story.push_back(format!("{now}  {}", line()));
        }
    }

    /// The hash of everything recorded, and the story.
    pub(crate) fn finish(mut self) -> (Hash, Vec<String>) {
        self.hasher.update(&self.buffer);
        let hash = Hash(*self.hasher.finalize().as_bytes());
        (hash, self.story.map(Vec::from).unwrap_or_default())
    }
}
