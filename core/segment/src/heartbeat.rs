use bellwether_types::Time;
use bellwether_wire::control::Carried;
use bellwether_wire::transfer::Announcement;

use crate::Numbers;

/// What rides in the heartbeats of a leader beside what membership says (ELECT-33).
#[derive(Debug, Clone, Default)]
pub(crate) struct Riders {
    announcements: Vec<Announcement>,
    /// Which of them is the first in the next heartbeat.
    turn: usize,
    pub(crate) numbers: Numbers,
}

impl Riders {
    pub(crate) fn announce(&mut self, announcements: Vec<Announcement>) {
        self.announcements = announcements;
    }

    /// What is carried, given what membership carries. Announcements that do not fit all at once take turns.
    pub(crate) fn mount(&mut self, now: Time, of_membership: &[u8]) -> Vec<u8> {
        let carried: Carried = minicbor::decode(of_membership).unwrap_or_default();
        let count = self.announcements.len();
        let mut room = Carried::ANNOUNCEMENTS_LEN_MAX;
        let mut announcements = Vec::new();
        while announcements.len() < count {
            let next = &self.announcements[(self.turn + announcements.len()) % count];
            let len = minicbor::to_vec(next).map_or(usize::MAX, |bytes| bytes.len());
            let Some(left) = room.checked_sub(len) else {
                break;
            };
            room = left;
            announcements.push(next.clone());
        }
        self.turn = (self.turn + announcements.len().max(1)) % count.max(1);
        let carried = Carried {
            announcements,
            settings: self.numbers.settings,
            committed: self.numbers.committed,
            sent_us: now.as_nanos() / 1_000,
            ..carried
        };
        minicbor::to_vec(carried).expect("memory takes what is written")
    }
}

#[cfg(test)]
mod tests {
    use bellwether_types::{Epoch, Hash, Incarnation, NodeId};
    use bellwether_wire::control::SegmentKeyId;
    use bellwether_wire::transfer::{Ask, AssignmentId, NackTime};

    use super::*;

    fn announcement(number: u8) -> Announcement {
        Announcement {
            assignment: AssignmentId(Hash([number; 32])),
            name: "n".repeat(Announcement::NAME_LEN_MAX),
            group: Some("g".repeat(64).parse().unwrap()),
            epoch: Epoch {
                counter: u64::MAX,
                leader: NodeId::from_bytes([9; 16]),
            },
            sender: NodeId::from_bytes([9; 16]),
            incarnation: Incarnation(u64::MAX),
            salt: [number; 16],
            key: SegmentKeyId([1; 4]),
            head_len: u64::MAX,
            data_len: u64::MAX,
            block_len: u32::MAX,
            symbol_len: u16::MAX,
            blocks_per_repair: u16::MAX,
            repairs: u16::MAX,
            repair_start: u16::MAX,
            rate: u64::MAX,
            ask: Ask::All,
            nack: NackTime::End,
            spread_ms: u32::MAX,
            encrypted: true,
            participants: u32::MAX,
        }
    }

    /// MCTP-06: however many sessions are open, and however long their names, each is announced before long.
    #[test]
    fn announcements_that_do_not_fit_one_heartbeat_take_turns() {
        let mut riders = Riders::default();
        riders.announce((0..5).map(announcement).collect());
        let mut seen = Vec::new();
        for _ in 0..5 {
            let bytes = riders.mount(Time::ZERO, &[]);
            let carried: Carried = minicbor::decode(&bytes).unwrap();
            assert!(!carried.announcements.is_empty());
            let of_announcements = minicbor::to_vec(&carried.announcements).unwrap().len();
            assert!(of_announcements <= Carried::ANNOUNCEMENTS_LEN_MAX + 3);
            seen.extend(carried.announcements.iter().map(|one| one.salt[0]));
        }
        assert!((0..5).all(|number| seen.contains(&number)), "{seen:?}");
    }

    #[test]
    fn what_membership_carries_stays_and_the_clock_is_the_sender_s() {
        let mut riders = Riders {
            numbers: Numbers {
                settings: 7,
                committed: 3,
            },
            ..Riders::default()
        };
        let of_membership = Carried {
            sequence: Some(4),
            digest: 5,
            members: 6,
            ..Carried::default()
        };
        let bytes = minicbor::to_vec(&of_membership).unwrap();
        let carried = riders.mount(Time::from_nanos(8_000_999), &bytes);
        let expected = Carried {
            settings: 7,
            committed: 3,
            sent_us: 8_000,
            ..of_membership
        };
        assert_eq!(minicbor::decode::<Carried>(&carried).unwrap(), expected);
    }

    /// Releases before had five fields.
    #[test]
    fn what_an_older_leader_carries_is_understood() {
        let carried: Carried = minicbor::decode(&[0x85, 0x04, 0x05, 0x06, 0xf6, 0xf6]).unwrap();
        assert_eq!((carried.sequence, carried.settings), (Some(4), 0));
    }
}
