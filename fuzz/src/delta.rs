//! Segments of content: decoding what anybody may have written, and coding what anybody may have.

use bellwether_delta::{Codec, Effort, GroupDecoder, GroupEncoder, Matcher, Pair};
use bellwether_kit::farm::noise;

/// The bases that a segment may name.
fn bases() -> [Vec<u8>; 3] {
    let text = "the quick brown fox jumps over the lazy dog; ".repeat(30);
    [Vec::new(), text.into_bytes(), noise(1, 3000)]
}

/// Longer segments only take time.
const NEW_LEN_MASK: u16 = 0x3fff;

/// `codec · segment*`, by the two codecs that send parts.
pub(crate) fn parted(input: &[u8]) {
    if let Some((&codec, segments)) = input.split_first() {
        let codec = if codec & 1 == 0 {
            Codec::Stored
        } else {
            Codec::Zstd { level: 1 }
        };
        decode(codec, segments);
    }
}

/// `segment*`, by the codec that mixes.
pub(crate) fn mixing(input: &[u8]) {
    decode(Codec::Mixing, input);
}

/// A segment is `base · new length (2) · payload length (2) · payload`. It comes out as long as it
/// says, or there is an error, and nothing more than that was written.
fn decode(codec: Codec, mut rest: &[u8]) {
    let bases = bases();
    let mut decoder = GroupDecoder::new(codec);
    while let Some((&[base, a, b, c, d], after)) = rest.split_first_chunk() {
        let base = &bases[usize::from(base) % bases.len()];
        let new_len = usize::from(u16::from_le_bytes([a, b]) & NEW_LEN_MASK);
        let payload_len = usize::from(u16::from_le_bytes([c, d])).min(after.len());
        let (payload, after) = after.split_at(payload_len);
        rest = after;
        let mut new = b"kept".to_vec();
        let decoded = decoder.segment(base, new_len, payload, &mut new);
        assert!(new.starts_with(b"kept") && new.len() <= 4 + new_len);
        if decoded.is_err() {
            return;
        }
        assert_eq!(new.len(), 4 + new_len);
    }
}

/// `choices · base length (2) · base · new`: content comes back whatever it is, by each effort.
pub(crate) fn code(input: &[u8]) {
    let Some((&[choices, a, b], rest)) = input.split_first_chunk() else {
        return;
    };
    let base_len = usize::from(u16::from_le_bytes([a, b])).min(rest.len());
    let (base, new) = rest.split_at(base_len);
    let effort = [Effort::Fast, Effort::Default, Effort::Max][usize::from(choices) % 3];
    let codec = [Codec::of(effort, 0), Codec::Stored][usize::from(choices >> 7)];
    let pair = Pair {
        new_start: 0,
        new_len: new.len() as u32,
        base_start: 0,
        base_len: base.len() as u32,
    };
    let pairs = if choices & 64 == 0 { &[pair][..] } else { &[] };
    let matches = Matcher::new(effort).segment(base, new, pairs);
    let (mut encoder, mut decoder) = (GroupEncoder::new(codec), GroupDecoder::new(codec));
    // Twice: the second time with what the first one taught.
    for _ in 0..2 {
        let mut payload = Vec::new();
        encoder.segment(base, new, &matches, &mut payload);
        let mut decoded = Vec::new();
        let done = decoder.segment(base, new.len(), &payload, &mut decoded);
        done.expect("what was coded decodes");
        assert!(decoded == new);
    }
}

pub(crate) fn seeds_of_parted() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for effort in [Effort::Fast, Effort::Default, Effort::Max] {
        for codec in [Codec::Stored, Codec::Zstd { level: 19 }] {
            seeds.push([vec![codec.id()], segments(effort, codec)].concat());
        }
    }
    seeds
}

pub(crate) fn seeds_of_mixing() -> Vec<Vec<u8>> {
    vec![segments(Effort::Max, Codec::Mixing)]
}

/// A segment against each base.
fn segments(effort: Effort, codec: Codec) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GroupEncoder::new(codec);
    for (base, index) in bases().iter().zip(0_u8..) {
        let new = [&base[base.len() / 3..], b"and something new", base].concat();
        let new = &new[..new.len().min(700)];
        let matches = Matcher::new(effort).segment(base, new, &[]);
        let mut payload = Vec::new();
        encoder.segment(base, new, &matches, &mut payload);
        bytes.push(index);
        for len in [new.len(), payload.len()] {
            let len = u16::try_from(len).expect("samples are small");
            bytes.extend(len.to_le_bytes());
        }
        bytes.extend(payload);
    }
    bytes
}

/// Pairs of contents that are alike.
pub(crate) fn texts() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for choices in [0, 1, 2, 64, 65, 66, 128] {
        for base in bases() {
            let base = &base[..base.len().min(400)];
            let mut new = base.to_vec();
            new.iter_mut().step_by(37).for_each(|byte| *byte ^= 3);
            new.extend_from_slice(b"and something new");
            let base_len = (base.len() as u16).to_le_bytes();
            seeds.push([&[choices], &base_len[..], base, &new].concat());
        }
    }
    seeds
}
