//! What an assignment says of itself.

use crate::place::Place;
use crate::tree;

/// Sent for one page that was edited, one file that is new, and one that is a copy of another.
#[test]
fn bytes_are_shown_by_cause() {
    let place = Place::new();
    for (name, title) in [("old", "One"), ("new", "Two")] {
        tree::page(&place.at(name), "index.html", title, 1_700_000_000);
        let twin = tree::noise(1, 9000);
        tree::file(&place.at(name), "twin.html", &twin, 0o644, 1_700_000_000);
    }
    let (new, twin) = (tree::noise(2, 20_000), tree::noise(1, 9000));
    tree::file(&place.at("new"), "added.html", &new, 0o644, 1_700_000_000);
    tree::file(&place.at("new"), "twin2.html", &twin, 0o644, 1_700_000_000);
    place.done("keygen sign ops");
    place.done("plan --old old --new new --out update --sign ops.key");

    let shown = place.done("inspect update");
    let bytes = |field: &str| shown[field].as_u64().unwrap();
    assert!((20_000..20_100).contains(&bytes("new_bytes")), "{shown}");
    assert!((1..400).contains(&bytes("patch_bytes")), "{shown}");
    let framing = bytes("data_bytes") - bytes("new_bytes") - bytes("patch_bytes");
    assert!(framing < 60, "{shown}");
    let commands = shown["commands"].as_array().unwrap();
    let count = |command: &str| {
        let counted = commands
            .iter()
            .find(|counted| counted["command"] == command);
        counted.map(|counted| counted["count"].as_u64().unwrap())
    };
    assert_eq!(count("copy"), Some(1), "{shown}");
    assert_eq!(count("patch file"), Some(1), "{shown}");
    assert_eq!(count("write file"), Some(1), "{shown}");

    let told = place.run("inspect update").out;
    let line = format!("{} for new content", bytes("new_bytes"));
    assert!(told.contains(&line), "{told}");
    assert!(told.contains("0 for 1 copy"), "{told}");
}
