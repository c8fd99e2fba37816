use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_types::NodeId;
use bellwether_wire::transfer::{Stage, Status};

use crate::job::Fate;

/// What is known of those who take part.
#[derive(Debug)]
pub(super) struct Participants(BTreeMap<NodeId, Participant>);

/// What is known of one.
#[derive(Debug, Default)]
pub(super) struct Participant {
    standing: Standing,
    is_measured: bool,
    /// Has anything been heard of it?
    heard: bool,
    /// Symbols that it lacks, as it last said, and the fewest that it ever said.
    lacking: Option<u64>,
    lacking_min: Option<u64>,
    /// The round it answered last.
    round: u32,
    /// Rounds without progress.
    tries: u32,
    /// How long it was asked since its last try counted.
    silent_for: Duration,
    /// Frames that it knew to be sent, and those of them that came to it, where its last window ended.
    seen: u64,
    received: u64,
    /// The same, as it last said.
    latest: (u64, u64),
    /// Loss in its last window, in millionths.
    pub(super) loss: u64,
    /// Symbols that were sent again because it asked.
    pub(super) asked: u64,
}

/// How a participant stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// It takes part.
    #[default]
    Taking,
    /// Everything came; it proves and writes.
    Held,
    /// It was told to fetch by unicast, and is waited for.
    Fetching,
    /// It is waited for no more.
    Over(Fate),
}

/// The frames between two words of a participant: from where on, and the millionths that it lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: u64,
    /// Frames that came before it.
    received: u64,
    pub(super) loss: u64,
    /// Did never a frame come?
    pub(super) is_deaf: bool,
}

/// Of so many frames none came: multicast does not reach the participant.
const DEAF_MIN: u64 = 8;
/// Fewer frames say nothing about loss.
const WINDOW_MIN: u64 = 200;
/// A try of a silent participant lasts at least this long.
const TRY_MIN: Duration = Duration::from_millis(200);
/// While proving and writing, a participant has so many times the tries.
const HELD_PATIENCE: u32 = 20;

impl Participants {
    pub(super) fn new(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self(
            nodes
                .into_iter()
                .map(|node| (node, Participant::default()))
                .collect(),
        )
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.keys().copied()
    }

    pub(super) fn get_mut(&mut self, node: NodeId) -> Option<&mut Participant> {
        self.0.get_mut(&node)
    }

    pub(super) fn join(&mut self, node: NodeId) {
        let participant = self.0.entry(node).or_default();
        // Who was taken for gone is back.
        if let Standing::Over(Fate::Departed | Fate::Silent) = participant.standing {
            *participant = Participant::default();
        }
    }

    pub(super) fn complete(&self) -> usize {
        let fates = self.0.values().map(|participant| &participant.standing);
        fates
            .filter(|standing| **standing == Standing::Over(Fate::Complete))
            .count()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (NodeId, &Participant)> {
        self.0
            .iter()
            .map(|(node, participant)| (*node, participant))
    }

    /// Did each of them say something?
    pub(super) fn are_heard(&self) -> bool {
        self.0.values().all(|participant| participant.heard)
    }

    /// Those who are waited for.
    pub(super) fn pending(&self) -> impl Iterator<Item = (NodeId, &Participant)> {
        self.all()
            .filter(|(_, participant)| !matches!(participant.standing, Standing::Over(_)))
    }

    /// Do so few lose so much that the rest should not wait for them?
    pub(super) fn are_few(&self, loss: u64) -> bool {
        let losing = self
            .0
            .values()
            .filter(|other| other.loss * 2 > loss)
            .count();
        losing * 4 <= self.0.len().max(4) && losing < self.0.len()
    }

    /// Those who can serve others: whoever has all in front, then whoever loses least.
    pub(super) fn by_merit(&self) -> Vec<NodeId> {
        let mut able: Vec<(u8, u64, NodeId)> = self
            .0
            .iter()
            .filter_map(|(node, participant)| match &participant.standing {
                Standing::Over(Fate::Complete) => Some((0, 0, *node)),
                Standing::Taking | Standing::Held if participant.received > 0 => {
                    Some((1, participant.loss, *node))
                }
                // Who has nothing to say lacks nothing, as far as anybody knows.
                Standing::Taking if !participant.heard => Some((2, 0, *node)),
                _ => None,
            })
            .collect();
        able.sort_unstable();
        able.into_iter().map(|(_, _, node)| node).collect()
    }

    /// A round passed: who did not answer it has one try less; whose tries are used up is waited for no more.
    pub(super) fn end_round(&mut self, round: u32, lasted: Duration, tries_max: u32) {
        for participant in self.0.values_mut() {
            if participant.round >= round {
                continue;
            }
            // Short rounds are for the sake of others: a node that starts again needs some time.
            participant.silent_for += lasted;
            if participant.silent_for >= TRY_MIN {
                participant.silent_for = Duration::ZERO;
                participant.fail_a_try(tries_max);
            }
        }
    }

    pub(super) fn fates(&self) -> BTreeMap<NodeId, Fate> {
        let fate = |participant: &Participant| match &participant.standing {
            Standing::Over(fate) => fate.clone(),
            _ => Fate::LeftBehind,
        };
        self.0
            .iter()
            .map(|(node, participant)| (*node, fate(participant)))
            .collect()
    }
}

impl Participant {
    pub(super) const fn standing(&self) -> &Standing {
        &self.standing
    }

