use bellwether_content::assignment::{
    Action, DataWriter, Head, Header, OpenError, SegmentError, Trust,
};
use bellwether_content::body::{self, DecodeBodyError, FieldError};
use bellwether_content::command::{Command, WriteFile};
use bellwether_content::manifest::{Manifest, Mode, Timestamp};
use bellwether_content::tree::{ApplyError, Tree};
use bellwether_delta::Effort;
use bellwether_types::{Serial, Term, TreePath};
use bellwether_wire::{ContentKey, SigningKey};

use bellwether_kit::farm::{Farm, Files, Making, ReadError, make, read};

fn small() -> (Farm, Farm) {
    let base = Farm::new(&Files::from([
        ("a", b"before".repeat(9)),
        ("b/c", b"same".to_vec()),
    ]));
    let target = Farm::new(&Files::from([
        ("a", b"after!".repeat(9)),
        ("b/d", b"new".to_vec()),
    ]));
    (base, target)
}

fn both_ways(check: impl Fn(&Farm, &[u8], &Trust, Option<&ContentKey>)) {
    let (base, target) = small();
    let signing = SigningKey::from_seed([1; 32]);
    let content_key = ContentKey::from_bytes([2; 32]);
    let plain = make(&base, &target, &Making::default());
    check(&base, &plain[0], &Trust::Anyone, None);
    let making = Making {
        signing: Some(&signing),
        content_key: Some(&content_key),
        ..Making::default()
    };
    let sealed = make(&base, &target, &making);
    check(
        &base,
        &sealed[0],
        &Trust::Keys(vec![signing.public()]),
        Some(&content_key),
    );
    // Without a key to compare with, the signature that is there must still hold.
    check(&base, &sealed[0], &Trust::Anyone, Some(&content_key));
}

/// INTERP-07, ASSIGN-05.
#[test]
fn truncated_at_any_byte_is_refused() {
    both_ways(|base, bytes, trust, key| {
        read(base, &[bytes.to_vec()], trust, key).unwrap();
        for len in 0..bytes.len() {
            assert!(
                read(base, &[bytes[..len].to_vec()], trust, key).is_err(),
                "{len}"
            );
        }
    });
}

/// CRYPT-02, ASSIGN-05.
#[test]
fn any_flipped_bit_is_refused() {
    both_ways(|base, bytes, trust, key| {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                assert!(
                    read(base, &[flipped], trust, key).is_err(),
                    "byte {at}, bit {bit}"
                );
            }
        }
    });
}

#[test]
fn bytes_behind_the_data_file_are_refused() {
    both_ways(|base, bytes, trust, key| {
        let longer = [bytes, &[0]].concat();
        assert!(matches!(
            read(base, &[longer], trust, key),
            Err(ReadError::Open(OpenError::LeftOver)
                | ReadError::Segment(SegmentError::Open(OpenError::LeftOver)))
        ));
    });
}

#[test]
fn only_the_trusted_key_is_trusted() {
    let (base, target) = small();
    let [ours, theirs] = [1, 2].map(|seed| SigningKey::from_seed([seed; 32]));
    let making = Making {
        signing: Some(&theirs),
        ..Making::default()
    };
    let forged = make(&base, &target, &making);
    let unsigned = make(&base, &target, &Making::default());
    let trust = Trust::Keys(vec![ours.public()]);
    assert!(matches!(
        read(&base, &forged, &trust, None),
        Err(ReadError::Open(OpenError::Untrusted { .. }))
    ));
    assert!(matches!(
        read(&base, &unsigned, &trust, None),
        Err(ReadError::Open(OpenError::Unsigned { .. }))
    ));
}

#[test]
fn a_missing_or_wrong_content_key_is_said() {
    let (base, target) = small();
    let [ours, theirs] = [1, 2].map(|byte| ContentKey::from_bytes([byte; 32]));
    let making = Making {
        content_key: Some(&ours),
        ..Making::default()
    };
    let sealed = make(&base, &target, &making);
    assert!(matches!(
        read(&base, &sealed, &Trust::Anyone, None),
        Err(ReadError::Open(OpenError::KeyNeeded))
    ));
    assert!(matches!(
        read(&base, &sealed, &Trust::Anyone, Some(&theirs)),
        Err(ReadError::Open(OpenError::Unseal(..)))
    ));
}

