use std::fmt;
use std::time::Duration;

use bellwether_types::PRIORITY_MAX;

/// What a candidate has measured of itself (ELECT-02, ELECT-03).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Measures {
    /// The administrator's preference (ELECT-04), 0 to 100.
    pub preference: u8,
    /// How much of the recent content it holds, in thousandths.
    pub content_permille: u32,
    /// How much of the time it was up and did what it was asked, in thousandths.
    pub reliability_permille: u32,
    /// Free processors, in thousandths of one.
    pub processors_free_milli: u32,
    /// Free space for content, in bytes.
    pub storage_free_bytes: u64,
    /// Free network, in bits per second.
    pub network_free_bps: u64,
    /// How long ago it led, if ever.
    pub led_ago: Option<Duration>,
    /// How many members it knows, or knew when it led.
    pub members_known: u32,
}

/// How much each parameter counts; only the proportions matter. 0 leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Weights {
    /// Of [`Measures::preference`].
    pub preference: u16,
    /// Of [`Measures::content_permille`].
    pub content: u16,
    /// Of [`Measures::reliability_permille`].
    pub reliability: u16,
    /// Of [`Measures::processors_free_milli`].
    pub processors: u16,
    /// Of [`Measures::storage_free_bytes`].
    pub storage: u16,
    /// Of [`Measures::network_free_bps`].
    pub network: u16,
    /// Of [`Measures::led_ago`].
    pub led: u16,
    /// Of [`Measures::members_known`].
    pub members: u16,
}

/// A priority and where it comes from, for whoever asks why this node leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The priority: the sum of all points.
    pub priority: u32,
    /// What each parameter gave.
    pub parts: [Part; 8],
}

/// What one parameter gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub parameter: Parameter,
    /// How good the measured value is, in thousandths.
    pub score_permille: u32,
    /// How much it counts.
    pub weight: u16,
    /// What it adds to the priority.
    pub points: u32,
}

/// The parameters, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parameter {
    /// The administrator's preference.
    Preference,
    /// Recent content held.
    Content,
    /// Reliability.
    Reliability,
    /// Free processors.
    Processors,
    /// Free storage.
    Storage,
    /// Free network.
    Network,
    /// How recently it led.
    Led,
    /// Members known.
    Members,
}

/// Scores of what wobbles by itself move in such steps, in thousandths, so that equals do not change places all day.
const STEP: u32 = 50;
/// Half the full score is given for so much; more is better for ever, but ever less so.
const PROCESSORS_HALF_MILLI: u64 = 4_000;
const STORAGE_HALF_BYTES: u64 = 64 << 30;
const NETWORK_HALF_BPS: u64 = 1_000_000_000;
const MEMBERS_HALF: u64 = 16;
const LED_HALF_SECS: u64 = 3_600;

impl Measures {
    /// The priority that these give, part by part. A better value of any parameter never lowers it.
    pub fn explain(&self, weights: &Weights) -> Explanation {
        let led = self
            .led_ago
            .map_or(0, |ago| 1_000 - share(ago.as_secs(), LED_HALF_SECS));
        let stepped = |score: u32| score - score % STEP;
        let scored = [
            (
                Parameter::Preference,
                u32::from(self.preference.min(100)) * 10,
                weights.preference,
            ),
            (
                Parameter::Content,
                self.content_permille.min(1_000),
                weights.content,
            ),
            (
                Parameter::Reliability,
                self.reliability_permille.min(1_000),
                weights.reliability,
            ),
            (
                Parameter::Processors,
                stepped(share(
                    self.processors_free_milli.into(),
                    PROCESSORS_HALF_MILLI,
                )),
                weights.processors,
            ),
            (
                Parameter::Storage,
                stepped(share(self.storage_free_bytes, STORAGE_HALF_BYTES)),
                weights.storage,
            ),
            (
                Parameter::Network,
                stepped(share(self.network_free_bps, NETWORK_HALF_BPS)),
                weights.network,
            ),
            (Parameter::Led, stepped(led), weights.led),
            (
                Parameter::Members,
                share(self.members_known.into(), MEMBERS_HALF),
                weights.members,
            ),
        ];
        let total: u64 = scored.iter().map(|(_, _, weight)| u64::from(*weight)).sum();
        let parts = scored.map(|(parameter, score_permille, weight)| {
            let full = u64::from(PRIORITY_MAX) * u64::from(weight) * u64::from(score_permille);
            let points = full.checked_div(1_000 * total).unwrap_or(0);
            Part {
                parameter,
                score_permille,
                weight,
                points: u32::try_from(points).unwrap_or(PRIORITY_MAX),
            }
        });
        Explanation {
            priority: parts.iter().map(|part| part.points).sum(),
            parts,
        }
    }
}

