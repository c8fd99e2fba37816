//! A file whose length does not fit in 32 bits: content that is computed, not kept.

use bellwether_content::assignment::{
    self, Action, BaseRange, DataWriter, Head, Header, SegmentReader, Trust,
};
use bellwether_content::body;
use bellwether_content::command::WriteFile;
use bellwether_content::manifest::{Entry, File, Manifest, Mode, Timestamp};
use bellwether_content::planner::Hints;
use bellwether_content::tree::Tree;
use bellwether_content::update::{Coding, Contents, Update};
use bellwether_delta::{Effort, GroupDecoder};
use bellwether_kit::farm::noise;
use bellwether_types::{Hash, Serial, Term, TreePath};

const LEN: u64 = (1 << 32) + (50 << 20) + 12_345;
/// Two edits: what is cut to 32 bits would meet the first in the place of the second.
const EDITS: [u64; 2] = [20_000_000, (1 << 32) + 20_000_000];
const BLOCK_LEN: u64 = 1 << 20;

/// Each MiB is the same noise under its own number.
struct Large {
    noise: Vec<u8>,
}

impl Large {
    fn fill(&self, offset: u64, buf: &mut [u8], edits: &[u64]) {
        let mut at = 0;
        while at < buf.len() {
            let offset = offset + at as u64;
            let (block, within) = (offset / BLOCK_LEN, (offset % BLOCK_LEN) as usize);
            let len = (buf.len() - at).min(BLOCK_LEN as usize - within);
            let piece = &mut buf[at..at + len];
            piece.copy_from_slice(&self.noise[within..within + len]);
            let number = block.to_le_bytes();
            let mark = number.iter().enumerate().skip(within);
            mark.zip(piece)
                .for_each(|((_, number), byte)| *byte = *number);
            at += len;
        }
        for edit in edits {
            if (offset..offset + buf.len() as u64).contains(edit) {
                buf[(edit - offset) as usize] ^= 0xff;
            }
        }
    }
}

impl Contents for Large {
    type Error = std::convert::Infallible;

    fn read_base(&self, _: &TreePath, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        self.fill(offset, buf, &[]);
        Ok(())
    }

    fn read_target(&self, _: &TreePath, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        self.fill(offset, buf, &EDITS);
        Ok(())
    }

    fn search_base(
        &self,
        write: &WriteFile,
        offset: u64,
        new: &[u8],
        _: u64,
    ) -> Result<Vec<BaseRange>, Self::Error> {
        let (path, len) = (write.path.clone(), new.len() as u64);
        Ok(vec![BaseRange { path, offset, len }])
    }
}

fn manifest(content: &[u8]) -> Manifest {
    let file = File {
        mode: Mode::new(0o644).unwrap(),
        owner: None,
        size: LEN,
        // Nobody reads it whole.
        hash: Hash::of(content),
        modified: Timestamp::new(1_700_000_000, 0).unwrap(),
    };
    let path = TreePath::new(*b"large").unwrap();
    Manifest::from_entries([(path, Entry::File(file))]).unwrap()
}

/// ASSIGN-11, STAGE-05.
#[test]
fn a_file_over_4_gib_travels() {
    let large = Large {
        noise: noise(1, BLOCK_LEN as usize),
    };
    let (base, target) = (manifest(b"old"), manifest(b"new"));
    let coding = Coding {
        effort: Effort::Fast,
        size_max: None,
    };
    let update = Update::plan(&base, &target, &Hints::NONE, coding).unwrap();
    assert_eq!(update.content_len(), LEN);
    let mut coder = update.coder();
    let mut data = Vec::new();
    for group in 0..update.group_count() {
        let Ok(bytes) = coder.group(group, &large, &|_| {});
        data.extend(bytes);
    }
    let mut header = Header::new(Action::Publish, Serial(1), Term(1));
    header.base = Some(base.version());
    header.target = Some(target.version());
    header.content_len = LEN;
    let (mut sent, mut writer) = (Vec::new(), DataWriter::new(None));
    writer.write(&data, &mut sent);
    let head = Head {
        blocks: writer.finish(&mut header, &mut sent),
        header,
        body: update.body().to_vec(),
    };
    let (_, mut bytes) = head.encode(Effort::Fast, None, None);
    bytes.extend(sent);
    assert!(bytes.len() < 200_000, "{}", bytes.len());

    let opened = assignment::open(bytes.as_slice(), &Trust::Anyone, None).unwrap();
    assert_eq!(opened.header.content_len, LEN);
    let mut tree = Tree::new(&base);
    body::decode(&opened.body, &mut tree).unwrap();
    let mut reader = SegmentReader::new(opened.data);
    let (mut decoder, mut done, mut edits) = (None, 0, 0);
    let (mut old, mut new, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(segment) = reader.next_segment(tree.written(), &base).unwrap() {
        if let Some(codec) = segment.begins_group {
            decoder = Some(GroupDecoder::new(codec));
        }
        let [range] = &segment.base[..] else {
            panic!("{:?}", segment.base)
        };
        old.resize(range.len as usize, 0);
        large.fill(range.offset, &mut old, &[]);
        new.clear();
        let decoder = decoder.as_mut().unwrap();
        decoder
            .segment(&old, segment.new_len(), &segment.payload, &mut new)
            .unwrap();
        let [piece] = segment.pieces[..] else {
            panic!("{:?}", segment.pieces)
        };
        assert_eq!((piece.offset, piece.len), (done, new.len() as u64));
        wanted.resize(new.len(), 0);
        large.fill(done, &mut wanted, &EDITS);
        assert!(new == wanted, "at {done}");
        edits += usize::from(new != old);
        done += piece.len;
    }
    reader.finish(tree.written()).unwrap();
    assert_eq!((done, edits), (LEN, 2));
}
