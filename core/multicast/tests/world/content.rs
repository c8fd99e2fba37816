//! What is sent, and where it is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bellwether_machine::Random;
use bellwether_multicast::receiver::Prove;
use bellwether_multicast::{ErasureCode, Geometry, Part, Place, ReedSolomon};
use bellwether_types::Hash;
use bellwether_wire::transfer::AssignmentId;

/// An assignment: a head with the hashes of its blocks, which names it, and a data file.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) id: AssignmentId,
    pub(crate) geometry: Geometry,
    /// None where only numbers of frames matter.
    pub(crate) bytes: Option<(Vec<u8>, Vec<u8>)>,
}

/// What a node has of it.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) content: Rc<Content>,
    head: Vec<u8>,
    data: Vec<u8>,
    repairs: BTreeMap<(u32, u16), Vec<u8>>,
    /// Blocks that were proved to the machine in this start of the node.
    pub(crate) proved: BTreeSet<u32>,
}

impl Content {
    pub(crate) fn new(seed: u64, data_len: usize, block_len: u32, symbol_len: u16) -> Self {
        let mut random = Random::new(seed);
        let data: Vec<u8> = (0..data_len).map(|_| random.bits() as u8).collect();
        let mut head: Vec<u8> = data
            .chunks(block_len as usize)
            .flat_map(|block| Hash::of(block).0)
            .collect();
        head.extend(b"commands");
        let geometry =
            Geometry::suited(head.len() as u64, data_len as u64, block_len, symbol_len).unwrap();
        Self {
            id: AssignmentId(Hash::of(&head)),
            geometry,
            bytes: Some((head, data)),
        }
    }

    /// Only its size counts.
    pub(crate) fn counted(data_len: u64, block_len: u32, symbol_len: u16) -> Self {
        let geometry = Geometry::suited(5_000, data_len, block_len, symbol_len).unwrap();
        Self {
            id: AssignmentId(Hash::of(&data_len.to_be_bytes())),
            geometry,
            bytes: None,
        }
    }
}

impl Spool {
    pub(crate) fn new(content: Rc<Content>) -> Self {
        let lens = match &content.bytes {
            Some((head, data)) => (head.len(), data.len()),
            None => (0, 0),
        };
        Self {
            content,
            head: vec![0; lens.0],
            data: vec![0; lens.1],
            repairs: BTreeMap::new(),
            proved: BTreeSet::new(),
        }
    }

    pub(crate) fn full(content: Rc<Content>) -> Self {
        let mut spool = Self::new(content);
        if let Some((head, data)) = &spool.content.bytes {
            (spool.head, spool.data) = (head.clone(), data.clone());
        }
        spool.proved = (0..spool.content.geometry.blocks()).collect();
        spool
    }

    pub(crate) fn is_exact(&self) -> bool {
        let expected = &self.content.bytes;
        expected
            .as_ref()
            .is_none_or(|(head, data)| *head == self.head && *data == self.data)
    }

    fn part_mut(&mut self, part: Part) -> &mut Vec<u8> {
        match part {
            Part::Head => &mut self.head,
            Part::Data => &mut self.data,
        }
    }

    fn slice(&self, place: Place) -> &[u8] {
        let bytes = match place.part {
            Part::Head => &self.head,
            Part::Data => &self.data,
        };
        &bytes[place.offset as usize..][..place.len as usize]
    }

    pub(crate) fn symbol(&self, block: u32, symbol: u16) -> Vec<u8> {
        self.slice(self.content.geometry.place(block, symbol))
            .to_vec()
    }

    pub(crate) fn write(&mut self, place: Place, symbols: &[Vec<u8>]) {
        let bytes = symbols.concat();
        assert_eq!(bytes.len(), place.len as usize);
        let at = place.offset as usize;
        self.part_mut(place.part)[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    pub(crate) fn write_repair(&mut self, block: u32, repair: u16, symbol: Vec<u8>) {
        self.repairs.insert((block, repair), symbol);
    }

    pub(crate) fn forget_repairs(&mut self) {
        self.repairs.clear();
    }

    pub(crate) fn encode(&self, block: u32) -> Vec<u8> {
        if self.content.bytes.is_none() {
            return Vec::new();
        }
        let geometry = &self.content.geometry;
        let mut source = |symbol| self.slice(geometry.place(block, symbol));
        ReedSolomon::default()
            .encode(geometry.shape(block), &mut source)
            .unwrap()
    }

    pub(crate) fn decode(&mut self, block: u32, missing: &[u16], repairs: &[u16]) -> bool {
        if self.content.bytes.is_none() {
            return true;
        }
        let geometry = self.content.geometry;
        let shape = geometry.shape(block);
        let restored = {
            let there = (0..shape.symbols).filter(|symbol| !missing.contains(symbol));
            let there = there.map(|symbol| (symbol, self.slice(geometry.place(block, symbol))));
            let mending = repairs
                .iter()
                .map(|repair| (shape.symbols + repair, &self.repairs[&(block, *repair)][..]));
            ReedSolomon::default().decode(shape, &mut there.chain(mending))
        };
        let Ok(restored) = restored else {
            return false;
        };
        for (symbol, bytes) in restored {
            let place = geometry.place(block, symbol);
            self.write(place, &[bytes[..place.len as usize].to_vec()]);
        }
        true
    }

    /// What the signed hashes say; the head is proved by the id, and says what blocks are.
    pub(crate) fn prove(&mut self, what: Prove) -> bool {
        let geometry = self.content.geometry;
        let ok = match (what, &self.content.bytes) {
            (_, None) => true,
            (Prove::Head, Some(_)) => AssignmentId(Hash::of(&self.head)) == self.content.id,
            (Prove::Block(block), Some(_)) => {
                let number = (block - geometry.head_blocks()) as usize;
                let hash = &self.head[number * 32..number * 32 + 32];
                Hash::of(self.slice(geometry.block(block))).0 == *hash
            }
        };
        if ok {
            match what {
                Prove::Head => self.proved.extend(0..geometry.head_blocks()),
                Prove::Block(block) => {
                    self.proved.insert(block);
                }
            }
        }
        ok
    }

    /// A power failure: whatever was not synced may be gone.
    pub(crate) fn lose_some(&mut self, random: &mut Random) {
        for at in (0..self.data.len()).step_by(4_096) {
            if random.chance(200_000) {
                let end = self.data.len().min(at + 4_096);
                self.data[at..end].fill(0);
            }
        }
        self.repairs.clear();
    }
}
