use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_machine::{Deadlines, Machine, Outbox};
use bellwether_multicast::reports::Question;
use bellwether_types::{Epoch, Name, NodeId, Time};
use bellwether_wire::transfer::{AssignmentId, JobReport};
use bellwether_wire::uplink::{Downward, Failure, FailureKind, Notify, Pong, Upward};

use crate::job::Job;
use crate::{Input, Output};

/// A node's part in jobs as the leader of its segment; without a reign it does nothing.
#[derive(Debug)]
pub struct Leading {
    own: NodeId,
    reign: Option<Epoch>,
    /// Is this leader heard by the control server?
    is_heard: bool,
    present: BTreeSet<NodeId>,
    jobs: BTreeMap<Name, Job>,
    /// Jobs for which this node had no room when it led. It gives up its office once for each, lest nodes without room
    /// pass it on for ever.
    yielded: BTreeSet<Name>,
    number: u64,
    deadlines: Deadlines<Timer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Outcomes go to the control server.
    Outcomes,
    /// Progress does.
    Progress,
    /// A file is fetched again.
    Fetch(AssignmentId),
    /// A file is offered again.
    Offer(AssignmentId),
    /// Who did not stage a job, by its number, is behind.
    GiveUp(u64),
}

/// What an order has members do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errand {
    /// What takes a moment, at that one or at once.
    Order(Option<Time>),
    /// To get a version from their neighbours, which takes as long as it takes.
    Gathering,
}

/// Jobs that a leader knows of; one more, and the one that was heard of least lately is forgotten.
pub const JOBS_MAX: usize = 64;
/// Files that are fetched at once.
const FETCHES_MAX: usize = 4;
/// Outcomes that come within this go together.
const TOGETHER: Duration = Duration::from_millis(5);
/// Progress is told no more often.
const PROGRESS: Duration = Duration::from_millis(250);

impl Leading {
    /// A node that does not lead.
    pub const fn new(own: NodeId) -> Self {
        Self {
            own,
            reign: None,
            is_heard: false,
            present: BTreeSet::new(),
            jobs: BTreeMap::new(),
            yielded: BTreeSet::new(),
            number: 0,
            deadlines: Deadlines::new(),
        }
    }

    /// The jobs that this leader knows of.
    pub fn jobs(&self) -> impl Iterator<Item = &Name> {
        self.jobs.keys()
    }

    /// Is it heard by the control server?
    pub const fn is_heard(&self) -> bool {
        self.is_heard
    }

    fn reign(&mut self, reign: Option<Epoch>) {
        if self.reign == reign {
            return;
        }
        let (present, yielded) = (&mut self.present, &mut self.yielded);
        let (present, yielded) = (std::mem::take(present), std::mem::take(yielded));
        *self = Self::new(self.own);
        self.reign = reign;
        self.present = present;
        self.yielded = yielded;
    }

    fn members(&mut self, now: Time, members: BTreeSet<NodeId>, out: &mut Outbox<Output>) {
        let before = std::mem::replace(&mut self.present, members);
        let came: BTreeSet<NodeId> = self.present.difference(&before).copied().collect();
        for job in self.jobs.values_mut() {
            for node in before.difference(&self.present) {
                job.departed(now, *node, out);
            }
            job.came(&came);
        }
    }

    fn said(&mut self, now: Time, message: Downward, out: &mut Outbox<Output>) {
        match message {
            Downward::Welcome(welcome) => {
                self.is_heard = true;
                self.jobs.values_mut().for_each(Job::tell_again);
                out.push(Output::Settings(welcome.settings));
            }
            Downward::Settings(number) => out.push(Output::Settings(number)),
            Downward::Notify(notify) => self.notified(notify, out),
            Downward::Order(order) => {
                let at = order
                    .at_us
                    .map(|us| Time::from_nanos(us.saturating_mul(1_000)));
                let is = Errand::Order(at);
                self.order(now, &order.job, order.assignment, order.nodes, is, out);
            }
            Downward::Gather(order) => {
                let is = Errand::Gathering;
                self.order(now, &order.job, order.assignment, order.nodes, is, out);
            }
            Downward::Abort(abort) => {
                let job = self.job(&abort.job, out);
                job.stop(out);
                let is = Errand::Order(None);
                self.order(now, &abort.job, abort.assignment, abort.nodes, is, out);
            }
            Downward::Ask(ask) => {
                if ask.segment {
                    out.push(Output::TellSegment);
                }
                for name in &ask.jobs {
                    self.jobs
                        .get_mut(name)
                        .into_iter()
                        .for_each(Job::tell_again);
                }
            }
            Downward::Ping(ping) => {
                let now_us = now.as_nanos() / 1_000;
                out.push(Output::Tell(Upward::Pong(Pong {
                    number: ping.number,
                    received_us: now_us,
                    sent_us: now_us,
                })));
            }
            Downward::StepDown(to) => out.push(Output::StepDown(to)),
            Downward::Dismiss(_) => self.is_heard = false,
        }
    }

