use std::io;
use std::sync::OnceLock;

use bellwether_content::assignment::{self, Blocks, Trust};
use bellwether_multicast::receiver::Prove;
use bellwether_multicast::{ErasureCode, Geometry, Part, Place, ReedSolomon};
use bellwether_types::Hash;
use bellwether_wire::transfer::AssignmentId;

use crate::parcel::Parcel;
use crate::source::Source;
use crate::spool::Spool;

/// The bytes of a transfer on this node, to be read and coded on any thread.
#[derive(Debug)]
pub(crate) enum Content {
    /// They are files of this node.
    Sent {
        head: Vec<u8>,
        parcel: Parcel,
        source: Source,
    },
    /// They come, or came, from others.
    Received {
        spool: Spool,
        kind: Kind,
        /// Once the head is proved.
        known: OnceLock<Known>,
    },
}

/// What travels.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Files, by a head of their own.
    Parcel,
    /// An assignment, signed by one of these.
    Assignment(Trust),
}

/// What a head says.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    Parcel(Parcel),
    /// The hashes of the blocks of its data file.
    Assignment(Blocks),
}

/// What came of a proof.
pub(crate) enum Proof {
    Holds,
    Fails,
    /// It is what was sent, and of no use: why.
    Useless(String),
}

impl Content {
    pub(crate) const fn spool(&self) -> Option<&Spool> {
        match self {
            Self::Sent { .. } => None,
            Self::Received { spool, .. } => Some(spool),
        }
    }

    /// Makes durable what came, where it is to be: an assignment need not, it can be had again.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            Self::Received {
                spool,
                kind: Kind::Parcel,
                ..
            } => spool.sync(),
            _ => Ok(()),
        }
    }

    pub(crate) fn parcel(&self) -> Option<&Parcel> {
        match self {
            Self::Sent { parcel, .. } => Some(parcel),
            Self::Received { known, .. } => match known.get() {
                Some(Known::Parcel(parcel)) => Some(parcel),
                _ => None,
            },
        }
    }

    /// What a block of the data file must hash to.
    fn hash(&self, block: u32) -> Option<&Hash> {
        match self {
            Self::Received { known, .. } => match known.get()? {
                Known::Parcel(parcel) => parcel.hash(block),
                Known::Assignment(blocks) => blocks.0.get(block as usize),
            },
            Self::Sent { parcel, .. } => parcel.hash(block),
        }
    }

    /// Appends what stands at a place to `bytes`.
    pub(crate) fn read(&self, place: Place, bytes: &mut Vec<u8>) -> io::Result<()> {
        let start = bytes.len();
        bytes.resize(start + place.len as usize, 0);
        let buffer = &mut bytes[start..];
        match self {
            Self::Received { spool, .. } => spool.read(place.part, place.offset, buffer),
            Self::Sent { source, .. } if place.part == Part::Data => {
                source.read(place.offset, buffer)
            }
            Self::Sent { head, .. } => {
                let from = usize::try_from(place.offset).ok();
                let piece = from.and_then(|from| head.get(from..)?.get(..buffer.len()));
                buffer.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// The repair symbols of a repair block.
    pub(crate) fn encode(&self, geometry: &Geometry, block: u32) -> io::Result<Vec<u8>> {
        let shape = geometry.shape(block);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for symbol in 0..shape.symbols {
            self.read(geometry.place(block, symbol), &mut bytes)?;
            ends.push(bytes.len());
        }
        let mut symbol = |number: u16| {
            let number = usize::from(number);
            let start = number.checked_sub(1).map_or(0, |before| ends[before]);
            &bytes[start..ends[number]]
        };
        let code = ReedSolomon::default().encode(shape, &mut symbol);
        code.map_err(io::Error::other)
    }

    /// Makes a repair block whole. `false` if that cannot be.
    pub(crate) fn decode(
        &self,
        geometry: &Geometry,
        block: u32,
        missing: &[u16],
        repairs: &[u16],
    ) -> io::Result<bool> {
        let Some(spool) = self.spool() else {
            return Ok(false);
        };
        let shape = geometry.shape(block);
        let mut given = Vec::new();
        for symbol in (0..shape.symbols).filter(|symbol| missing.binary_search(symbol).is_err()) {
            let mut bytes = Vec::new();
            self.read(geometry.place(block, symbol), &mut bytes)?;
            given.push((symbol, bytes));
        }
        for repair in repairs {
            let bytes = spool.read_repair(geometry, block, *repair)?;
            given.push((shape.symbols + repair, bytes));
        }
        let mut given = given
            .iter()
            .map(|(number, bytes)| (*number, bytes.as_slice()));
        let Ok(restored) = ReedSolomon::default().decode(shape, &mut given) else {
            return Ok(false);
        };
        for (symbol, bytes) in restored {
            let place = geometry.place(block, symbol);
            spool.write(place.part, place.offset, &bytes[..place.len as usize])?;
        }
        Ok(true)
    }

    /// Is it what the id, or the head, says?
    pub(crate) fn prove(
        &self,
        assignment: AssignmentId,
        geometry: &Geometry,
        what: Prove,
    ) -> io::Result<Proof> {
        let mut bytes = Vec::new();
        match what {
            Prove::Head => {
                for block in 0..geometry.head_blocks() {
                    self.read(geometry.block(block), &mut bytes)?;
                }
                if Parcel::id(&bytes) != assignment {
                    return Ok(Proof::Fails);
                }
                let Self::Received { kind, known, .. } = self else {
                    return Ok(Proof::Holds);
                };
                Ok(match read_head(kind, &bytes, geometry) {
                    Ok(head) => {
                        known.get_or_init(|| head);
                        Proof::Holds
                    }
                    Err(why) => Proof::Useless(why),
                })
            }
            Prove::Block(block) => {
                self.read(geometry.block(block), &mut bytes)?;
                let number = block.checked_sub(geometry.head_blocks());
                let hash = number.and_then(|number| self.hash(number));
                Ok(match hash == Some(&Hash::of(&bytes)) {
                    true => Proof::Holds,
                    false => Proof::Fails,
                })
            }
        }
    }
}

/// What a head says, if it fits what was announced; why it is of no use otherwise.
fn read_head(kind: &Kind, head: &[u8], geometry: &Geometry) -> Result<Known, String> {
    let (known, block_len, data_len) = match kind {
        Kind::Parcel => {
            let parcel =
                Parcel::decode(head, geometry.data_len()).map_err(|error| error.to_string())?;
            let (block_len, data_len) = (parcel.block_len, parcel.data_len());
            (Known::Parcel(parcel), block_len, data_len)
        }
        Kind::Assignment(trust) => {
            let outline = assignment::outline(head, trust)
                .map_err(|error| format!("the assignment {error}"))?;
            let data_len = outline.header.data_len;
            let block_len = u32::try_from(assignment::block_len(data_len)).unwrap_or(u32::MAX);
            if outline.head_len != head.len() as u64 {
                return Err("something stands between its head and its data file".to_owned());
            }
            (Known::Assignment(outline.blocks), block_len, data_len)
        }
    };
    if block_len != geometry.block_len() || data_len != geometry.data_len() {
        return Err("it is cut otherwise than it says".to_owned());
    }
    Ok(known)
}
