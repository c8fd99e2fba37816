//! Segments coded one after the other, each with the help of those before it.

use std::fmt;

use crate::error::DecodeError;
use crate::mixing::{MixDecoder, MixEncoder};
use crate::parted::{PartedDecoder, PartedEncoder};
use crate::{Effort, Match, SEGMENT_NEW_MAX};

/// How the parts of a group's segments become few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are: for content that no compressor gains on.
    Stored,
    /// As one zstd stream.
    Zstd {
        /// zstd's compression level. A decoder need not know it.
        level: i32,
    },
    /// By the context-mixing coder.
    Mixing,
}

/// More content than this, in bytes, is packed for speed where no effort is asked for.
const BULK_LEN: u64 = 32 << 20;

impl Codec {
    /// What an effort uses for an update that writes so many bytes of files without a base.
    pub fn of(effort: Effort, new_len: u64) -> Self {
        match effort {
            Effort::Fast => Self::Zstd { level: 1 },
            // A site's first publish: 7 % more bytes than at 19 in an eighth of the time.
            Effort::Default if new_len > BULK_LEN => Self::Zstd { level: 12 },
            Effort::Default => Self::Zstd { level: 19 },
            Effort::Max => Self::Mixing,
        }
    }

    /// Its number in an assignment.
    pub fn id(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Zstd { .. } => 1,
            Self::Mixing => 2,
        }
    }

    /// The codec of a number, for decoding.
    pub fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Stored),
            1 => Some(Self::Zstd { level: 0 }),
            2 => Some(Self::Mixing),
            _ => None,
        }
    }
}

/// Codes the segments of a group.
pub struct GroupEncoder(Encoder);

enum Encoder {
    Parted(PartedEncoder),
    Mixing(Box<MixEncoder>),
}

/// Decodes the segments of a group, in the order in which they were coded.
pub struct GroupDecoder(Decoder);

enum Decoder {
    Parted(PartedDecoder),
    Mixing(Box<MixDecoder>),
}

impl GroupEncoder {
    /// A group of its own, which knows nothing of other groups.
    pub fn new(codec: Codec) -> Self {
        Self(match codec {
            Codec::Stored => Encoder::Parted(PartedEncoder::new(None)),
            Codec::Zstd { level } => Encoder::Parted(PartedEncoder::new(Some(level))),
            Codec::Mixing => Encoder::Mixing(Box::default()),
        })
    }

    /// Appends the payload of one segment to `out`.
    ///
    /// # Panics
    /// When `matches` do not cover `new`, or leave `base`.
    pub fn segment(&mut self, base: &[u8], new: &[u8], matches: &[Match], out: &mut Vec<u8>) {
        match &mut self.0 {
            Encoder::Parted(encoder) => encoder.segment(base, new, matches, out),
            Encoder::Mixing(encoder) => encoder.segment(base, new, matches, out),
        }
    }
}

impl GroupDecoder {
    /// For a group that was coded with `codec`.
    pub fn new(codec: Codec) -> Self {
        Self(match codec {
            Codec::Stored => Decoder::Parted(PartedDecoder::new(true)),
            Codec::Zstd { .. } => Decoder::Parted(PartedDecoder::new(false)),
            Codec::Mixing => Decoder::Mixing(Box::default()),
        })
    }

    /// Appends the `new_len` bytes that `payload` makes of `base` to `new`. After an error the
    /// group cannot be continued.
    pub fn segment(
        &mut self,
        base: &[u8],
        new_len: usize,
        payload: &[u8],
        new: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if new_len > SEGMENT_NEW_MAX {
            return Err(DecodeError::Size {
                part: "new content",
                claimed: new_len as u64,
                limit: SEGMENT_NEW_MAX as u64,
            });
        }
        match &mut self.0 {
            Decoder::Parted(decoder) => decoder.segment(base, new_len, payload, new),
            Decoder::Mixing(decoder) => Ok(decoder.segment(base, new_len, payload, new)?),
        }
    }
}