    fn notified(&mut self, notify: Notify, out: &mut Outbox<Output>) {
        let name = notify.job.clone();
        let job = self.job(&name, out);
        job.notified(notify);
        let number = job.number;
        self.deadlines.cancel(Timer::GiveUp(number));
    }

    fn order(
        &mut self,
        now: Time,
        name: &Name,
        assignment: Vec<u8>,
        nodes: Vec<NodeId>,
        errand: Errand,
        out: &mut Outbox<Output>,
    ) {
        let id = AssignmentId::of(&assignment);
        let at = match errand {
            Errand::Order(at) => at,
            Errand::Gathering => None,
        };
        let question = Question::Order {
            job: name.clone(),
            assignment,
            at,
        };
        self.job(name, out);
        let nodes = nodes.into_iter().collect();
        if let Some(job) = self.jobs.get_mut(name) {
            if errand == Errand::Gathering {
                job.gathers(id);
            }
            job.order(now, question, id, &nodes, &self.present, out);
        }
    }

    /// A job by its name, known from now on.
    fn job(&mut self, name: &Name, out: &mut Outbox<Output>) -> &mut Job {
        self.number += 1;
        if !self.jobs.contains_key(name) && self.jobs.len() >= JOBS_MAX {
            let oldest = self.jobs.iter().min_by_key(|(_, job)| job.number);
            let oldest = oldest.map(|(name, _)| name.clone());
            if let Some(mut job) = oldest.and_then(|name| self.jobs.remove(&name)) {
                job.stop(out);
            }
        }
        let number = self.number;
        let job = self.jobs.entry(name.clone());
        let job = job.or_insert_with(|| Job::new(number));
        self.deadlines.cancel(Timer::GiveUp(job.number));
        job.number = number;
        job
    }

    /// The job that a file is of.
    fn of_file(&mut self, id: AssignmentId) -> Option<&mut Job> {
        let mut jobs = self.jobs.values_mut();
        jobs.find(|job| job.files.contains_key(&id))
    }

    fn fetched(
        &mut self,
        now: Time,
        id: AssignmentId,
        result: Result<(), Failure>,
        out: &mut Outbox<Output>,
    ) {
        if let Err(Failure {
            kind: FailureKind::Space,
            ..
        }) = &result
        {
            self.yield_for(id, out);
        }
        let own = self.own;
        let retry = self
            .of_file(id)
            .and_then(|job| job.fetched(own, id, result, out));
        self.retry_after(now, Timer::Fetch(id), retry);
    }

    fn yield_for(&mut self, id: AssignmentId, out: &mut Outbox<Output>) {
        let mut jobs = self.jobs.iter();
        let job = jobs.find(|(_, job)| job.files.contains_key(&id));
        let Some((name, _)) = job.filter(|_| self.present.iter().any(|node| *node != self.own))
        else {
            return;
        };
        if self.yielded.insert(name.clone()) {
            if self.yielded.len() > JOBS_MAX {
                self.yielded.pop_first();
            }
            out.push(Output::StepDown(None));
        }
    }

    fn retry_after(&mut self, now: Time, timer: Timer, retry: Option<Duration>) {
        if let Some(retry) = retry {
            self.deadlines.set(timer, now + retry);
        }
    }

    fn report(&mut self, now: Time, from: NodeId, report: JobReport, out: &mut Outbox<Output>) {
        let report = report.checked(from);
        if let Some(report) = report.filter(|_| self.present.contains(&from))
            && let Some(job) = self.jobs.get_mut(&report.job)
        {
            job.reported(now, from, &report, out);
        }
    }

