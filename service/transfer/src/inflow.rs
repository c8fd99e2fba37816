use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bellwether_content::assignment::{self, OpenError, Outline, Trust};
use bellwether_types::Hash;
use bellwether_wire::transfer::AssignmentId;

use tokio::sync::mpsc::UnboundedSender;

use crate::member::{Member, Order};
use crate::shelf::Shelf;
use crate::spool::Spool;

/// An assignment that comes from elsewhere than a neighbour, from its first byte to its last. Each block is proved before it
/// counts, and goes to neighbours while the rest comes.
#[derive(Debug)]
pub struct Inflow {
    assignment: AssignmentId,
    len: u64,
    trust: Trust,
    orders: UnboundedSender<Order>,
    /// Where what comes from neighbours is written, too.
    file: File,
    /// What its head says, once that is here.
    outline: Option<Outline>,
    /// Bytes that are proved and written.
    proved: u64,
    /// What came behind them.
    pending: Vec<u8>,
    /// The head is looked for again when so much of it is here.
    look_at: usize,
}

/// Why an assignment does not come.
#[derive(Debug, thiserror::Error)]
pub enum InflowError {
    /// The disk.
    #[error("it cannot be kept: {0}")]
    Disk(#[from] io::Error),
    /// Somebody signed it who may not, or nobody did.
    #[error("it {0}")]
    Untrusted(OpenError),
    /// It is not what it should be: why.
    #[error("it is not what it should be: {0}")]
    Damaged(String),
}

impl Member {
    /// Takes an assignment of `len` bytes, signed by one of these, into the `folder` of this node's: from where its earlier
    /// inflow ended, or from the beginning.
    ///
    /// # Errors
    /// If the disk denies it.
    pub fn inflow(
        &self,
        folder: &Path,
        assignment: AssignmentId,
        len: u64,
        trust: Trust,
    ) -> Result<Inflow, InflowError> {
        Inflow::open(self.orders().clone(), folder, assignment, len, trust)
    }
}

impl Inflow {
    fn open(
        orders: UnboundedSender<Order>,
        folder: &Path,
        assignment: AssignmentId,
        len: u64,
        trust: Trust,
    ) -> Result<Self, InflowError> {
        let mut inflow = Self {
            assignment,
            len,
            trust,
            orders,
            file: Spool::data(&Shelf::spools_of_assignments(folder), assignment)?,
            outline: None,
            proved: 0,
            pending: Vec::new(),
            look_at: 1,
        };
        // What lies here may be from any time, and have holes.
        let Ok(outline) = assignment::outline(BufReader::new(&inflow.file), &inflow.trust) else {
            return Ok(inflow);
        };
        let mut head = vec![0; usize::try_from(outline.head_len).unwrap_or(0)];
        inflow.file.read_exact_at(&mut head, 0)?;
        if inflow.begin(&head, outline).is_ok() {
            inflow.look_again()?;
        }
        Ok(inflow)
    }

    /// From which byte on it is to come.
    pub const fn offset(&self) -> u64 {
        self.proved + self.pending.len() as u64
    }

    /// Is its head here?
    pub const fn has_head(&self) -> bool {
        self.outline.is_some()
    }

    /// Is all of it here?
    pub const fn is_whole(&self) -> bool {
        self.proved == self.len
    }

    /// Takes the bytes that come next.
    ///
    /// # Errors
    /// If they are not what they should be, or the disk denies it; what was taken before counts.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), InflowError> {
        if self.offset() + bytes.len() as u64 > self.len {
            return Err(damaged("there is more of it than was said"));
        }
        self.pending.extend_from_slice(bytes);
        if self.outline.is_none() {
            self.look_for_head()?;
        }
        let proved = self.proved;
        let mut taken = 0;
        while let Some((len, hash)) = self.next_block()
            && let Some(block) = self.pending.get(taken..taken + len)
        {
            if Hash::of(block) != hash {
                self.pending.clear();
                return Err(damaged("its data file is not what its head says"));
            }
            self.file.write_all_at(block, self.proved)?;
            self.proved += len as u64;
            taken += len;
        }
        self.pending.drain(..taken);
        if self.proved > proved {
            self.tell();
        }
        Ok(())
    }

