//! What people type or paste: keys, names, versions, sizes.

use bellwether_types::{ByteSize, Name, SitePart, TreePath, VersionId};
use bellwether_wire::{ContentKey, PublicKey, SigningKey};

/// What is understood reads back from its own text.
pub(crate) fn run(input: &[u8]) {
    if let Ok(path) = TreePath::new(input) {
        assert_eq!(path.as_bytes(), input);
        let _ = path.to_string();
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_text().parse(), Ok(key));
    }
    if let Ok(key) = text.parse::<SigningKey>() {
        let again: SigningKey = key.to_text().parse().expect("a key's text is a key");
        assert_eq!(again.public(), key.public());
    }
    if let Ok(key) = text.parse::<ContentKey>() {
        assert_eq!(key.to_text().trim(), text.trim().to_ascii_lowercase());
    }
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(site) = text.parse::<SitePart>() {
        assert_eq!(site.to_string().parse(), Ok(site));
    }
    if let Ok(version) = text.parse::<VersionId>() {
        assert_eq!(version.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(size) = text.parse::<ByteSize>() {
        let _ = size.to_string();
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let signing = SigningKey::from_seed([1; 32]);
    let mut seeds = vec![
        signing.to_text(),
        signing.public().to_text(),
        ContentKey::from_bytes([2; 32]).to_text(),
        "ab".repeat(32),
    ];
    let words = [
        "shop",
        "shop@media",
        "512K",
        "1.5 MiB",
        "10GB",
        "a/b/c",
        "../x",
    ];
    seeds.extend(words.map(str::to_owned));
    seeds.into_iter().map(String::into_bytes).collect()
}