/// DELTA-08: a node on another base makes nothing of it.
#[test]
fn another_base_is_refused() {
    let (base, target) = small();
    let parts = make(&base, &target, &Making::default());
    let other = Farm::new(&Files::from([
        ("a", b"edited".repeat(9)),
        ("b/c", b"same".to_vec()),
    ]));
    for other in [other, Farm::default()] {
        assert!(matches!(
            read(&other, &parts, &Trust::Anyone, None),
            Err(ReadError::Base)
        ));
    }
}

/// ASSIGN-16: signed or not, no command leads out of the tree, by its name or through a link.
#[test]
fn commands_that_leave_the_tree_are_refused() {
    let directory = |path: &[u8]| Command::CreateDirectory {
        path: TreePath::new(path).unwrap(),
        mode: Mode::new(0o755).unwrap(),
        owner: None,
    };
    let link = |path: &[u8], target: &[u8]| Command::Symlink {
        path: TreePath::new(path).unwrap(),
        target: target.into(),
        owner: None,
    };
    // Names that cannot be spelled as paths are put in afterwards.
    for name in [b"..", b"/a", b"a\0", b"./", b"a/"] {
        let body = carried_out(&[directory(b"zz")]).unwrap();
        let at = body.windows(2).position(|two| two == b"zz").unwrap();
        let mut bad = body;
        bad[at..at + 2].copy_from_slice(name);
        let error = received(bad).unwrap_err();
        assert!(matches!(
            error,
            ReadError::Body(DecodeBodyError::Field {
                index: 0,
                fault: FieldError::Path(_)
            })
        ));
    }
    for target in ["/etc", "..", "a/../../etc", "a\0"] {
        let body = carried_out(&[link(b"out", target.as_bytes())]).unwrap();
        let error = received(body).unwrap_err();
        assert!(
            matches!(error, ReadError::Apply(ApplyError::Tree(_))),
            "{error:?}"
        );
    }
    // The planner's own code refuses the rest, and nodes share it.
    for through in [
        directory(b"link/in"),
        link(b"link/in", b"a"),
        Command::Move {
            from: TreePath::new(*b"dir").unwrap(),
            to: TreePath::new(*b"link/in").unwrap(),
        },
    ] {
        let error = carried_out(&[directory(b"dir"), link(b"link", b"dir"), through]);
        assert!(matches!(error, Err(ApplyError::Parent(_))), "{error:?}");
    }
}

/// The body of these commands.
fn carried_out(commands: &[Command]) -> Result<Vec<u8>, ApplyError> {
    body::encode(commands, &mut Tree::new(&Manifest::empty()))
}

/// What a node without anything makes of a body.
fn received(body: Vec<u8>) -> Result<(), ReadError> {
    let mut header = Header::new(Action::Publish, Serial(1), Term(1));
    header.target = Some(Manifest::empty().version());
    let head = Head {
        blocks: DataWriter::new(None).finish(&mut header, &mut Vec::new()),
        header,
        body,
    };
    let (_, bytes) = head.encode(Effort::Fast, None, None);
    read(&Farm::default(), &[bytes], &Trust::Anyone, None).map(drop)
}

/// Sizes are claims: together they may be more than there is.
#[test]
fn sizes_beyond_all_measure_are_refused() {
    let writes = [b"a", b"b"].map(|name| {
        Command::WriteFile(WriteFile {
            path: TreePath::new(*name).unwrap(),
            mode: Mode::new(0o644).unwrap(),
            owner: None,
            size: u64::MAX,
            modified: Timestamp::default(),
            base: None,
        })
    });
    assert!(matches!(
        received(carried_out(&writes).unwrap()),
        Err(ReadError::Segment(SegmentError::TooLittle {
            missing: u64::MAX
        }))
    ));
}
