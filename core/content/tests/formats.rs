//! The test vectors of `docs/formats.md`: the document is the fixture, so text and program cannot
//! drift apart. Everything is decoded; what has one encoding only is also encoded again. (zstd may
//! pack the same bytes otherwise tomorrow, so what it packed is decoded only.)

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_content::assignment::{
    self, Action, BaseRange, DataWriter, Encryption, Head, Header, Part, Piece, SegmentSpec,
    SegmentWriter, Trust,
};
use bellwether_content::body;
use bellwether_content::command::{Command, WriteFile};
use bellwether_content::manifest::{Entry, File, Manifest, Mode, Owner, Timestamp};
use bellwether_content::tree::Tree;
use bellwether_delta::{Codec, Effort, Match};
use bellwether_types::{Hash, Serial, Term, TreePath};
use bellwether_wire::{ContentKey, SigningKey};

use bellwether_kit::document::{same, vector};
use bellwether_kit::farm::{Farm, read};

const SIGNING_SEED: [u8; 32] = [1; 32];
const CONTENT_KEY: [u8; 32] = [2; 32];
const SALT: [u8; 16] = [3; 16];
const MOO: &[u8] = b"moo moo moo moo moo moo moo moo\n";

/// A directory that www:web owns with a file whose name is Latin-1, an empty directory and a link.
#[test]
fn the_manifest_and_its_version_are_as_documented() {
    let bytes = vector("manifest");
    let manifest = first_target().manifest;
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
    same("manifest", &manifest.encode());
    same("manifest-version", &manifest.version().0.0);
}

/// ASSIGN-02. Serial 8 of site `shop`: make the version of the first vector live.
#[test]
fn a_commit_is_a_header_and_its_seal() {
    let bytes = vector("commit");
    let mut header = Header::new(Action::Commit, Serial(8), Term(1));
    header.site = Some("shop".parse().unwrap());
    header.target = Some(first_target().manifest.version());
    let opened = assignment::open(bytes.as_slice(), &trusted(), None).unwrap();
    assert_eq!(opened.header.target, header.target);
    assert_eq!(opened.header.action, Action::Commit);
    assert!(opened.body.is_empty());
    opened.data.finish().unwrap();
    same("commit", &sealed(header, Vec::new(), &[]));
}

/// ASSIGN-01, ASSIGN-02. From nothing to the tree of the first vector, its one content stored.
#[test]
fn a_signed_assignment_without_a_base_is_as_documented() {
    arrives("stored", &Farm::default(), &first_target(), None);
    same("stored", &first(Codec::Stored, None));
}

/// COMP-04. The same, its content in two segments of one zstd stream.
#[test]
fn a_zstd_stream_goes_on_from_segment_to_segment_as_documented() {
    arrives("zstd", &Farm::default(), &first_target(), None);
    // What may be packed otherwise still arrives.
    let bytes = first(Codec::Zstd { level: 19 }, None);
    let (_, manifest) = read(&Farm::default(), &[bytes], &trusted(), None).unwrap();
    assert_eq!(manifest, first_target().manifest);
}

/// ASSIGN-08, CRYPT-04. The `stored` vector, sealed for a group.
#[test]
fn an_encrypted_assignment_is_as_documented() {
    let key = ContentKey::from_bytes(CONTENT_KEY);
    arrives("encrypted", &Farm::default(), &first_target(), Some(&key));
    same("encrypted", &first(Codec::Stored, Some(&key)));
    let other = ContentKey::from_bytes([9; 32]);
    assert!(
        read(
            &Farm::default(),
            &[vector("encrypted")],
            &trusted(),
            Some(&other)
        )
        .is_err()
    );
}

/// DELTA-07. The same content in two segments, by the codec whose definition is its source: a change of any of its
/// models shows here.
#[test]
fn the_mixing_codec_is_as_documented() {
    same("mixing", &first(Codec::Mixing, None));
    arrives("mixing", &Farm::default(), &first_target(), None);
}

/// ASSIGN-12. The same content in two groups, each in an assignment of its own.
#[test]
fn a_split_update_is_as_documented() {
    let [one, two] = split();
    same("split-1", &one);
    same("split-2", &two);
    let parts = ["split-1", "split-2"].map(vector);
    let (written, manifest) = read(&Farm::default(), &parts, &trusted(), None).unwrap();
    assert_eq!(manifest, first_target().manifest);
    assert_eq!(written, first_target().files);
    for incomplete in [&parts[..1], &parts[1..], &[two, one]] {
        assert!(read(&Farm::default(), incomplete, &trusted(), None).is_err());
    }
}

/// ASSIGN-07, DELTA-05. Every operation once; a file against named ranges, and one against itself with a mismatch.
#[test]
fn every_operation_and_a_patch_are_as_documented() {
    let base = Farm {
        files: contents([
            ("a", A_OLD),
            ("b", B),
            ("gone", b""),
            ("old/x", b""),
            ("stale/y", b""),
        ]),
        manifest: second_base(),
    };
    let target = second_target();
    arrives("patch", &base, &target, None);
    same("patch", &second(&base));
}

