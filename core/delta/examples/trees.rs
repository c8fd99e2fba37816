//! `trees OLD_DIR NEW_DIR [EFFORT]`: bytes and CPU seconds of a delta between two trees, for
//! comparing with other tools. Files are paired by path, small ones batched in (extension, path)
//! order; large ones are cut into segments against the same neighbourhood of their base.
#![allow(clippy::disallowed_methods, reason = "reads trees to measure with")]

use bellwether_delta::{
    CoarseIndex, Codec, Effort, GroupDecoder, GroupEncoder, Pair, SEGMENT_BASE_MAX,
    SEGMENT_NEW_MAX, match_segment, pairs_at_home,
};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Default)]
struct Segment {
    base: Vec<u8>,
    new: Vec<u8>,
    pairs: Vec<Pair>,
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [old, new, rest @ ..] = &args[..] else {
        panic!("usage: trees OLD_DIR NEW_DIR [fast|default|max]");
    };
    let (old, new) = (tree(Path::new(old)), tree(Path::new(new)));
    let start = cpu_seconds();
    let mut ranges_count = 0;
    let segments = segments(&old, &new, &mut ranges_count);
    println!(
        "{} segments, {} bytes, from {} bytes in {ranges_count} ranges, {:.3} s",
        segments.len(),
        segments
            .iter()
            .map(|segment| segment.new.len())
            .sum::<usize>(),
        segments
            .iter()
            .map(|segment| segment.base.len())
            .sum::<usize>(),
        cpu_seconds() - start,
    );
    for (name, effort) in [
        ("fast", Effort::Fast),
        ("default", Effort::Default),
        ("max", Effort::Max),
    ] {
        if rest.is_empty() || rest.iter().any(|only| only == name) {
            measure(name, effort, &segments);
        }
    }
}

fn measure(name: &str, effort: Effort, segments: &[Segment]) {
    let start = cpu_seconds();
    let matches: Vec<_> = segments
        .iter()
        .map(|segment| match_segment(effort, &segment.base, &segment.new, &segment.pairs))
        .collect();
    let matched = cpu_seconds();
    let codec = Codec::of(effort);
    let mut encoder = GroupEncoder::new(codec);
    let payloads: Vec<_> = segments
        .iter()
        .zip(&matches)
        .map(|(segment, matches)| {
            let mut payload = Vec::new();
            encoder.segment(&segment.base, &segment.new, matches, &mut payload);
            payload
        })
        .collect();
    let encoded = cpu_seconds();
    let mut decoder = GroupDecoder::new(codec);
    let mut new = Vec::new();
    for (segment, payload) in segments.iter().zip(&payloads) {
        new.clear();
        decoder
            .segment(&segment.base, segment.new.len(), payload, &mut new)
            .expect("what was encoded decodes");
        assert!(new == segment.new);
    }
    let decoded = cpu_seconds();
    println!(
        "{name:8} {:>9} bytes  match {:.3}  encode {:.3}  decode+compare {:.3}  steps {} literals {}",
        payloads.iter().map(Vec::len).sum::<usize>(),
        matched - start,
        encoded - matched,
        decoded - encoded,
        matches.iter().map(Vec::len).sum::<usize>(),
        matches
            .iter()
            .flatten()
            .map(|step| step.literal_len as usize)
            .sum::<usize>(),
    );
}

fn segments(
    old: &BTreeMap<(OsString, PathBuf), Vec<u8>>,
    new: &BTreeMap<(OsString, PathBuf), Vec<u8>>,
    ranges_count: &mut usize,
) -> Vec<Segment> {
    let empty = Vec::new();
    let mut segments = Vec::new();
    let mut open = Segment::default();
    for (path, content) in new {
        let base = old.get(path).unwrap_or(&empty);
        if base == content {
            continue;
        }
        if open.new.len() + content.len() > SEGMENT_NEW_MAX {
            segments.push(std::mem::take(&mut open));
        }
        if content.len() <= SEGMENT_NEW_MAX && base.len() <= SEGMENT_NEW_MAX {
            open.pairs.push(Pair {
                new_start: open.new.len() as u32,
                new_len: content.len() as u32,
                base_start: open.base.len() as u32,
                base_len: base.len() as u32,
            });
            open.new.extend_from_slice(content);
            open.base.extend_from_slice(base);
            continue;
        }
        let mut index = CoarseIndex::new(base.len() as u64);
        index.add(&base[..]).expect("memory is readable");
        index.seal();
        for (number, slice) in content.chunks(SEGMENT_NEW_MAX).enumerate() {
            let home = (0, (number * SEGMENT_NEW_MAX) as u64);
            let ranges = index.ranges(slice, Some(home), SEGMENT_BASE_MAX as u64);
            let mut segment = Segment {
                new: slice.to_vec(),
                ..Segment::default()
            };
            for range in &ranges {
                let bytes = &base[range.offset as usize..][..range.len as usize];
                segment.base.extend_from_slice(bytes);
            }
            segment.pairs = pairs_at_home(&ranges, home, slice.len() as u32);
            *ranges_count += ranges.len();
            segments.push(segment);
        }
    }
    segments.push(open);
    segments
}

fn tree(root: &Path) -> BTreeMap<(OsString, PathBuf), Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let entry = entry.expect("a readable folder");
            let kind = entry.file_type().expect("a known kind");
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let content = fs::read(&path).expect("a readable file");
                let short = path
                    .strip_prefix(root)
                    .expect("below the root")
                    .to_path_buf();
                let extension = path.extension().unwrap_or_default().to_owned();
                files.insert((extension, short), content);
            }
        }
    }
    files
}

/// CPU time of this process's only thread.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/schedstat").expect("Linux");
    let nanos = stat
        .split(' ')
        .next()
        .and_then(|first| first.parse::<f64>().ok());
    nanos.expect("a number") / 1e9
}
