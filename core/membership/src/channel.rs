//! Channels by the leader's order: the control channel moves (CHAN-03, CHAN-09), groups have data channels and
//! members (CHAN-04, CHAN-05, CHAN-06, CHAN-08). The sockets are somebody else's.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use bellwether_machine::Outbox;
use bellwether_types::{Name, NodeId, Time};
use bellwether_wire::control::{Key, MembershipMessage, Move, Value};

use crate::input::Order;
use crate::membership::{Membership, Role, Timer};
use crate::output::{Event, Output, To};

/// A move of the control channel that is being told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Moving {
    from: SocketAddr,
    to: SocketAddr,
    told: u32,
}

/// Times the order goes out on the old channel before the leader itself moves.
const ORDERS_BEFORE: u32 = 3;
/// Times it is repeated there afterwards, a heartbeat apart.
const ORDERS_AFTER: u32 = 20;
/// Heartbeats from one word on the configured channel to the next, for who starts or fell back there.
const HEARTBEATS_PER_WORD: u32 = 4;
const GROUPS_MAX: usize = 256;
/// Places in all groups together.
const PLACES_MAX: usize = 1 << 15;

impl Moving {
    pub(crate) const fn target(&self) -> SocketAddr {
        self.to
    }
}

impl Membership {
    /// The data channel of a content group, if the segment has one for it.
    pub fn data_channel(&self, group: &Name) -> Option<SocketAddr> {
        match self.state.segment.get(&Key::Group(group.clone())) {
            Some(Value::Group(channel)) => *channel,
            _ => None,
        }
    }

    /// The members of a content group in the segment, whether they are up or not.
    pub fn group_members(&self, group: &Name) -> impl Iterator<Item = NodeId> {
        let first = Key::Place(group.clone(), NodeId::from_bytes([0; 16]));
        let group = group.clone();
        let places = self.state.segment.entries_from(first);
        places.map_while(move |(key, _)| match key {
            Key::Place(name, node) if *name == group => Some(*node),
            _ => None,
        })
    }

    pub(crate) fn obey(&mut self, now: Time, order: Order, out: &mut Outbox<Output>) {
        let Role::Leader(_) = &self.state.role else {
            return out.push(Output::Told(Event::NotDone("only the leader can do that")));
        };
        let done = match order {
            Order::MoveControl(channel) if !channel.ip().is_multicast() => {
                Err("a control channel is a multicast address")
            }
            Order::MoveControl(channel) => {
                self.order_move(now, channel, out);
                Ok(())
            }
            Order::SetGroup {
                group,
                channel,
                members,
            } => self.set_group(now, &group, Some(channel), members),
            Order::DropGroup(group) => self.set_group(now, &group, None, Vec::new()),
            Order::SetTitle(title) if title.len() > Value::TITLE_LEN_MAX => {
                Err("a title has at most 128 bytes")
            }
            Order::SetTitle(title) => {
                self.note(now, Key::Title, Some(Value::Title(title)));
                Ok(())
            }
            Order::Gather => {
                self.start_merge(now, true, out);
                Ok(())
            }
        };
        if let Err(why) = done {
            out.push(Output::Told(Event::NotDone(why)));
        }
    }

    fn order_move(&mut self, now: Time, to: SocketAddr, out: &mut Outbox<Output>) {
        if to != self.state.control {
            self.state.moving = Some(Moving {
                from: self.state.control,
                to,
                told: 0,
            });
            self.deadlines.set(Timer::Move, now);
            self.carry(out);
        }
    }

    pub(crate) fn repeat_move(&mut self, now: Time, out: &mut Outbox<Output>) {
        let Role::Leader(leader) = &self.state.role else {
            return;
        };
        let (epoch, heartbeat) = (leader.epoch, self.settings.spans.heartbeat);
        let order = |channel| MembershipMessage::Move(Move { epoch, channel });
        let Some(moving) = &mut self.state.moving else {
            // Whoever starts or fell back is on the configured channel, to which all listen. Who is alone calls nobody.
            let (channel, control) = (self.settings.channel, self.state.control);
            if channel != control {
                if self.state.segment.member_count() <= 1 {
                    let next = now + heartbeat * HEARTBEATS_PER_WORD;
                    return self.deadlines.set(Timer::Move, next);
                }
                out.push(Output::Send {
                    to: To::Channel(channel),
                    message: order(control),
                });
                let next = now + heartbeat * HEARTBEATS_PER_WORD;
                self.deadlines.set(Timer::Move, next);
            }
            return;
        };
        moving.told += 1;
        let (from, to, told) = (moving.from, moving.to, moving.told);
        if told <= ORDERS_BEFORE {
            out.push(Output::Send {
                to: To::All,
                message: order(to),
            });
            return self.deadlines.set(Timer::Move, now + heartbeat / 8);
        }
        if told == ORDERS_BEFORE + 1 {
            self.move_to(now, to, out);
            self.note_control(now);
        }
        if told > ORDERS_BEFORE + ORDERS_AFTER {
            self.state.moving = None;
        }
        out.push(Output::Send {
            to: To::Channel(from),
            message: order(to),
        });
        self.deadlines.set(Timer::Move, now + heartbeat);
    }

