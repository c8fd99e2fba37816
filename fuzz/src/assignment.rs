//! A whole assignment, read as a node does but without a disk.

use bellwether_content::assignment;
use bellwether_content::body;
use bellwether_content::tree::Tree;
use bellwether_kit::farm::build;

use crate::draft::{self, Draft};

/// More content only takes time and room.
pub(crate) const CONTENT_LEN_MAX: u64 = 1 << 20;

/// Refused, or as many bytes as were announced.
pub(crate) fn run(input: &[u8]) {
    let Some((draft, header)) = Draft::read(input).and_then(|draft| {
        let header = draft.header()?;
        Some((draft, header))
    }) else {
        return;
    };
    let trust = draft::trust(&header);
    let bytes = draft.sealed(header);
    if content_len(&bytes).is_some_and(|len| len > CONTENT_LEN_MAX) && !draft.brings_nothing() {
        return;
    }
    let key = draft::content_key();
    if let Ok(built) = build(draft::base(), &[bytes], &trust, Some(&key)) {
        for (write, content) in built.written.iter().zip(&built.contents) {
            assert_eq!(write.size, content.len() as u64, "{}", write.path);
        }
        let encoded = built.manifest.encode();
        let read = bellwether_content::Manifest::decode(&encoded).expect("a tree is a manifest");
        assert!(read == built.manifest);
    }
}

/// What the commands announce, if they can be read.
pub(crate) fn content_len(bytes: &[u8]) -> Option<u64> {
    let key = draft::content_key();
    let opened = assignment::open(bytes, &assignment::Trust::Anyone, Some(&key)).ok()?;
    let mut tree = Tree::new(&draft::base().manifest);
    if !opened.body.is_empty() {
        body::decode(&opened.body, &mut tree).ok()?;
    }
    let sizes = tree.written().iter().map(|write| write.size);
    Some(sizes.fold(0, u64::saturating_add))
}
