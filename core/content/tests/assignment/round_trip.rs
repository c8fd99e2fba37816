use bellwether_content::assignment::{self, Causes, Trust};
use bellwether_delta::Effort;
use bellwether_wire::{ContentKey, SigningKey};

use bellwether_kit::farm::{Farm, Files, Making, make, noise, read};

fn text(lines: usize, version: &str) -> Vec<u8> {
    (0..lines)
        .map(|i| format!("line {i} of release {version}\n"))
        .collect::<String>()
        .into()
}

fn base() -> Farm {
    Farm::new(&Files::from([
        ("index.html", text(900, "6.1.187")),
        ("img/logo.png", noise(1, 30_000)),
        ("lib/big.bin", noise(2, 900_000)),
        ("lib/gone.txt", text(10, "1")),
        ("old/name.js", text(500, "9")),
    ]))
}

fn target() -> Farm {
    let mut big = noise(2, 900_000);
    big[400_000..400_100].copy_from_slice(&noise(3, 100));
    big.splice(100..100, noise(4, 33));
    Farm::new(&Files::from([
        ("index.html", text(900, "6.1.190")),
        ("img/logo.png", noise(5, 31_000)),
        ("lib/big.bin", big),
        ("lib/empty", Vec::new()),
        ("new/name.js", text(500, "9")),
        ("new/added.css", text(300, "2")),
    ]))
}

fn travels(base: &Farm, target: &Farm, making: &Making<'_>, trust: &Trust) -> usize {
    let parts = make(base, target, making);
    let (written, manifest) = read(base, &parts, trust, making.content_key).unwrap();
    assert_eq!(manifest, target.manifest);
    for (path, content) in written {
        assert_eq!(content, target.files[&path], "{path}");
    }
    parts.iter().map(Vec::len).sum()
}

/// ASSIGN-01, ASSIGN-13, COMP-03, CRYPT-01, DELTA-05, DELTA-07: every codec, with and without signature and encryption.
#[test]
fn what_arrives_is_what_was_meant() {
    let signing = SigningKey::from_seed([1; 32]);
    let content_key = ContentKey::from_bytes([2; 32]);
    for effort in [Effort::Fast, Effort::Default, Effort::Max] {
        for (signing, content_key) in [
            (None, None),
            (Some(&signing), None),
            (None, Some(&content_key)),
            (Some(&signing), Some(&content_key)),
        ] {
            let trust = signing.map_or(Trust::Anyone, |key| Trust::Keys(vec![key.public()]));
            let making = Making {
                effort,
                signing,
                content_key,
                ..Making::default()
            };
            travels(&base(), &target(), &making, &trust);
            travels(&Farm::default(), &target(), &making, &trust);
            travels(&target(), &target(), &making, &trust);
        }
    }
}

/// DELTA-04, DELTA-06.
#[test]
fn a_small_edit_sends_few_bytes() {
    let mut content = noise(1, 8_000_000);
    let before = Farm::new(&Files::from([("big", content.clone())]));
    content[4_000_000] ^= 1;
    let after = Farm::new(&Files::from([("big", content)]));
    let len = travels(&before, &after, &Making::default(), &Trust::Anyone);
    assert!(len < 600, "{len}");
}

/// DELTA-08: shrinking, growing, and an insertion at the front.
#[test]
fn files_may_shrink_grow_and_shift() {
    let content = noise(1, 300_000);
    let shifted = [noise(2, 1000), content.clone()].concat();
    let contents = [
        vec![],
        content[..1].to_vec(),
        content[..150_000].to_vec(),
        content,
        shifted,
    ];
    for before in &contents {
        for after in &contents {
            let farm = |content: &Vec<u8>| Farm::new(&Files::from([("f", content.clone())]));
            travels(
                &farm(before),
                &farm(after),
                &Making::default(),
                &Trust::Anyone,
            );
        }
    }
}

/// What `inspect` shows: bytes of new files are not counted as those of the patched ones beside
/// which they stand.
#[test]
fn bytes_are_counted_by_what_they_are_for() {
    let before = Farm::new(&Files::from([
        ("a.html", text(300, "6.1.187")),
        ("c.html", text(300, "6.1.187")),
        ("d.html", noise(6, 5000)),
    ]));
    let after = Farm::new(&Files::from([
        ("a.html", text(300, "6.1.190")),
        ("b.html", noise(7, 20_000)),
        ("c.html", text(300, "6.1.190")),
        ("d.html", noise(6, 5000)),
        ("e.html", noise(6, 5000)),
    ]));
    for effort in [Effort::Fast, Effort::Default, Effort::Max] {
        let making = Making {
            effort,
            ..Making::default()
        };
        let parts = make(&before, &after, &making);
        let opened = assignment::open(parts[0].as_slice(), &Trust::Anyone, None).unwrap();
        let Causes { new, patch } = assignment::causes(opened.data).unwrap();
        assert!((20_000..20_100).contains(&new), "{effort:?}: {new}");
        assert!((1..4000).contains(&patch), "{effort:?}: {patch}");
    }
}