    pub(crate) fn take_move(
        &mut self,
        now: Time,
        from: NodeId,
        order: &Move,
        out: &mut Outbox<Output>,
    ) {
        if from != order.epoch.leader {
            return;
        }
        match &self.state.role {
            Role::Member(member) if member.epoch != order.epoch => {}
            // Another part of the segment is elsewhere: the part of the lower reign goes there, as a whole.
            Role::Leader(leader) if self.state.segment.member_count() > 1 => {
                if leader.epoch < order.epoch && self.state.moving.is_none() {
                    self.order_move(now, order.channel, out);
                }
            }
            Role::Leaderless | Role::Member(_) | Role::Leader(_) => {
                self.move_to(now, order.channel, out);
            }
        }
    }

    /// The control channel is where the leader leads.
    pub(crate) fn note_control(&mut self, now: Time) {
        let control = self.state.control;
        let known = self.state.segment.get(&Key::Control).is_some();
        if known || control != self.settings.channel {
            self.note(now, Key::Control, Some(Value::Control(control)));
        }
        if control != self.settings.channel && self.deadlines.get(Timer::Move).is_none() {
            self.deadlines.set(Timer::Move, now);
        }
    }

    pub(crate) fn move_to(&mut self, now: Time, control: SocketAddr, out: &mut Outbox<Output>) {
        if self.state.control == control {
            return;
        }
        self.state.control = control;
        // Kept, so that a restart looks for the segment where it was last.
        out.push(Output::Persist(
            minicbor::to_vec(control).unwrap_or_default(),
        ));
        out.push(Output::Control(control));
        out.push(Output::Told(Event::Moved(control)));
        self.carry(out);
        self.await_company(now);
    }

    /// Not for ever on a channel that others may have left: without a leader, or leading nobody.
    pub(crate) fn await_company(&mut self, now: Time) {
        if self.state.control != self.settings.channel {
            let fallback = now + self.settings.spans.fallback;
            self.deadlines.set(Timer::Fallback, fallback);
        }
    }

    pub(crate) fn fall_back(&mut self, now: Time, out: &mut Outbox<Output>) {
        match &self.state.role {
            Role::Member(_) => return,
            Role::Leader(_) if self.state.segment.member_count() > 1 => {
                return self.await_company(now);
            }
            Role::Leader(_) | Role::Leaderless => {}
        }
        let channel = self.settings.channel;
        self.state.control = channel;
        // Heartbeats must not name a channel that the leader has left.
        self.state.moving = None;
        out.push(Output::Control(channel));
        out.push(Output::Told(Event::FellBack(channel)));
        self.carry(out);
        self.note_control(now);
    }

    fn set_group(
        &mut self,
        now: Time,
        group: &Name,
        channel: Option<SocketAddr>,
        members: Vec<NodeId>,
    ) -> Result<(), &'static str> {
        if channel.is_some_and(|channel| !channel.ip().is_multicast()) {
            return Err("a data channel is a multicast address");
        }
        if channel == Some(self.state.control) || channel == Some(self.settings.channel) {
            return Err("a data channel is not the control channel");
        }
        if members.len() > self.settings.members_max {
            return Err("a group has more members than the segment may have");
        }
        if self.data_channel(group).is_none() && self.state.segment.groups().count() >= GROUPS_MAX {
            return Err("a segment has at most 256 groups");
        }
        if self.state.segment.place_count() + members.len() > PLACES_MAX {
            return Err("a segment has at most 32768 places in all groups");
        }
        let mut places: BTreeMap<NodeId, Option<Value>> =
            self.group_members(group).map(|node| (node, None)).collect();
        if let Role::Leader(leader) = &self.state.role {
            places.extend(leader.news().filter_map(|key| match key {
                Key::Place(name, node) if name == group => Some((*node, None)),
                _ => None,
            }));
        }
        places.extend(members.into_iter().map(|node| (node, Some(Value::Place))));
        let key = Key::Group(group.clone());
        self.note(now, key, Some(Value::Group(channel)));
        for (node, place) in places {
            self.note(now, Key::Place(group.clone(), node), place);
        }
        Ok(())
    }

    /// A new state is in force: what it says of channels is done.
    pub(crate) fn state_changed(&mut self, now: Time, members: bool, out: &mut Outbox<Output>) {
        if members {
            out.push(Output::Roster);
        }
        if let (Some(Value::Control(control)), Role::Member(_)) =
            (self.state.segment.get(&Key::Control), &self.state.role)
        {
            let control = *control;
            self.move_to(now, control, out);
        }
        let node = self.node();
        let groups = self.state.segment.groups();
        let wanted: BTreeMap<Name, SocketAddr> = groups
            .filter(|group| {
                let place = Key::Place((*group).clone(), node);
                self.state.segment.get(&place).is_some()
            })
            .filter_map(|group| Some((group.clone(), self.data_channel(group)?)))
            .collect();
        for group in self.state.joined.keys() {
            if !wanted.contains_key(group) {
                out.push(Output::Quit {
                    group: group.clone(),
                });
            }
        }
        for (group, channel) in &wanted {
            if self.state.joined.get(group) != Some(channel) {
                out.push(Output::Join {
                    group: group.clone(),
                    channel: *channel,
                });
            }
        }
        self.state.joined = wanted;
    }
}
