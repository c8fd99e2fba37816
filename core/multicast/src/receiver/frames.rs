//! What sessions bring: announcements, frames, promises, their end.

use bellwether_machine::Outbox;
use bellwether_types::Time;
use bellwether_wire::frame::{FrameHeader, SessionId};
use bellwether_wire::transfer::{Announcement, Ask, Mend};

use super::session::Session;
use super::store::{Store, Taken};
use super::{Event, Output, Progress, Receiver, Timer};
use crate::geometry::{Geometry, Place};

/// Sessions of one assignment at a time: the leader's, one before it, a source, and one to spare.
const SESSIONS_MAX: usize = 4;

impl Receiver {
    pub(super) fn join(&mut self, now: Time, announcement: Announcement, out: &mut Outbox<Output>) {
        let sender = announcement.sender;
        let refuse = |reason: String| Output::Told(Event::BadAnnouncement(sender, reason));
        if announcement.assignment != self.assignment {
            return out.push(refuse("it is of another assignment".to_owned()));
        }
        let geometry = match Geometry::announced(&announcement) {
            Ok(geometry) => geometry,
            Err(error) => return out.push(refuse(error.to_string())),
        };
        self.hear_of(now, sender, false);
        let id = announcement.session();
        if let Some(at) = self.position(id) {
            let known = &mut self.sessions[at];
            if known.announcement.salt != announcement.salt || known.sender() != sender {
                out.push(refuse("another session has its number".to_owned()));
            } else if announcement.participants <= 1 {
                // Whoever serves one node wants to know whether it is still there.
                known.unanswered = true;
                self.arm(now, id, false);
            }
            return;
        }
        match &mut self.store {
            None => self.store = Some(Store::new(geometry)),
            Some(store) if *store.geometry() == geometry => {}
            Some(store) => {
                let known = store.geometry();
                let same = known.head_len() == geometry.head_len()
                    && known.data_len() == geometry.data_len()
                    && known.block_len() == geometry.block_len();
                if !same {
                    let reason = "its lengths are not those that other sessions had";
                    return out.push(refuse(reason.to_owned()));
                }
                let newest = self
                    .sessions
                    .iter()
                    .map(|session| session.announcement.epoch);
                if newest
                    .max()
                    .is_some_and(|newest| newest > announcement.epoch)
                {
                    let reason = "its cut is not that of a later leader";
                    return out.push(refuse(reason.to_owned()));
                }
                store.recut(geometry);
                self.sessions.clear();
                out.push(Output::Recut(geometry));
            }
        }
        if announcement.sender == announcement.epoch.leader {
            // What earlier leaders had open, this one goes on with.
            let is_earlier = |session: &Session| {
                let known = &session.announcement;
                known.sender == known.epoch.leader && known.epoch < announcement.epoch
            };
            let earlier = self.sessions.iter().filter(|session| is_earlier(session));
            let earlier: Vec<SessionId> = earlier.map(Session::id).collect();
            for id in earlier {
                self.forget_timers(id);
                self.sessions.retain(|session| session.id() != id);
            }
        }
        if self.sessions.len() == SESSIONS_MAX {
            let oldest = self.sessions.remove(0);
            self.forget_timers(oldest.id());
            out.push(Output::Told(Event::TooManySessions(oldest.id())));
        }
        if let Progress::Failed(_) = self.progress {
            // A new session is a new chance.
            self.progress = Progress::Receiving;
            self.proofs_failed = 0;
        }
        let ask = announcement.ask;
        let mut session = Session::new(announcement);
        let answers = self.is_complete() || ask == Ask::All;
        session.unanswered = answers;
        self.sessions.push(session);
        if answers {
            self.all_sent(id);
            self.arm(now, id, false);
        }
    }