    fn look_for_head(&mut self) -> Result<(), InflowError> {
        let is_all = self.offset() == self.len;
        if self.pending.len() < self.look_at && !is_all {
            return Ok(());
        }
        match assignment::outline(self.pending.as_slice(), &self.trust) {
            Ok(outline) => {
                let rest = self
                    .pending
                    .split_off(usize::try_from(outline.head_len).unwrap_or(0));
                let head = std::mem::replace(&mut self.pending, rest);
                self.file.write_all_at(&head, 0)?;
                self.begin(&head, outline)
            }
            Err(OpenError::Truncated(_)) if !is_all => {
                self.look_at = self.pending.len() * 2;
                Ok(())
            }
            Err(error @ (OpenError::Untrusted { .. } | OpenError::Unsigned { .. })) => {
                Err(InflowError::Untrusted(error))
            }
            Err(error) => Err(damaged(&error.to_string())),
        }
    }

    fn begin(&mut self, head: &[u8], outline: Outline) -> Result<(), InflowError> {
        if AssignmentId::of(head) != self.assignment {
            return Err(damaged("it is another assignment"));
        }
        if outline.head_len + outline.header.data_len != self.len {
            return Err(damaged("it has another length than was said"));
        }
        self.proved = outline.head_len;
        self.outline = Some(outline);
        self.tell();
        Ok(())
    }

    /// How much of what lies here is proved.
    fn look_again(&mut self) -> io::Result<()> {
        let mut block = Vec::new();
        while let Some((len, hash)) = self.next_block() {
            block.resize(len, 0);
            let read = self.file.read_exact_at(&mut block, self.proved);
            match read {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                Ok(()) if Hash::of(&block) == hash => self.proved += len as u64,
                _ => break,
            }
        }
        self.tell();
        Ok(())
    }

    /// The block behind what is proved: its length and its hash.
    fn next_block(&self) -> Option<(usize, Hash)> {
        let outline = self.outline.as_ref().filter(|_| !self.is_whole())?;
        let block_len = assignment::block_len(outline.header.data_len) as u64;
        let number = (self.proved - outline.head_len) / block_len;
        let hash = outline.blocks.0.get(usize::try_from(number).ok()?)?;
        Some((block_len.min(self.len - self.proved) as usize, *hash))
    }

    fn tell(&self) {
        if let Some(outline) = &self.outline {
            // Nothing happens if transfers have ended.
            let _ = self.orders.send(Order::Came {
                assignment: self.assignment,
                head_len: outline.head_len,
                data_len: outline.header.data_len,
                end: self.proved,
            });
        }
    }
}

fn damaged(why: &str) -> InflowError {
    InflowError::Damaged(why.to_owned())
}

#[cfg(test)]
mod tests {
    use bellwether_content::assignment::{Action, DataWriter, Head, Header};
    use bellwether_delta::Effort;
    use bellwether_types::{Serial, Term};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    const DATA_LEN: usize = 700_000;

    /// An assignment of three blocks, and how long its head is.
    fn assignment() -> (Vec<u8>, usize) {
        let data: Vec<u8> = (0..DATA_LEN as u32).flat_map(u32::to_le_bytes).collect();
        let mut header = Header::new(Action::Publish, Serial(1), Term(1));
        let mut sent = Vec::new();
        let mut writer = DataWriter::new(None);
        writer.write(&data[..DATA_LEN], &mut sent);
        let head = Head {
            blocks: writer.finish(&mut header, &mut sent),
            header,
            body: b"commands".to_vec(),
        };
        let (_, mut bytes) = head.encode(Effort::Fast, None, None);
        let head_len = bytes.len();
        bytes.extend(sent);
        (bytes, head_len)
    }

