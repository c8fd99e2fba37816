//! Round trips, and payloads that no encoder wrote.

use super::*;
use proptest::prelude::*;

/// Encodes segments as one group, decodes them again and returns the payloads.
fn round_trip(segments: &[(Vec<u8>, Vec<u8>, Vec<Match>)]) -> Vec<Vec<u8>> {
    let mut encoder = MixEncoder::new();
    let mut decoder = MixDecoder::new();
    let code = |(base, new, matches): &(Vec<u8>, Vec<u8>, Vec<Match>)| {
        let mut payload = Vec::new();
        encoder.segment(base, new, matches, &mut payload);
        let mut decoded = b"before".to_vec();
        decoder
            .segment(base, new.len(), &payload, &mut decoded)
            .expect("an encoder wrote this");
        assert!(
            decoded.strip_prefix(b"before") == Some(new),
            "decoded differs"
        );
        payload
    };
    segments.iter().map(code).collect()
}

fn literal(new: Vec<u8>) -> (Vec<u8>, Vec<u8>, Vec<Match>) {
    let matches = vec![Match {
        literal_len: new.len() as u32,
        base_start: 0,
        len: 0,
    }];
    (Vec::new(), new, matches)
}

fn lined_up(base: Vec<u8>, new: Vec<u8>) -> (Vec<u8>, Vec<u8>, Vec<Match>) {
    let matches = vec![Match {
        literal_len: 0,
        base_start: 0,
        len: new.len() as u32,
    }];
    (base, new, matches)
}

/// Bytes without any pattern, the same on every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state ^ state >> 32)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn page(number: usize, version: &str) -> Vec<u8> {
    let title = format!("<html><title>Page {number} of the manual {version} (stable)</title>");
    [title.into_bytes(), noise(number as u64, 2000)].concat()
}

/// One valid segment with all that a payload can hold, and its payload.
fn specimen() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let base = [noise(1, 300), page(1, "6.1.187"), noise(2, 300)].concat();
    let mut new = [b"Preface. ".to_vec(), base.clone(), noise(3, 120)].concat();
    new[40] ^= 1;
    new[350] ^= 9;
    let matches = [
        Match {
            literal_len: 9,
            base_start: 0,
            len: base.len() as u32,
        },
        Match {
            literal_len: 120,
            base_start: 0,
            len: 0,
        },
    ];
    let mut payload = Vec::new();
    MixEncoder::new().segment(&base, &new, &matches, &mut payload);
    (base, new, payload)
}