const A_OLD: &[u8] = b"0123456789abcdef";
const A_NEW: &[u8] = b"0123456789Abcdef!";
const B: &[u8] = b"the quick brown fox jumps over the lazy dog";
const C: &[u8] = b"quick lazy dog";

fn first_commands() -> Vec<Command> {
    vec![
        Command::CreateDirectory {
            path: path(b"dir"),
            mode: mode(0o750),
            owner: Some(www()),
        },
        Command::WriteFile(WriteFile {
            path: path(b"dir/caf\xe9"),
            mode: mode(0o644),
            owner: None,
            size: MOO.len() as u64,
            modified: time(),
            base: None,
        }),
        Command::CreateDirectory {
            path: path(b"empty"),
            mode: mode(0o755),
            owner: None,
        },
        Command::Symlink {
            path: path(b"link"),
            target: (*b"dir/caf\xe9").into(),
            owner: None,
        },
    ]
}

fn first_target() -> Farm {
    let base = Manifest::empty();
    let manifest = applied(&base, &first_commands(), &[MOO]);
    let files = BTreeMap::from([(path(b"dir/caf\xe9"), MOO.to_vec())]);
    Farm { files, manifest }
}

fn first(codec: Codec, key: Option<&ContentKey>) -> Vec<u8> {
    let base = Manifest::empty();
    let mut tree = Tree::new(&base);
    let body = body::encode(&first_commands(), &mut tree).unwrap();
    let mut writer = SegmentWriter::new(codec, tree.written(), &base);
    let cut = if codec == Codec::Stored { 32 } else { 16 };
    for (index, new) in MOO.chunks(cut).enumerate() {
        let spec = SegmentSpec {
            pieces: vec![Piece {
                write: 0,
                offset: (index * cut) as u64,
                len: new.len() as u64,
            }],
            base: Vec::new(),
            search: false,
        };
        writer.segment(&spec, &[], new, &[literal(new.len())]);
    }
    let mut header = Header::new(Action::Publish, Serial(7), Term(1));
    header.site = Some("shop".parse().unwrap());
    header.target = Some(first_target().manifest.version());
    header.content_len = MOO.len() as u64;
    header.encryption = key.map(|_| Encryption { salt: SALT });
    sealed_under(header, body, &writer.finish(), key)
}

fn split() -> [Vec<u8>; 2] {
    let base = Manifest::empty();
    let mut tree = Tree::new(&base);
    let body = body::encode(&first_commands(), &mut tree).unwrap();
    [1, 2].map(|number| {
        let mut writer = SegmentWriter::new(Codec::Stored, tree.written(), &base);
        let offset = (number as usize - 1) * 16;
        let new = &MOO[offset..offset + 16];
        let spec = SegmentSpec {
            pieces: vec![Piece {
                write: 0,
                offset: offset as u64,
                len: 16,
            }],
            base: Vec::new(),
            search: false,
        };
        writer.segment(&spec, &[], new, &[literal(16)]);
        let mut header = Header::new(Action::Publish, Serial(6 + u64::from(number)), Term(1));
        header.site = Some("shop".parse().unwrap());
        header.target = Some(first_target().manifest.version());
        header.content_len = MOO.len() as u64;
        header.part = Part { number, count: 2 };
        let body = if number == 1 {
            body.clone()
        } else {
            Vec::new()
        };
        sealed(header, body, &writer.finish())
    })
}

fn second_base() -> Manifest {
    let directory = || Entry::Directory {
        mode: mode(0o755),
        owner: None,
    };
    Manifest::from_entries([
        (path(b"a"), file(A_OLD)),
        (path(b"b"), file(B)),
        (path(b"gone"), file(b"")),
        (path(b"old"), directory()),
        (path(b"old/x"), file(b"")),
        (path(b"stale"), directory()),
        (path(b"stale/y"), file(b"")),
    ])
    .unwrap()
}

fn second_commands() -> Vec<Command> {
    vec![
        Command::RemoveFile {
            path: path(b"gone"),
        },
        Command::RemoveDirectory {
            path: path(b"stale"),
        },
        Command::Move {
            from: path(b"old"),
            to: path(b"new"),
        },
        Command::CreateDirectory {
            path: path(b"fresh"),
            mode: mode(0o755),
            owner: None,
        },
        Command::Copy {
            from: path(b"b"),
            to: path(b"fresh/b"),
        },
        Command::SetAttributes {
            path: path(b"fresh/b"),
            mode: mode(0o444),
            owner: None,
            modified: None,
        },
        Command::WriteFile(WriteFile {
            path: path(b"fresh/c"),
            mode: mode(0o644),
            owner: None,
            size: C.len() as u64,
            modified: Timestamp::new(1_700_000_060, 0).unwrap(),
            base: Some(path(b"b")),
        }),
        Command::Symlink {
            path: path(b"fresh/l"),
            target: (*b"../b").into(),
            owner: Some(www()),
        },
        Command::SetAttributes {
            path: path(b"b"),
            mode: mode(0o600),
            owner: Some(www()),
            modified: Some(Timestamp::new(1_600_000_000, 0).unwrap()),
        },
        Command::WriteFile(WriteFile {
            path: path(b"a"),
            mode: mode(0o644),
            owner: None,
            size: A_NEW.len() as u64,
            modified: Timestamp::new(1_700_000_060, 0).unwrap(),
            base: Some(path(b"a")),
        }),
    ]
}

