//! The commands of an assignment.

use bellwether_content::body;
use bellwether_content::planner::Hints;
use bellwether_content::tree::Tree;
use bellwether_content::update::{Coding, Update};
use bellwether_delta::Effort;
use bellwether_kit::farm::{Farm, Files};

use crate::draft;

/// What is a body is read again from what is written of it, and does the same.
pub(crate) fn run(input: &[u8]) {
    let _ = body::count(input);
    let base = &draft::base().manifest;
    let mut tree = Tree::new(base);
    let Ok(commands) = body::decode(input, &mut tree) else {
        return;
    };
    let encoded = body::encode(&commands, &mut Tree::new(base)).expect("the commands apply");
    let mut again = Tree::new(base);
    let read = body::decode(&encoded, &mut again).expect("what was written reads");
    assert_eq!(read, commands);
    assert!(
        tree.iter().eq(again.iter()),
        "the same commands, another tree"
    );
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let targets = [
        Files::from([
            ("a", b"0123456789ABCDEF".to_vec()),
            ("fresh/c", b"quick lazy dog".to_vec()),
            ("new/x", Vec::new()),
            ("b", b"the quick brown fox jumps over the lazy dog".to_vec()),
        ]),
        Files::new(),
        Files::from([("old/a", b"0123456789abcdef".to_vec()), ("stale", vec![1])]),
    ];
    let bodies = targets.iter().map(|files| {
        let coding = Coding {
            effort: Effort::Default,
            size_max: None,
        };
        let (base, target) = (&draft::base().manifest, Farm::new(files).manifest);
        let update = Update::plan(base, &target, &Hints::NONE, coding);
        update
            .expect("any two trees can be planned")
            .body()
            .to_vec()
    });
    // The bodies of the document, which have every operation.
    let documented = ["stored", "patch"].map(|name| {
        let bytes = bellwether_kit::document::vector(name);
        let trust = bellwether_content::assignment::Trust::Anyone;
        let opened = bellwether_content::assignment::open(bytes.as_slice(), &trust, None);
        opened.expect("vectors are assignments").body
    });
    bodies.chain(documented).collect()
}
