//! The manifest of a tree.

use bellwether_content::Manifest;
use bellwether_kit::document::vector;

use crate::draft;

/// One tree has one encoding: what is read is written again as it was.
pub(crate) fn run(input: &[u8]) {
    if let Ok(manifest) = Manifest::decode(input) {
        assert_eq!(manifest.encode(), input);
        for (path, _) in manifest.iter() {
            let names: Vec<&[u8]> = path.components().collect();
            assert!(
                !names
                    .iter()
                    .any(|name| [&b""[..], b".", b".."].contains(name))
            );
            assert!(
                names
                    .iter()
                    .all(|name| name.len() <= 255 && !name.contains(&0))
            );
            assert!(
                path.parent()
                    .is_none_or(|parent| manifest.get(&parent).is_some())
            );
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        vector("manifest"),
        draft::base().manifest.encode(),
        Manifest::empty().encode(),
    ]
}