    pub(super) fn stand(&mut self, standing: Standing) {
        self.standing = standing;
        self.tries = 0;
    }

    pub(super) const fn lacking(&self) -> Option<u64> {
        self.lacking
    }

    /// Symbols that it lacks once all frames before `sequence` were sent, if it said anything. Who takes part and says
    /// nothing misses no more than before.
    pub(super) fn lacking_at(&self, sequence: u64) -> Option<u64> {
        let lacking = self.lacking?;
        let (seen, received) = self.latest;
        if self.standing != Standing::Taking || received == 0 {
            return Some(lacking);
        }
        let since = sequence.saturating_sub(seen);
        let lost = u128::from(since) * u128::from(self.loss) / 1_000_000;
        Some(lacking.saturating_sub(since - lost as u64))
    }

    pub(super) const fn has_answered(&self, round: u32) -> bool {
        self.round >= round
    }

    /// Takes a word of it; what it says of loss, if enough frames were sent since the last time. Where all was sent, an
    /// answer that is no progress is one of `tries_max`.
    pub(super) fn hear(&mut self, status: &Status, tries_max: Option<u32>) -> Option<Window> {
        self.heard = true;
        self.silent_for = Duration::ZERO;
        let new_round = status.round > self.round;
        self.round = self.round.max(status.round);
        self.lacking = Some(status.lacking);
        let progress = match (&self.standing, &status.stage) {
            (_, Stage::Complete) => {
                self.stand(Standing::Over(Fate::Complete));
                return None;
            }
            (Standing::Over(_), _) => return None,
            (_, Stage::Failed(reason)) => {
                self.stand(Standing::Over(Fate::Failed(reason.clone())));
                return None;
            }
            (Standing::Taking, Stage::Held) => {
                self.stand(Standing::Held);
                true
            }
            (Standing::Held, Stage::Receiving) => {
                self.standing = Standing::Taking;
                false
            }
            (_, Stage::Receiving | Stage::Fetching) => {
                self.lacking_min.is_none_or(|least| status.lacking < least)
            }
            (_, Stage::Held) => false,
        };
        if matches!(status.stage, Stage::Receiving | Stage::Fetching) {
            let least = self.lacking_min.unwrap_or(u64::MAX);
            self.lacking_min = Some(least.min(status.lacking));
        }
        if progress {
            self.tries = 0;
        } else if let Some(tries_max) = tries_max.filter(|_| new_round) {
            self.fail_a_try(tries_max);
        }
        self.window(status)
    }

    fn window(&mut self, status: &Status) -> Option<Window> {
        let (seen, received) = (status.seen, status.received);
        self.latest = (seen, received);
        if self.received == 0 && received > 0 {
            self.seen = self.seen.max(status.joined);
        }
        let is_first = !std::mem::replace(&mut self.is_measured, true);
        let restarted = received < self.received || seen < self.seen;
        if restarted || is_first && received == 0 {
            (self.seen, self.received) = (seen, received);
            return None;
        }
        let sent = seen - self.seen;
        let came = (received - self.received).min(sent);
        let is_deaf = came == 0 && received == 0 && sent >= DEAF_MIN;
        if sent < WINDOW_MIN && !is_deaf {
            return None;
        }
        let from = self.seen;
        let before = std::mem::replace(&mut self.received, received);
        self.seen = seen;
        self.loss = (sent - came) * 1_000_000 / sent;
        Some(Window {
            from,
            received: before,
            loss: self.loss,
            is_deaf,
        })
    }

    /// How a window stands by now: frames may have been late, and not lost.
    pub(super) fn look_again(&mut self, window: Window) -> Window {
        let (seen, received) = self.latest;
        let (Some(sent), Some(came)) = (
            seen.checked_sub(window.from).filter(|sent| *sent > 0),
            received.checked_sub(window.received),
        ) else {
            // It started again.
            return Window { loss: 0, ..window };
        };
        self.loss = (sent - came.min(sent)) * 1_000_000 / sent;
        Window {
            loss: self.loss,
            is_deaf: window.is_deaf && received == 0,
            ..window
        }
    }

    fn fail_a_try(&mut self, tries_max: u32) {
        self.tries += 1;
        let most = match self.standing {
            Standing::Held | Standing::Fetching => tries_max.saturating_mul(HELD_PATIENCE),
            _ => tries_max,
        };
        if self.tries >= most && !matches!(self.standing, Standing::Over(_)) {
            self.standing = Standing::Over(if self.heard {
                Fate::Stuck {
                    lacking: self.lacking.unwrap_or(0),
                }
            } else {
                Fate::Silent
            });
        }
    }
}
