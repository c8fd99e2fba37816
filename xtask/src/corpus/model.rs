//! A file like the weights of a model: nothing in it compresses, and an update rewrites some of its pages.

use anyhow::Result;

use super::Pair;
use crate::random::Random;

pub(super) const DIGESTS: [&str; 2] = [
    "689dd021296171f472778e784f2b61c3085ac6c09893090b83ecedb96a7e55aa",
    "1daa496ef2b5985cf64eed93381831029164f84136098f9037dd3dbc7958bc4e",
];

const PAGE: usize = 4096;
const PAGES: usize = 16_384;

/// 2 % of the pages, rounded down. Their bytes are the least that any delta must carry.
const REWRITTEN: usize = PAGES * 2 / 100;
pub(crate) const BOUND_BYTES: u64 = (REWRITTEN * PAGE) as u64;

pub(super) fn model(pair: &Pair) -> Result<()> {
    let mut random = Random(1);
    let mut bytes = vec![0; PAGES * PAGE];
    random.fill(&mut bytes);
    std::fs::write(pair.old.join("model.bin"), &bytes)?;
    let mut rewritten = std::collections::BTreeSet::new();
    while rewritten.len() < REWRITTEN {
        rewritten.insert(random.next() as usize % PAGES);
    }
    for page in rewritten {
        random.fill(&mut bytes[page * PAGE..][..PAGE]);
    }
    std::fs::write(pair.new.join("model.bin"), &bytes)?;
    Ok(())
}