    struct Node {
        folder: tempfile::TempDir,
        id: AssignmentId,
        len: u64,
        trust: Trust,
        told: UnboundedReceiver<Order>,
    }

    impl Node {
        fn new(bytes: &[u8], head_len: usize) -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                id: AssignmentId::of(&bytes[..head_len]),
                len: bytes.len() as u64,
                trust: Trust::Anyone,
                told: unbounded_channel().1,
            }
        }

        fn open(&mut self) -> Inflow {
            let (orders, told) = unbounded_channel();
            self.told = told;
            let trust = self.trust.clone();
            Inflow::open(orders, self.folder.path(), self.id, self.len, trust).unwrap()
        }

        /// What transfers were told last that is proved.
        fn end(&mut self) -> u64 {
            let mut last = 0;
            while let Ok(order) = self.told.try_recv() {
                if let Order::Came { end, .. } = order {
                    assert!(end >= last);
                    last = end;
                }
            }
            last
        }
    }

    fn is_damaged(result: &Result<(), InflowError>) -> bool {
        matches!(result, Err(InflowError::Damaged(_)))
    }

    /// TREE-25.
    #[test]
    fn blocks_count_as_soon_as_they_are_proved() {
        let (bytes, head_len) = assignment();
        let mut node = Node::new(&bytes, head_len);
        let mut inflow = node.open();
        let block_len = assignment::block_len(DATA_LEN as u64);
        let mut came = 0;
        for piece in bytes.chunks(1_000) {
            inflow.take(piece).unwrap();
            came += piece.len();
            assert_eq!(inflow.offset(), came as u64);
            let end = node.end() as usize;
            assert!(end == 0 || end <= came, "{end} of {came}");
            if inflow.is_whole() {
                assert_eq!(end, bytes.len());
            } else if end > 0 {
                assert_eq!((end - head_len) % block_len, 0);
            }
        }
        assert!(inflow.is_whole());
        let file = node
            .folder
            .path()
            .join(".spool")
            .join(node.id.0.to_string());
        assert_eq!(std::fs::read(file.join("data")).unwrap(), bytes);
        assert!(is_damaged(&inflow.take(b"more")));
    }

    /// TREE-25.
    #[test]
    fn it_goes_on_behind_the_last_block_that_holds() {
        let (bytes, head_len) = assignment();
        let block_len = assignment::block_len(DATA_LEN as u64);
        let mut node = Node::new(&bytes, head_len);
        assert_eq!(node.open().offset(), 0);
        node.open()
            .take(&bytes[..head_len + block_len + 9])
            .unwrap();
        let mut inflow = node.open();
        let behind = (head_len + block_len) as u64;
        assert_eq!((inflow.offset(), node.end()), (behind, behind));
        // A block that does not hold is not taken, and the right one is.
        let mut wrong = bytes[head_len + block_len..].to_vec();
        wrong[block_len + 1] ^= 1;
        assert!(is_damaged(&inflow.take(&wrong)));
        let offset = inflow.offset() as usize;
        assert_eq!(offset, head_len + 2 * block_len);
        inflow.take(&bytes[offset..]).unwrap();
        assert!(inflow.is_whole());
        assert!(node.open().is_whole());
    }

    #[test]
    fn what_is_not_the_assignment_is_refused() {
        let (bytes, head_len) = assignment();
        let mut node = Node::new(&bytes, head_len);
        node.id = AssignmentId::of(b"another");
        assert!(is_damaged(&node.open().take(&bytes)));
        let mut node = Node::new(&bytes, head_len);
        node.len += 1;
        assert!(is_damaged(&node.open().take(&bytes)));
        let mut node = Node::new(&bytes, head_len);
        node.trust = Trust::Keys(Vec::new());
        let refused = node.open().take(&bytes);
        assert!(matches!(refused, Err(InflowError::Untrusted(_))));
        let noise = vec![7; bytes.len()];
        let mut node = Node::new(&bytes, head_len);
        assert!(is_damaged(&node.open().take(&noise)));
        assert_eq!(node.end(), 0);
    }
}