    pub(super) fn take(&mut self, now: Time, frames: &[FrameHeader], out: &mut Outbox<Output>) {
        let Some(id) = frames.first().map(|frame| frame.session) else {
            return;
        };
        let (Some(at), Some(store)) = (self.position(id), &mut self.store) else {
            return;
        };
        let session = &mut self.sessions[at];
        let geometry = *store.geometry();
        let front_before = session.front;
        let mut bad = 0;
        let mut run: Option<(u16, u16, Place)> = None;
        let mut new = 0;
        for (index, frame) in (0_u16..).zip(frames) {
            let block = frame.block;
            if frame.session != id || block >= geometry.repair_blocks() {
                bad += 1;
                continue;
            }
            let repair = frame.symbol.checked_sub(geometry.symbols(block));
            let len = match repair {
                None => geometry.place(block, frame.symbol).len,
                Some(repair) if repair < geometry.repairs() => geometry.symbol_len().into(),
                Some(_) => 0,
            };
            if u32::from(frame.size) != len || len == 0 {
                bad += 1;
                continue;
            }
            session.note(frame, repair);
            let taken = store.take(block, frame.symbol);
            if taken == Taken::Useless {
                continue;
            }
            new += 1;
            match repair {
                Some(repair) => out.push(Output::WriteRepair {
                    frame: index,
                    block,
                    repair,
                }),
                None => {
                    let place = geometry.place(block, frame.symbol);
                    run = Some(match run.take() {
                        Some((first, count, so_far))
                            if first + count == index && so_far.precedes(&place) =>
                        {
                            (first, count + 1, so_far.and(&place))
                        }
                        other => {
                            flush_run(other, out);
                            (index, 1, place)
                        }
                    });
                }
            }
            if taken == Taken::Enough {
                flush_run(run.take(), out);
                if let Some((missing, repairs)) = store.decoding(block) {
                    out.push(Output::Decode {
                        block,
                        missing,
                        repairs,
                    });
                }
            }
            if store.lacking(block) == 0 {
                session.forget(block);
            }
        }
        flush_run(run, out);
        if bad > 0 {
            out.push(Output::Told(Event::BadFrames(id, bad)));
        }
        let sender = session.sender();
        let lacking_behind = self.note_front(at, front_before);
        self.hear_of(now, sender, new > 0);
        self.unkept += new;
        if self.unkept >= self.settings.keep_every {
            self.keep(out);
        }
        if lacking_behind || !self.sessions[at].due.is_empty() {
            self.arm_for_lacks(now, id);
        }
    }

    /// Repair blocks that the sender left behind it, and of which something is lacking here, are to be told; are there
    /// any?
    fn note_front(&mut self, at: usize, before: u32) -> bool {
        let (session, Some(store)) = (&mut self.sessions[at], &self.store) else {
            return false;
        };
        let mut block = before;
        let mut any = false;
        while let Some(lacking) = store
            .next_lacking(block)
            .filter(|lacking| *lacking < session.front)
        {
            if store.lacking(lacking) > 0 && !session.told.contains(&lacking) {
                session.due.insert(lacking);
                any = true;
            }
            block = lacking + 1;
        }
        any
    }

    /// Everything was sent: whatever is lacking is to be told.
    pub(super) fn all_sent(&mut self, id: SessionId) {
        let (Some(at), Some(store)) = (self.position(id), &self.store) else {
            return;
        };
        let session = &mut self.sessions[at];
        session.front = store.geometry().repair_blocks();
        session.told.clear();
        let mut block = 0;
        while let Some(lacking) = store.next_lacking(block) {
            if store.lacking(lacking) > 0 {
                session.due.insert(lacking);
            }
            block = lacking + 1;
        }
    }

    pub(super) fn promised(&mut self, mend: &Mend) {
        let (Some(at), Some(store)) = (self.position(mend.session), &self.store) else {
            return;
        };
        let session = &mut self.sessions[at];
        session.promise(mend, |block| {
            if block < store.geometry().repair_blocks() {
                store.lacking(block)
            } else {
                0
            }
        });
        if session.due.is_empty() && !session.told.is_empty() {
            // The sender asks again when it is done.
            session.unanswered = false;
            self.deadlines.cancel(Timer::Nack(mend.session));
        }
    }

    pub(super) fn close(&mut self, id: SessionId) {
        self.forget_timers(id);
        let source = self.source();
        if let Some(at) = self.position(id) {
            let session = self.sessions.remove(at);
            if Some(session.sender()) == source && !self.is_complete() {
                // It served us as far as it could.
                self.deadlines.set(Timer::Source, Time::ZERO);
            }
        }
    }

    pub(super) fn position(&self, id: SessionId) -> Option<usize> {
        self.sessions.iter().position(|session| session.id() == id)
    }

    fn forget_timers(&mut self, id: SessionId) {
        self.deadlines.cancel(Timer::Nack(id));
        self.deadlines.cancel(Timer::Recheck(id));
    }
}

fn flush_run(run: Option<(u16, u16, Place)>, out: &mut Outbox<Output>) {
    if let Some((first, count, place)) = run {
        out.push(Output::Write {
            first,
            count,
            place,
        });
    }
}
