//! What a site holds, has staged and has decided: a small text, written whole into two files by turns, the higher number
//! of which counts.
//!
//! Lines of words, so that a person with a broken machine can read it; the last line is a hash
//! of those before, so that nothing half-written is believed. What is live is *not* in it: the
//! link `live` says so, and no two places can disagree.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::str::FromStr;

use bellwether_content::Timestamp;
use bellwether_types::{Hash, Serial, Term, VersionId};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Rises with each time that the state is written.
    pub(crate) number: u64,
    /// Written without being made durable: the one before it must last until it is.
    pub(crate) lazy: bool,
    /// The highest term of which a version was staged.
    pub(crate) term: Term,
    /// The serial of the last version that was staged.
    pub(crate) serial: Serial,
    /// The serial of the last order of that term that was carried out.
    pub(crate) ordered: Serial,
    /// Whether all content is on its way out.
    pub(crate) removing: bool,
    /// What the next commit makes live.
    pub(crate) staged: Option<VersionId>,
    /// A decided switch that may not have happened yet.
    pub(crate) intent: Option<Switch>,
    /// Whether there may be files that no release needs: a stage or a removal has begun.
    pub(crate) unswept: bool,
    /// The versions that were live before the live one, the latest last.
    pub(crate) history: Vec<VersionId>,
    pub(crate) releases: BTreeMap<VersionId, Release>,
}

/// A version that is held: its tree is complete and durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The serial of the assignment that brought it.
    pub serial: Serial,
    /// The term of that assignment.
    pub term: Term,
    /// When it was staged.
    pub staged: Timestamp,
    /// When it was last made live.
    pub committed: Option<Timestamp>,
    /// When another took its place, as live or as what is staged.
    pub deposed: Option<Timestamp>,
    /// Whether it is kept until unpinned.
    pub pinned: bool,
}

/// In whose name a site changes: an order of the control group, and its place in the order of the site and part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mandate {
    /// The reign it was given in.
    pub term: Term,
    /// Its serial.
    pub serial: Serial,
}

/// A change of what is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// What was live.
    pub from: Option<VersionId>,
    /// What becomes live.
    pub to: VersionId,
    /// When it was decided.
    pub decided: Timestamp,
}

const HEADER: &str = "bellwether-state 2";

/// How many earlier live versions are remembered; what is not held cannot be returned to anyway.
const HISTORY_LEN_MAX: usize = 256;

/// The largest state file that is read: some 100,000 releases.
pub(crate) const STATE_LEN_MAX: u64 = 16 << 20;

impl State {
    /// Records a switch that happened. Returning to an earlier version forgets those after it,
    /// so that the next rollback leads further back.
    pub(crate) fn switched(&mut self, switch: Switch) {
        self.intent = None;
        if self.staged == Some(switch.to) {
            self.staged = None;
        }
        if switch.from != Some(switch.to) {
            if let Some(index) = self
                .history
                .iter()
                .rposition(|version| *version == switch.to)
            {
                self.history.truncate(index);
            } else if let Some(from) = switch.from {
                self.history.push(from);
            }
            let excess = self.history.len().saturating_sub(HISTORY_LEN_MAX);
            self.history.drain(..excess);
            if let Some(release) = switch.from.and_then(|from| self.releases.get_mut(&from)) {
                release.deposed = Some(switch.decided);
            }
        }
        if let Some(release) = self.releases.get_mut(&switch.to) {
            release.committed = Some(switch.decided);
            release.deposed = None;
        }
    }

    /// Records that `version` is what the next commit makes live.
    pub(crate) fn stage(&mut self, version: VersionId, serial: Serial, term: Term, now: Timestamp) {
        // What was carried by hand has no place in the order, and does not make it forgotten.
        if serial != Serial(0) || term > self.term {
            self.serial = serial;
        }
        self.enter(term);
        if let Some(passed) = self
            .staged
            .replace(version)
            .filter(|passed| *passed != version)
            && let Some(release) = self.releases.get_mut(&passed)
        {
            release.deposed = Some(now);
        }
        let release = self.releases.entry(version).or_insert(Release {
            serial,
            term,
            staged: now,
            committed: None,
            deposed: None,
            pinned: false,
        });
        (release.serial, release.term) = (serial, term);
    }

    /// Records that an order was accepted; whether it had not been already.
    pub(crate) fn obey(&mut self, by: Mandate) -> bool {
        let before = (self.term, self.ordered);
        self.enter(by.term);
        self.ordered = by.serial;
        before != (self.term, self.ordered)
    }

    fn enter(&mut self, term: Term) {
        if term > self.term {
            self.ordered = Serial(0);
        }
        self.term = term;
    }

    /// Forgets all content; what is known of the order of changes stays.
    pub(crate) fn remove_all(&mut self) {
        self.releases.clear();
        self.history.clear();
        self.staged = None;
        (self.removing, self.unswept) = (true, true);
    }

    /// Forgets what is staged, if it is `version`, and that it is held, unless it ever was live or is pinned. Whether it
    /// was staged.
    pub(crate) fn unstage(&mut self, version: VersionId) -> bool {
        if self.staged != Some(version) {
            return false;
        }
        self.staged = None;
        let release = self.releases.get(&version);
        if release.is_some_and(|release| release.committed.is_none() && !release.pinned) {
            self.releases.remove(&version);
            self.unswept = true;
        }
        true
    }