fn second_target() -> Farm {
    Farm {
        files: contents([("a", A_NEW), ("fresh/c", C)]),
        manifest: applied(&second_base(), &second_commands(), &[C, A_NEW]),
    }
}

fn second(base: &Farm) -> Vec<u8> {
    let mut tree = Tree::new(&base.manifest);
    let body = body::encode(&second_commands(), &mut tree).unwrap();
    let mut writer = SegmentWriter::new(Codec::Stored, tree.written(), &base.manifest);
    let range = |name: &[u8], offset, len| BaseRange {
        path: path(name),
        offset,
        len,
    };
    let piece = |write, len: usize| {
        vec![Piece {
            write,
            offset: 0,
            len: len as u64,
        }]
    };
    let named = SegmentSpec {
        pieces: piece(0, C.len()),
        base: vec![range(b"b", 4, 6), range(b"b", 35, 8)],
        search: false,
    };
    let whole = |len| Match {
        literal_len: 0,
        base_start: 0,
        len,
    };
    writer.segment(
        &named,
        &[&B[4..10], &B[35..43]].concat(),
        C,
        &[whole(C.len() as u32)],
    );
    let implied = SegmentSpec {
        pieces: piece(1, A_NEW.len()),
        base: vec![range(b"a", 0, A_OLD.len() as u64)],
        search: false,
    };
    writer.segment(
        &implied,
        A_OLD,
        A_NEW,
        &[whole(A_OLD.len() as u32), literal(1)],
    );
    let mut header = Header::new(Action::Publish, Serial(9), Term(1));
    header.site = Some("shop@media".parse().unwrap());
    header.group = Some("edge".parse().unwrap());
    header.job = Some("job-7".parse().unwrap());
    header.base = Some(base.manifest.version());
    header.target = Some(second_target().manifest.version());
    header.content_len = (C.len() + A_NEW.len()) as u64;
    sealed(header, body, &writer.finish())
}

/// Reads a vector as a node does and finds what it should bring.
fn arrives(name: &str, base: &Farm, target: &Farm, key: Option<&ContentKey>) {
    let (written, manifest) = read(base, &[vector(name)], &trusted(), key).unwrap();
    assert_eq!(manifest, target.manifest, "{name}");
    assert_eq!(written, target.files, "{name}");
}

fn applied(base: &Manifest, commands: &[Command], written: &[&[u8]]) -> Manifest {
    let mut tree = Tree::new(base);
    commands
        .iter()
        .for_each(|command| tree.apply(command).unwrap());
    let contents = written
        .iter()
        .map(|content| (content.len() as u64, Hash::of(content)));
    tree.finish(&contents.collect::<Vec<_>>()).unwrap()
}

fn sealed(header: Header, body: Vec<u8>, data: &[u8]) -> Vec<u8> {
    sealed_under(header, body, data, None)
}

fn sealed_under(
    mut header: Header,
    body: Vec<u8>,
    data: &[u8],
    key: Option<&ContentKey>,
) -> Vec<u8> {
    let mut writer = DataWriter::new(key.zip(header.encryption.as_ref()));
    let mut sent = Vec::new();
    writer.write(data, &mut sent);
    let blocks = writer.finish(&mut header, &mut sent);
    let head = Head {
        header,
        body,
        blocks,
    };
    let signing = SigningKey::from_seed(SIGNING_SEED);
    let (_, mut bytes) = head.encode(Effort::Fast, Some(&signing), key);
    bytes.extend(sent);
    bytes
}

fn trusted() -> Trust {
    Trust::Keys(vec![SigningKey::from_seed(SIGNING_SEED).public()])
}

fn path(bytes: &[u8]) -> TreePath {
    TreePath::new(bytes).unwrap()
}

fn contents<const N: usize>(files: [(&str, &[u8]); N]) -> BTreeMap<TreePath, Vec<u8>> {
    let files = files.map(|(name, content)| (path(name.as_bytes()), content.to_vec()));
    files.into()
}

fn mode(bits: u32) -> Mode {
    Mode::new(bits).unwrap()
}

fn time() -> Timestamp {
    Timestamp::new(1_700_000_000, 5).unwrap()
}

fn www() -> Arc<Owner> {
    let (user, group) = ("www".to_owned(), "web".to_owned());
    Arc::new(Owner { user, group })
}

fn file(content: &[u8]) -> Entry {
    Entry::File(File {
        mode: mode(0o644),
        owner: None,
        size: content.len() as u64,
        hash: Hash::of(content),
        modified: time(),
    })
}

fn literal(len: usize) -> Match {
    Match {
        literal_len: len as u32,
        base_start: 0,
        len: 0,
    }
}
