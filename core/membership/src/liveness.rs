//! How a leader notices who is gone (REG-14): in each window every member shows itself once; who did not is
//! asked several times; who does not answer either is removed.

use bellwether_machine::Outbox;
use bellwether_types::{Incarnation, NodeId, Time};
use bellwether_wire::control::{Inquiry, Key, MembershipMessage};

use crate::membership::{Membership, Role, Timer};
use crate::output::{Event, Output, To};

/// Inquiries without an answer, after which a member is removed.
const INQUIRIES: u8 = 3;
/// Inquiries sent at once; others wait for the next turn.
const INQUIRIES_AT_ONCE: usize = 256;

impl Membership {
    /// A member showed itself.
    pub(crate) fn hear(&mut self, from: NodeId, incarnation: Incarnation) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        if let Some(coordinator) = &mut leader.coordinator {
            coordinator.hear(from);
        }
        let known = self.state.segment.record(from);
        if known.is_some_and(|known| known.incarnation <= incarnation) {
            leader.heard.insert(from);
            leader.suspects.remove(&from);
        }
    }

    /// A window is over: who was silent in it is suspected.
    pub(crate) fn sweep(&mut self, now: Time) {
        let node = self.node();
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let heard = std::mem::take(&mut leader.heard);
        for (member, _) in self.state.segment.members() {
            if member != node && !heard.contains(&member) {
                leader.suspects.entry(member).or_insert(0);
            }
        }
        if !leader.suspects.is_empty() && self.deadlines.get(Timer::Inquire).is_none() {
            self.deadlines.set(Timer::Inquire, now);
        }
        let window = self
            .settings
            .spans
            .refresh(self.state.segment.member_count());
        self.deadlines.set(Timer::Sweep, now + window);
    }

    pub(crate) fn inquire(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Role::Leader(leader) = &mut self.state.role else {
            return;
        };
        let epoch = leader.epoch;
        let mut silent = Vec::new();
        for (member, inquiries) in leader.suspects.iter_mut().take(INQUIRIES_AT_ONCE) {
            if *inquiries >= INQUIRIES {
                silent.push(*member);
                continue;
            }
            *inquiries += 1;
            out.push(Output::Send {
                to: To::Node(*member),
                message: MembershipMessage::Inquiry(Inquiry { epoch }),
            });
        }
        for member in &silent {
            leader.suspects.remove(member);
        }
        if !leader.suspects.is_empty() {
            let next = now + self.settings.spans.inquiry;
            self.deadlines.set(Timer::Inquire, next);
        }
        for member in silent {
            if let Some(record) = self.state.segment.record(member) {
                let event = Event::Silent(member, record.name.clone());
                out.push(Output::Told(event));
                self.note(now, Key::Member(member), None);
            }
        }
    }
}
