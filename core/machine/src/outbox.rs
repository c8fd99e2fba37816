/// What a machine wants done, in the order in which it is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox<T>(Vec<T>);

impl<T> Outbox<T> {
    /// An empty outbox.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an output behind the others.
    pub fn push(&mut self, output: T) {
        self.0.push(output);
    }

    /// Takes everything out, first things first; what was allocated is kept for the next time.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.0.drain(..)
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self::new()
    }
}