/// 0 for nothing, 500 for `half`, and towards 1,000 for ever more.
fn share(value: u64, half: u64) -> u32 {
    let value = u128::from(value);
    u32::try_from(value * 1_000 / (value + u128::from(half))).unwrap_or(1_000)
}

/// Preference decides unless the machines differ a lot; then who holds the content; then who is reliable.
impl Default for Weights {
    fn default() -> Self {
        Self {
            preference: 40,
            content: 20,
            reliability: 15,
            processors: 5,
            storage: 5,
            network: 5,
            led: 5,
            members: 5,
        }
    }
}

/// One line a part, the sum at the foot.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            let (name, score) = (part.parameter.to_string(), part.score_permille);
            writeln!(
                f,
                "{name:<24} score {:>3}.{} %  weight {:>3}  {:>9}",
                score / 10,
                score % 10,
                part.weight,
                part.points
            )?;
        }
        write!(f, "{:<24} {:>33}", "priority", self.priority)
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Preference => "administrator's choice",
            Self::Content => "recent content held",
            Self::Reliability => "reliability",
            Self::Processors => "free processors",
            Self::Storage => "free storage",
            Self::Network => "free network",
            Self::Led => "how recently it led",
            Self::Members => "members known",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Measures = Measures {
        preference: 50,
        content_permille: 500,
        reliability_permille: 500,
        processors_free_milli: 1_000,
        storage_free_bytes: 10 << 30,
        network_free_bps: 100_000_000,
        led_ago: Some(Duration::from_secs(3_600)),
        members_known: 3,
    };

    fn priority(change: impl FnOnce(&mut Measures)) -> u32 {
        let mut measures = BASE;
        change(&mut measures);
        measures.explain(&Weights::default()).priority
    }

    /// ELECT-02, ELECT-03, Q-42.
    #[test]
    fn each_parameter_alone_moves_the_order() {
        let better: [fn(&mut Measures); 8] = [
            |m| m.preference = 60,
            |m| m.content_permille = 600,
            |m| m.reliability_permille = 600,
            |m| m.processors_free_milli = 8_000,
            |m| m.storage_free_bytes = 100 << 30,
            |m| m.network_free_bps = 1_000_000_000,
            |m| m.led_ago = Some(Duration::from_secs(60)),
            |m| m.members_known = 30,
        ];
        for (index, better) in better.into_iter().enumerate() {
            assert!(priority(better) > priority(|_| ()), "parameter {index}");
        }
        assert!(priority(|m| m.led_ago = None) < priority(|_| ()));
    }

    /// ELECT-04.
    #[test]
    fn of_equal_hosts_the_preferred_one_is_stronger_unless_it_must_still_fetch_content() {
        assert!(priority(|m| m.preference = 51) > priority(|m| m.preference = 50));
        let newcomer = |m: &mut Measures| {
            m.preference = 60;
            m.content_permille = 0;
        };
        assert!(priority(newcomer) < priority(|_| ()));
    }

    #[test]
    fn the_parts_add_up_and_the_weights_are_only_proportions() {
        let weights = Weights::default();
        let explanation = BASE.explain(&weights);
        let sum: u32 = explanation.parts.iter().map(|part| part.points).sum();
        assert_eq!(explanation.priority, sum);
        let nothing = Measures::default().explain(&weights);
        assert_eq!(nothing.priority, 0);
        let perfect = Measures {
            preference: 100,
            content_permille: 1_000,
            reliability_permille: 1_000,
            processors_free_milli: u32::MAX,
            storage_free_bytes: u64::MAX,
            network_free_bps: u64::MAX,
            led_ago: Some(Duration::ZERO),
            members_known: u32::MAX,
        };
        let best = perfect.explain(&weights).priority;
        assert!(
            (PRIORITY_MAX * 98 / 100..=PRIORITY_MAX).contains(&best),
            "{best}"
        );
        let only = Weights {
            preference: 1,
            content: 0,
            reliability: 0,
            processors: 0,
            storage: 0,
            network: 0,
            led: 0,
            members: 0,
        };
        assert_eq!(BASE.explain(&only).priority, PRIORITY_MAX / 2);
        let none = Weights {
            preference: 0,
            ..only
        };
        assert_eq!(perfect.explain(&none).priority, 0);
    }

    #[test]
    fn a_wobble_of_load_changes_nothing() {
        assert_eq!(
            priority(|m| m.processors_free_milli = 1_020),
            priority(|_| ())
        );
    }

    #[test]
    fn an_explanation_reads_part_by_part() {
        let text = BASE.explain(&Weights::default()).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 9);
        assert_eq!(
            lines[0],
            "administrator's choice   score  50.0 %  weight  40     200000"
        );
        assert!(lines[8].starts_with("priority"), "{}", lines[8]);
    }
}