    fn due(&mut self, timer: Timer, out: &mut Outbox<Output>) {
        match timer {
            Timer::Outcomes => {
                for (name, job) in &mut self.jobs {
                    if let Some(outcomes) = job.news(name) {
                        out.push(Output::Tell(Upward::Outcomes(outcomes)));
                    }
                }
            }
            Timer::Progress => {
                for (name, job) in &mut self.jobs {
                    if std::mem::take(&mut job.moved) {
                        let progress = job.progress(name, self.own);
                        out.push(Output::Tell(Upward::Progress(progress)));
                    }
                }
            }
            Timer::Fetch(id) => {
                if let Some(job) = self.of_file(id) {
                    job.fetch_again(id);
                }
            }
            Timer::Offer(id) => {
                if let Some(job) = self.of_file(id) {
                    job.offer_again(id);
                }
            }
            Timer::GiveUp(number) => {
                let mut jobs = self.jobs.values_mut();
                if let Some(job) = jobs.find(|job| job.number == number) {
                    job.give_up();
                }
            }
        }
    }

    /// Whatever follows from how things are now.
    fn go_on(&mut self, now: Time, out: &mut Outbox<Output>) {
        let mut fetching: usize = self.jobs.values().map(Job::is_fetching).sum();
        for (name, job) in &mut self.jobs {
            while fetching < FETCHES_MAX
                && let Some(fetch) = job.next_fetch()
            {
                fetching += 1;
                out.push(fetch);
            }
            job.offer(name, self.own, &self.present, out);
            job.collect(name, now, &self.present, out);
            let give_up = Timer::GiveUp(job.number);
            match job.is_enough() {
                true if self.deadlines.get(give_up).is_none() => {
                    self.deadlines.set(give_up, now + job.patience);
                }
                true => {}
                false => self.deadlines.cancel(give_up),
            }
        }
        if !self.is_heard {
            self.deadlines.cancel(Timer::Outcomes);
            self.deadlines.cancel(Timer::Progress);
            return;
        }
        let news = self.jobs.values().any(Job::has_news);
        if news && self.deadlines.get(Timer::Outcomes).is_none() {
            self.deadlines.set(Timer::Outcomes, now + TOGETHER);
        }
        let moved = self.jobs.values().any(|job| job.moved);
        if moved && self.deadlines.get(Timer::Progress).is_none() {
            self.deadlines.set(Timer::Progress, now + PROGRESS);
        }
    }
}

impl Machine for Leading {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Output>) {
        match input {
            Input::Reign(reign) => self.reign(reign),
            Input::Members(members) => self.members(now, members, out),
            // What comes late, of an office that was lost, means nothing any more.
            _ if self.reign.is_none() => return,
            Input::Wake => {}
            Input::Said(message) => self.said(now, message, out),
            Input::Closed => self.is_heard = false,
            Input::Fetching(id, bytes) => {
                if let Some(job) = self.of_file(id) {
                    job.fetching(id, bytes);
                }
            }
            Input::Begun(id) => {
                if let Some(job) = self.of_file(id) {
                    job.begun(id);
                }
            }
            Input::Fetched(id, result) => self.fetched(now, id, result, out),
            Input::NotOffered(id, why) => {
                let failure = Failure::new(FailureKind::Machine, why);
                let job = self.of_file(id);
                let retry = job.and_then(|job| job.not_offered(id, failure, out));
                self.retry_after(now, Timer::Offer(id), retry);
            }
            Input::Going { id, rate, received } => {
                if let Some(job) = self.of_file(id) {
                    job.going(id, rate, received);
                }
            }
            Input::Ended(id, fates) => {
                let mut jobs = self.jobs.values_mut();
                let job = jobs.find(|job| job.files.contains_key(&id));
                let retry = job.and_then(|job| job.ended(id, fates, &self.present));
                self.retry_after(now, Timer::Offer(id), retry);
            }
            Input::Report { from, report } => self.report(now, from, *report, out),
        }
        for job in self.jobs.values_mut() {
            job.wake(now, out);
        }
        while let Some(timer) = self.deadlines.pop_due(now) {
            self.due(timer, out);
        }
        self.go_on(now, out);
    }

    fn wake_at(&self) -> Option<Time> {
        let jobs = self.jobs.values().filter_map(Job::wake_at);
        jobs.chain(self.deadlines.next()).min()
    }
}