/// A base, and steps that copy from it with mismatches and put in literals.
fn segment() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<Match>)> {
    let base = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..600),
        prop::collection::vec(
            prop::sample::select(b"\0\0\0\x10\xe8\xff abc".to_vec()),
            0..3000
        ),
    ];
    let step = (
        prop::collection::vec(any::<u8>(), 0..30),
        any::<(prop::sample::Index, prop::sample::Index)>(),
        any::<u64>(),
    );
    (base, prop::collection::vec(step, 0..12)).prop_map(|(base, steps)| {
        let (mut new, mut matches) = (Vec::new(), Vec::new());
        for (literal, (start, len), mismatches) in steps {
            let start = start.index(base.len() + 1);
            let len = len.index(base.len() - start + 1);
            new.extend_from_slice(&literal);
            let changed = base[start..start + len]
                .iter()
                .enumerate()
                .map(|(i, &byte)| byte ^ u8::from(mismatches >> (i % 61) & 7 == 7));
            new.extend(changed);
            matches.push(Match {
                literal_len: literal.len() as u32,
                base_start: start as u32,
                len: len as u32,
            });
        }
        (base, new, matches)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_segments_come_back(segments in prop::collection::vec(segment(), 1..4)) {
        round_trip(&segments);
    }

    #[test]
    fn any_payload_is_survived(base in prop::collection::vec(any::<u8>(), 0..200), payload in prop::collection::vec(any::<u8>(), 0..300), new_len in 0usize..5000) {
        let mut new = Vec::new();
        if MixDecoder::new().segment(&base, new_len, &payload, &mut new).is_ok() {
            prop_assert_eq!(new.len(), new_len);
        }
        prop_assert!(new.len() <= new_len);
    }
}

#[test]
fn empty_segments_take_no_bytes() {
    let payloads = round_trip(&[literal(Vec::new()), lined_up(b"old".to_vec(), Vec::new())]);
    assert!(payloads.iter().all(Vec::is_empty));
}

#[test]
fn noise_costs_its_own_size() {
    let len = 1 << 20;
    let payloads = round_trip(&[literal(noise(5, len))]);
    assert!(
        payloads[0].len() <= len + len / 2000,
        "{}",
        payloads[0].len()
    );
}

#[test]
fn exact_content_is_nearly_free() {
    let old = noise(6, 1 << 20);
    let payloads = round_trip(&[lined_up(old.clone(), old)]);
    assert!(payloads[0].len() <= 12, "{}", payloads[0].len());
}

#[test]
fn an_edit_on_every_page_is_learned() {
    let pages = |version| (0..500).flat_map(|n| page(n, version)).collect::<Vec<_>>();
    let segment = lined_up(pages("6.1.187"), pages("6.1.190"));
    let payloads = round_trip(&[segment.clone(), segment]);
    // Two changed bytes on each of 500 pages; the second time, all has been seen.
    assert!(payloads[0].len() <= 24, "{}", payloads[0].len());
    assert!(payloads[1].len() <= 10, "{}", payloads[1].len());
}

#[test]
fn calls_to_moved_code_are_computed() {
    // Functions of 200 bytes of noise around three calls each; sixteen bytes go in at the front,
    // and after every tenth function.
    let target = |n: usize, call: usize, stride: usize| (n * 31 + call * 17) % 400 * stride;
    let code = |inserted: usize| {
        let mut code = Vec::new();
        let mut matches = Vec::new();
        let place = |n: usize| n * 215 + (n / 10 + 1) * inserted;
        for n in 0..400 {
            if inserted > 0 && n % 10 == 0 {
                code.extend(noise(90_000 + n as u64, inserted));
                matches.push(Match {
                    literal_len: inserted as u32,
                    base_start: n as u32 * 215,
                    len: 2150,
                });
            }
            let body = noise(n as u64, 200);
            for call in 0..3 {
                code.extend(&body[call * 60..(call + 1) * 60]);
                code.push(0xe8);
                let to = place(target(n, call, 1)) as i32;
                let from = code.len() as i32 + 4;
                code.extend((to - from).to_le_bytes());
            }
            code.extend(&body[180..]);
        }
        (code, matches)
    };
    let ((base, _), (new, matches)) = (code(0), code(16));
    let payloads = round_trip(&[(base, new, matches)]);
    // 1,200 calls, most of them changed; the 640 bytes put in are noise.
    assert!(payloads[0].len() <= 640 + 160, "{}", payloads[0].len());
}

#[test]
fn every_truncation_is_refused_or_harmless() {
    let (base, new, payload) = specimen();
    for len in 0..payload.len() {
        let mut decoded = Vec::new();
        let done = MixDecoder::new().segment(&base, new.len(), &payload[..len], &mut decoded);
        assert!(
            done.is_err() || decoded != new,
            "the payload is shorter than it need be"
        );
        assert!(decoded.len() <= new.len());
    }
}

#[test]
fn every_flip_is_refused_or_shows() {
    let (base, new, payload) = specimen();
    // The last byte may name any number inside the last interval.
    for at in 0..(payload.len() - 1) * 8 {
        let mut flipped = payload.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let mut decoded = Vec::new();
        let done = MixDecoder::new().segment(&base, new.len(), &flipped, &mut decoded);
        assert!(done.is_err() || decoded != new);
    }
}

#[test]
fn a_payload_that_goes_on_is_refused() {
    let (base, new, payload) = specimen();
    let longer = [payload, vec![0; 9]].concat();
    let error = MixDecoder::new()
        .segment(&base, new.len(), &longer, &mut Vec::new())
        .unwrap_err();
    assert_eq!(error.damage, Damage::Rest);
}

#[test]
fn a_lying_length_is_refused_before_anything_is_allocated() {
    let error = MixDecoder::new()
        .segment(b"", usize::MAX, b"abc", &mut Vec::new())
        .unwrap_err();
    assert_eq!(
        error,
        DecodeError {
            new_at: 0,
            damage: Damage::TooLarge
        }
    );
}

#[test]
fn a_base_too_short_for_the_matches_is_refused() {
    let (base, new, payload) = specimen();
    let error = MixDecoder::new()
        .segment(&base[..100], new.len(), &payload, &mut Vec::new())
        .unwrap_err();
    assert_eq!(error.damage, Damage::OutsideBase);
}