    /// The latest version before the live one that is still held.
    pub(crate) fn previous(&self) -> Option<VersionId> {
        self.history
            .iter()
            .rev()
            .copied()
            .find(|version| self.releases.contains_key(version))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!(
            "{HEADER}\nnumber {}\nterm {}\nserial {}\n",
            self.number, self.term, self.serial
        );
        self.write(&mut text)
            .expect("writing to a string cannot fail");
        let check = Hash::of(text.as_bytes());
        text.push_str(&format!("check {check}\n"));
        text.into_bytes()
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        if self.lazy {
            writeln!(text, "lazy")?;
        }
        if self.ordered != Serial(0) {
            writeln!(text, "ordered {}", self.ordered)?;
        }
        if self.removing {
            writeln!(text, "removing")?;
        }
        if let Some(version) = self.staged {
            writeln!(text, "staged {version}")?;
        }
        if let Some(Switch { from, to, decided }) = self.intent {
            writeln!(text, "intent {} {to} {}", optional(from), time(decided))?;
        }
        if self.unswept {
            writeln!(text, "unswept")?;
        }
        for version in &self.history {
            writeln!(text, "history {version}")?;
        }
        for (version, release) in &self.releases {
            writeln!(
                text,
                "release {version} {} {} {} {} {} {}",
                release.serial,
                release.term,
                time(release.staged),
                optional(release.committed.map(time)),
                optional(release.deposed.map(time)),
                if release.pinned { "pinned" } else { "-" },
            )?;
        }
        Ok(())
    }

    /// Reads what [`State::encode`] wrote; otherwise tells what is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "is not text")?;
        let check_at = text.trim_end().rfind('\n').map_or(0, |newline| newline + 1);
        let (body, check) = text.split_at(check_at);
        if check != format!("check {}\n", Hash::of(body.as_bytes())) {
            return Err("does not match its check line");
        }
        let mut lines = body.lines();
        if lines.next() != Some(HEADER) {
            return Err("was written by another version of Bellwether");
        }
        let mut state = Self::default();
        lines
            .try_for_each(|line| state.read(line))
            .ok_or("has a line that cannot be read")?;
        Ok(state)
    }

    fn read(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["number", number] => self.number = number.parse().ok()?,
            ["lazy"] => self.lazy = true,
            ["term", term] => self.term = Term(term.parse().ok()?),
            ["serial", serial] => self.serial = Serial(serial.parse().ok()?),
            ["ordered", serial] => self.ordered = Serial(serial.parse().ok()?),
            ["removing"] => self.removing = true,
            ["staged", version] => self.staged = Some(version.parse().ok()?),
            ["intent", from, to, decided] => {
                self.intent = Some(Switch {
                    from: read_optional(from, |from| from.parse().ok())?,
                    to: to.parse().ok()?,
                    decided: read_time(decided)?,
                });
            }
            ["unswept"] => self.unswept = true,
            ["history", version] => self.history.push(version.parse().ok()?),
            [
                "release",
                version,
                serial,
                term,
                staged,
                committed,
                deposed,
                pinned,
            ] => {
                let release = Release {
                    serial: Serial(serial.parse().ok()?),
                    term: Term(term.parse().ok()?),
                    staged: read_time(staged)?,
                    committed: read_optional(committed, read_time)?,
                    deposed: read_optional(deposed, read_time)?,
                    pinned: pinned == "pinned",
                };
                self.releases
                    .insert(VersionId::from_str(version).ok()?, release);
            }
            _ => return None,
        }
        Some(())
    }
}

fn time(time: Timestamp) -> String {
    format!("{}.{:09}", time.seconds, time.nanoseconds)
}

fn read_time(text: &str) -> Option<Timestamp> {
    let (seconds, nanoseconds) = text.split_once('.')?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds.parse().ok()?).ok()
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn read_optional<T>(text: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "-" {
        Some(None)
    } else {
        read(text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str) -> VersionId {
        VersionId(Hash::of(name.as_bytes()))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 5).unwrap()
    }

    fn state() -> State {
        let mut state = State::default();
        let mut live = None;
        for (name, second) in [("a", 1), ("b", 2), ("c", 3)] {
            state.stage(
                version(name),
                Serial(second),
                Term(1),
                at(second.cast_signed()),
            );
            state.switched(Switch {
                from: live,
                to: version(name),
                decided: at(second.cast_signed()),
            });
            live = Some(version(name));
        }
        state
    }

    /// ASSIGN-18.
    #[test]
    fn what_is_carried_by_hand_does_not_make_the_order_forgotten() {
        let mut state = state();
        state.stage(version("d"), Serial(0), Term(1), at(4));
        assert_eq!(state.serial, Serial(3));
    }

    #[test]
    fn text_reads_back() {
        let mut state = state();
        assert_eq!(State::decode(&state.encode()), Ok(state.clone()));
        state.stage(version("d"), Serial(9), Term(2), at(-7));
        (state.unswept, state.removing) = (true, true);
        (state.number, state.lazy) = (7, true);
        state.ordered = Serial(12);
        state.intent = Some(Switch {
            from: None,
            to: version("d"),
            decided: at(4),
        });
        assert_eq!(State::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn a_flipped_or_missing_byte_is_noticed() {
        let bytes = state().encode();
        for index in 0..bytes.len() {
            assert!(State::decode(&bytes[..index]).is_err(), "cut at {index}");
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            assert!(State::decode(&flipped).is_err(), "flipped at {index}");
        }
    }

    #[test]
    fn each_rollback_leads_one_version_further_back() {
        let mut state = state();
        for (from, to) in [("c", "b"), ("b", "a")] {
            assert_eq!(state.previous(), Some(version(to)));
            state.switched(Switch {
                from: Some(version(from)),
                to: version(to),
                decided: at(9),
            });
        }
        assert_eq!(state.previous(), None);
    }
}