/// ASSIGN-12.
#[test]
fn a_large_update_is_split_at_the_limit() {
    let after = Farm::new(&Files::from([
        ("a", noise(1, 4_000_000)),
        ("b", noise(2, 6_000_000)),
    ]));
    let limit = 1 << 20;
    let making = Making {
        size_max: Some(limit),
        ..Making::default()
    };
    let parts = make(&Farm::default(), &after, &making);
    assert!(parts.len() >= 10, "{}", parts.len());
    assert!(parts.iter().all(|part| part.len() as u64 <= limit));
    let (written, manifest) = read(&Farm::default(), &parts, &Trust::Anyone, None).unwrap();
    assert_eq!(manifest, after.manifest);
    assert!(
        written
            .iter()
            .all(|(path, content)| *content == after.files[path])
    );
    // Without a part, or in another order, nothing comes out.
    let mut missing = parts.clone();
    missing.remove(3);
    assert!(read(&Farm::default(), &missing, &Trust::Anyone, None).is_err());
    let mut swapped = parts;
    swapped.swap(4, 5);
    assert!(read(&Farm::default(), &swapped, &Trust::Anyone, None).is_err());
}

/// COMP-01, COMP-02, COMP-03, ASSIGN-06: what is not to be compressed is there as it is, beside
/// what is.
#[test]
fn types_that_are_not_to_be_compressed_are_sent_as_they_are() {
    let page = text(2000, "1");
    let farm = Farm::new(&Files::from([
        ("a.gif", page.clone()),
        ("a.html", page.clone()),
    ]));
    let compressible = |path: &bellwether_types::TreePath| !path.as_bytes().ends_with(b".gif");
    let making = Making {
        compressible: &compressible,
        ..Making::default()
    };
    let parts = make(&Farm::default(), &farm, &making);
    let contains = |needle: &[u8]| {
        parts[0]
            .windows(needle.len())
            .any(|window| window == needle)
    };
    assert!(contains(&page));
    assert!(parts[0].len() < page.len() * 5 / 4);
    travels(&Farm::default(), &farm, &making, &Trust::Anyone);
}

/// CRYPT-01, CRYPT-03.
#[test]
fn encrypted_content_and_names_are_not_to_be_seen() {
    let farm = Farm::new(&Files::from([(
        "secret-name.gif",
        b"secret content".to_vec(),
    )]));
    let content_key = ContentKey::from_bytes([2; 32]);
    let making = Making {
        content_key: Some(&content_key),
        compressible: &|_| false,
        ..Making::default()
    };
    let parts = make(&Farm::default(), &farm, &making);
    let contains = |needle: &[u8]| {
        parts[0]
            .windows(needle.len())
            .any(|window| window == needle)
    };
    assert!(!contains(b"secret"));

    // Who has no key can still prove and pass on every byte of it.
    let outline = assignment::outline(parts[0].as_slice(), &Trust::Anyone).unwrap();
    let (_, data) = parts[0].split_at(outline.head_len as usize);
    assert_eq!(data.len() as u64, outline.header.data_len);
    let blocks = data.chunks(assignment::block_len(data.len() as u64));
    assert!(
        blocks
            .map(bellwether_types::Hash::of)
            .eq(outline.blocks.0.iter().copied())
    );
    let mut changed = parts[0].clone();
    changed[outline.head_len as usize - 1] ^= 1;
    assignment::outline(changed.as_slice(), &Trust::Anyone).unwrap_err();
}

/// DELTA-10.
#[test]
fn a_rewritten_file_costs_no_more_than_itself() {
    let before = Farm::new(&Files::from([("f", noise(1, 1_000_000))]));
    let after = Farm::new(&Files::from([("f", noise(2, 1_000_000))]));
    let len = travels(&before, &after, &Making::default(), &Trust::Anyone);
    assert!(len < 1_001_500, "{len}");
}

/// DELTA-06, ASSIGN-02. Renaming a directory of 10,000 files costs at most 4 KiB, renaming each of them
/// unpredictably at most 1 KB for 100 files above the compressed names.
#[test]
fn renames_cost_little() {
    let tree = |name: &dyn Fn(usize) -> String| {
        let entries: Vec<(String, Vec<u8>)> = (0..10_000)
            .map(|i| (name(i), noise(i as u64 + 1, 20)))
            .collect();
        let leaked = entries.into_iter().map(|(name, content)| {
            let name: &'static str = name.leak();
            (name, content)
        });
        Farm::new(&leaked.collect())
    };
    let numbered = tree(&|i| format!("assets/{i:05}.css"));
    let moved = tree(&|i| format!("static/{i:05}.css"));
    let len = travels(&numbered, &moved, &Making::default(), &Trust::Anyone);
    assert!(len <= 4096, "{len}");

    let random_name = |i: usize| -> String {
        let hex: String = noise(i as u64 + 77, 8)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        format!("assets/{hex}.css")
    };
    let renamed = tree(&random_name);
    let names: String = (0..10_000).map(|i| random_name(i) + "\n").collect();
    let names_len = zstd::bulk::compress(names.as_bytes(), 19).unwrap().len();
    let len = travels(&numbered, &renamed, &Making::default(), &Trust::Anyone);
    assert!(
        len <= names_len + 100 * 1000,
        "{len}, names alone {names_len}"
    );
}
