use std::collections::VecDeque;
use std::time::Duration;

use bellwether_election::Memory;
use bellwether_types::{Epoch, Time};

/// How a node behaved over its latest starts, for its reliability (ELECT-03).
///
/// The last 32 ends count, a day of running as one orderly end: who keeps dying sinks, who runs recovers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Record {
    /// The latest ends, newest last; true if orderly.
    ends: VecDeque<bool>,
    /// When it last led, in seconds since 1970: only spans within a start are taken from the steady clock.
    led: Option<u64>,
}

const ENDS_MAX: usize = 32;

impl Record {
    /// Of what was kept; `None` if it cannot be read.
    pub(crate) fn parse(body: &str) -> Option<Self> {
        let (ends, led) = body.strip_suffix('\n')?.split_once('\n')?;
        let ends = ends.strip_prefix("ends ")?.chars();
        let ends = ends.map(|end| match end {
            '+' => Some(true),
            '-' => Some(false),
            _ => None,
        });
        let led = match led.strip_prefix("led ")? {
            "never" => None,
            seconds => Some(seconds.parse().ok()?),
        };
        let ends: VecDeque<bool> = ends.collect::<Option<_>>()?;
        (ends.len() <= ENDS_MAX).then_some(Self { ends, led })
    }

    /// What is to be kept.
    pub(crate) fn to_text(&self) -> String {
        let ends: String = self
            .ends
            .iter()
            .map(|end| if *end { '+' } else { '-' })
            .collect();
        match self.led {
            None => format!("ends {ends}\nled never\n"),
            Some(seconds) => format!("ends {ends}\nled {seconds}\n"),
        }
    }

    /// A start begins. It counts as one that ended badly until it is known how it ends.
    pub(crate) fn begin(&mut self) {
        self.end(false);
    }

    /// This start ends in order.
    pub(crate) fn finish(&mut self) {
        self.ends.pop_back();
        self.end(true);
    }

    /// This start has lasted another day.
    pub(crate) fn day(&mut self) {
        self.finish();
        self.begin();
    }

    fn end(&mut self, orderly: bool) {
        self.ends.push_back(orderly);
        if self.ends.len() > ENDS_MAX {
            self.ends.pop_front();
        }
    }

    /// It leads, at that second since 1970.
    pub(crate) const fn leads(&mut self, second: u64) {
        self.led = Some(second);
    }

    /// How long ago it led, if ever. A clock that was set back makes that no negative time.
    pub(crate) fn led_ago(&self, second: u64) -> Option<Duration> {
        self.led
            .map(|led| Duration::from_secs(second.saturating_sub(led)))
    }

    /// The share of starts that did not end badly, the present one left out, in thousandths.
    pub(crate) fn reliability_permille(&self) -> u32 {
        let before = self.ends.iter().rev().skip(1);
        let bad = before.filter(|orderly| !**orderly).count();
        1_000 - u32::try_from(bad * 1_000 / ENDS_MAX).unwrap_or(1_000)
    }
}

/// What the election remembers, as text.
pub(crate) fn memory_to_text(memory: &Memory) -> String {
    match memory.obeyed {
        None => format!("counter {}\nobeyed none\n", memory.counter),
        Some(Epoch { counter, leader }) => {
            format!("counter {}\nobeyed {counter} {leader}\n", memory.counter)
        }
    }
}

/// The same read back.
pub(crate) fn parse_memory(body: &str) -> Option<Memory> {
    let (counter, obeyed) = body.strip_suffix('\n')?.split_once('\n')?;
    let counter = counter.strip_prefix("counter ")?.parse().ok()?;
    let obeyed = match obeyed.strip_prefix("obeyed ")? {
        "none" => None,
        epoch => {
            let (counter, leader) = epoch.split_once(' ')?;
            Some(Epoch {
                counter: counter.parse().ok()?,
                leader: leader.parse().ok()?,
            })
        }
    };
    Some(Memory { obeyed, counter })
}

/// Tells days of the steady clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Days(Time);

impl Days {
    pub(crate) const fn from(start: Time) -> Self {
        Self(start)
    }

    /// Has another day passed?
    pub(crate) fn passed(&mut self, now: Time) -> bool {
        let passed = now.since(self.0) >= DAY;
        if passed {
            self.0 = now;
        }
        passed
    }
}

const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether_types::NodeId;

    /// ELECT-03.
    #[test]
    fn who_keeps_dying_sinks_and_who_runs_recovers() {
        let mut record = Record::default();
        record.begin();
        assert_eq!(record.reliability_permille(), 1_000);
        for _ in 0..8 {
            record = Record::parse(&record.to_text()).unwrap();
            record.begin();
        }
        assert_eq!(record.reliability_permille(), 750);
        (0..31).for_each(|_| record.day());
        assert_eq!(record.reliability_permille(), 1_000);
        record.finish();
        record.begin();
        assert_eq!(record.reliability_permille(), 1_000);
    }

    #[test]
    fn it_reads_what_it_writes_and_nothing_else() {
        let mut record = Record::default();
        record.begin();
        record.leads(1_000);
        assert_eq!(Record::parse(&record.to_text()).unwrap(), record);
        assert_eq!(record.led_ago(1_060), Some(Duration::from_secs(60)));
        assert_eq!(record.led_ago(10), Some(Duration::ZERO));
        let long = format!("ends {}\nled never\n", "+".repeat(33));
        for text in [
            "",
            "ends +\n",
            "ends x\nled never\n",
            "ends \nled x\n",
            &long,
        ] {
            assert_eq!(Record::parse(text), None, "{text:?}");
        }
    }

    /// ELECT-34.
    #[test]
    fn what_the_election_remembers_reads_back() {
        let epoch = Epoch {
            counter: 7,
            leader: NodeId::from_bytes([3; 16]),
        };
        for obeyed in [None, Some(epoch)] {
            let memory = Memory { obeyed, counter: 9 };
            assert_eq!(parse_memory(&memory_to_text(&memory)), Some(memory));
        }
        for text in [
            "",
            "counter 1\n",
            "counter x\nobeyed none\n",
            "counter 1\nobeyed 1\n",
        ] {
            assert_eq!(parse_memory(text), None, "{text:?}");
        }
    }
}
