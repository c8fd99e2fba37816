//! How much work an update is worth: the least time until it is planned and has arrived.

use bellwether_delta::Effort;

/// Bytes of content that one core codes in a second, and what share of the redundancy that is left by the fast way is
/// found besides; by `docs/benchmarks.md`, on the slow side.
const DEFAULT_RATE: f64 = 15e6;
const DEFAULT_SHARE: f64 = 0.4;
/// Cores that code at once, whatever the machine has.
const CODERS_MAX: usize = 3;

/// Whether coding content again by other means takes less time than it saves on the way. By the fast way, `content_len`
/// bytes came to `sent_len`; they go over a link of `rate` bytes in a second.
///
/// What the fast way did not shorten is no redundancy at all, most likely: then there is nothing to find.
pub(super) fn again(content_len: u64, sent_len: u64, rate: u64, cores: usize) -> Option<Effort> {
    let (content, sent) = (content_len as f64, sent_len as f64);
    let redundant = (1.0 - sent / content.max(1.0)).max(0.0);
    let saved_s = sent * redundant * DEFAULT_SHARE / (rate.max(1) as f64);
    let cores = cores.clamp(1, CODERS_MAX) as f64;
    let spent_s = content / (DEFAULT_RATE * cores);
    (saved_s > spent_s).then_some(Effort::Default)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn more_work_is_done_for_a_slow_link_if_there_is_something_to_find() {
        let (fast_link, slow_link) = (100 * MIB, MIB / 4);
        for (content, sent, rate, worth) in [
            (64 * MIB, 32 * MIB, slow_link, true),
            (64 * MIB, 32 * MIB, fast_link, false),
            (64 * MIB, 64 * MIB, slow_link, false),
            (64 * MIB, 65 * MIB, slow_link, false),
            (64 * MIB, MIB, slow_link, false),
            (0, 400, slow_link, false),
            (u64::MAX, u64::MAX / 2, 0, true),
        ] {
            let again = again(content, sent, rate, 2);
            assert_eq!(again.is_some(), worth, "{content} {sent} {rate}");
        }
    }
}
