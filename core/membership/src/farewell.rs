//! How a node leaves its segment for good.

use bellwether_machine::{Deadlines, Outbox};
use bellwether_types::Time;
use bellwether_wire::control::{Leave, MembershipMessage};

use crate::membership::{Membership, Role, Timer};
use crate::output::{Event, Output, To};

/// Does the node want to belong?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Presence {
    Here,
    /// It said farewell so many times.
    Leaving(u8),
    Gone,
}

/// Farewells without an effect, after which a node just goes.
const FAREWELLS: u8 = 3;

impl Membership {
    pub(crate) fn leave(&mut self, now: Time, out: &mut Outbox<Output>) {
        if self.state.presence == Presence::Here {
            self.state.presence = Presence::Leaving(0);
            self.say_farewell(now, out);
        }
    }

    pub(crate) fn say_farewell(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Presence::Leaving(times) = self.state.presence else {
            return;
        };
        let others = self.state.segment.member_count() > 1;
        match &self.state.role {
            // A leader steps down first; that is the election's business.
            Role::Leader(_) if others => {}
            _ if times >= FAREWELLS || !others => return self.be_gone(out),
            Role::Member(member) => {
                let epoch = member.epoch;
                let leave = Leave { epoch };
                out.push(Output::Send {
                    to: To::Node(epoch.leader),
                    message: MembershipMessage::Leave(leave),
                });
                self.state.presence = Presence::Leaving(times + 1);
            }
            _ => self.state.presence = Presence::Leaving(times + 1),
        }
        self.deadlines
            .set(Timer::Leave, now + self.settings.spans.inquiry);
    }

    pub(crate) fn be_gone(&mut self, out: &mut Outbox<Output>) {
        self.change_role(Role::Leaderless);
        self.end_exchange();
        self.deadlines = Deadlines::new();
        self.state.presence = Presence::Gone;
        out.push(Output::Told(Event::Left));
    }
}