impl fmt::Debug for GroupEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupEncoder").finish_non_exhaustive()
    }
}

impl fmt::Debug for GroupDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupDecoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::noise;
    use crate::varint;
    use crate::{Matcher, Pair};
    use proptest::prelude::*;

    const CODECS: [Codec; 3] = [
        Codec::Stored,
        Codec::Zstd { level: 1 },
        Codec::Zstd { level: 6 },
    ];

    /// A base and new content that was made from it by edits.
    fn edited() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let edit = (
            any::<prop::sample::Index>(),
            0usize..300,
            prop::collection::vec(any::<u8>(), 0..200),
        );
        (
            any::<u64>(),
            0usize..6000,
            any::<bool>(),
            prop::collection::vec(edit, 0..8),
        )
            .prop_map(|(seed, len, is_plain, edits)| {
                let mut base = noise(seed, len);
                if is_plain {
                    base.iter_mut().for_each(|byte| *byte &= 3);
                }
                let mut new = base.clone();
                for (at, cut, insert) in edits {
                    let start = at.index(new.len() + 1);
                    let end = (start + cut).min(new.len());
                    new.splice(start..end, insert);
                }
                (base, new)
            })
    }

    fn encode(codec: Codec, effort: Effort, segments: &[(Vec<u8>, Vec<u8>)]) -> Vec<Vec<u8>> {
        let mut encoder = GroupEncoder::new(codec);
        let payload = |(base, new): &(Vec<u8>, Vec<u8>)| {
            let whole = Pair {
                new_start: 0,
                new_len: new.len() as u32,
                base_start: 0,
                base_len: base.len() as u32,
            };
            let mut payload = Vec::new();
            let matches = Matcher::new(effort).segment(base, new, &[whole]);
            encoder.segment(base, new, &matches, &mut payload);
            payload
        };
        segments.iter().map(payload).collect()
    }

    proptest! {
        #[test]
        fn every_segment_of_a_group_comes_back(
            segments in prop::collection::vec(edited(), 1..4),
            codec in prop::sample::select(&CODECS[..]),
            effort in prop::sample::select(&[Effort::Fast, Effort::Default, Effort::Max][..]),
        ) {
            let payloads = encode(codec, effort, &segments);
            let mut decoder = GroupDecoder::new(codec);
            for ((base, new), payload) in segments.iter().zip(&payloads) {
                let mut out = b"kept".to_vec();
                decoder.segment(base, new.len(), payload, &mut out).unwrap();
                prop_assert_eq!(&out[..4], b"kept");
                prop_assert!(out[4..] == new[..]);
            }
        }

        #[test]
        fn a_flipped_byte_gives_an_error_or_as_many_wrong_bytes(
            (base, new) in edited(),
            codec in prop::sample::select(&CODECS[..]),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let segment = [(base, new)];
            let mut payload = encode(codec, Effort::Default, &segment).remove(0);
            let at = at.index(payload.len());
            payload[at] ^= flip;
            let [(base, new)] = segment;
            let mut out = Vec::new();
            if GroupDecoder::new(codec).segment(&base, new.len(), &payload, &mut out).is_ok() {
                prop_assert_eq!(out.len(), new.len());
            }
            prop_assert!(out.len() <= new.len());
        }

        #[test]
        fn noise_for_a_payload_is_refused_without_harm(
            payload in prop::collection::vec(prop_oneof![0u8..16, any::<u8>()], 0..200),
            new_len in 0usize..300,
            codec in prop::sample::select(&CODECS[..]),
        ) {
            let mut out = Vec::new();
            let result = GroupDecoder::new(codec).segment(&[7; 500], new_len, &payload, &mut out);
            prop_assert!(result.is_err() || out.len() == new_len);
            prop_assert!(out.len() <= new_len);
        }
    }

    #[test]
    fn a_first_publish_is_packed_for_speed_unless_effort_is_asked_for() {
        let differs = |effort| Codec::of(effort, BULK_LEN) != Codec::of(effort, BULK_LEN + 1);
        let efforts = [Effort::Fast, Effort::Default, Effort::Max].map(differs);
        assert_eq!(efforts, [false, true, false]);
    }

    #[test]
    fn a_payload_cut_anywhere_is_refused() {
        let base = noise(1, 3000);
        let mut new = [&base[..1000], b"inserted", &base[1200..]].concat();
        new[2000] ^= 1;
        for codec in CODECS {
            let segment = [(base.clone(), new.clone())];
            let payload = encode(codec, Effort::Default, &segment).remove(0);
            for len in 0..payload.len() {
                let mut out = Vec::new();
                let mut decoder = GroupDecoder::new(codec);
                let result = decoder.segment(&base, new.len(), &payload[..len], &mut out);
                assert!(result.is_err(), "cut at {len} of {}", payload.len());
            }
            let longer = [&payload[..], &[0]].concat();
            let result =
                GroupDecoder::new(codec).segment(&base, new.len(), &longer, &mut Vec::new());
            assert!(result.is_err());
        }
    }

    #[test]
    fn a_payload_that_claims_too_much_is_refused_before_it_is_believed() {
        let mut claims = Vec::new();
        varint::put(&mut claims, u32::MAX);
        varint::put(&mut claims, u32::MAX);
        for codec in CODECS {
            let mut decoder = GroupDecoder::new(codec);
            let error = decoder
                .segment(b"", 10, &claims, &mut Vec::new())
                .unwrap_err();
            assert!(
                matches!(
                    error,
                    DecodeError::Size {
                        part: "control",
                        ..
                    }
                ),
                "{error}"
            );
            let error = decoder
                .segment(b"", usize::MAX, &[], &mut Vec::new())
                .unwrap_err();
            assert!(
                matches!(
                    error,
                    DecodeError::Size {
                        part: "new content",
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn incompressible_content_costs_next_to_nothing() {
        let new = noise(1, 1 << 20);
        for codec in CODECS {
            let segment = [(Vec::new(), new.clone())];
            let payload = encode(codec, Effort::Default, &segment).remove(0);
            assert!(payload.len() <= new.len() + 32, "{} bytes", payload.len());
        }
    }

    #[test]
    fn stored_literals_leave_the_stream_whole_for_later_segments() {
        let text: Vec<u8> = noise(1, 4000).iter().map(|byte| b'a' + byte % 16).collect();
        let mixed = [&text[..2000], &noise(2, 20_000)].concat();
        let segments = [
            (text.clone(), mixed),
            (text.clone(), noise(3, 9_000)),
            (vec![], text),
        ];
        for codec in CODECS {
            let mut decoder = GroupDecoder::new(codec);
            for ((base, new), payload) in
                segments
                    .iter()
                    .zip(encode(codec, Effort::Default, &segments))
            {
                let mut out = Vec::new();
                decoder
                    .segment(base, new.len(), &payload, &mut out)
                    .unwrap();
                assert!(out == *new);
            }
        }
    }

    #[test]
    fn later_segments_profit_from_earlier_ones() {
        let text: Vec<u8> = noise(1, 4000).iter().map(|byte| b'a' + byte % 16).collect();
        let segment = (Vec::new(), text);
        let payloads = encode(
            Codec::Zstd { level: 6 },
            Effort::Default,
            &[segment.clone(), segment],
        );
        assert!(payloads[1].len() * 20 < payloads[0].len());
    }

    #[test]
    fn a_small_edit_is_a_small_payload() {
        let base = noise(1, 1 << 20);
        let mut new = base.clone();
        new[1000] ^= 1;
        new.splice(500_000..500_000, *b"inserted");
        new.drain(700_000..700_100);
        for effort in [Effort::Fast, Effort::Default, Effort::Max] {
            let segment = [(base.clone(), new.clone())];
            let payload = encode(Codec::of(effort, 0), effort, &segment).remove(0);
            assert!(payload.len() < 80, "{effort:?}: {} bytes", payload.len());
        }
    }
}
