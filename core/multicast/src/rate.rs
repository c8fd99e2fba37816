use std::time::Duration;

use crate::job::Rate;

/// How fast a session sends (MCTP-15).
///
/// It begins modestly and rises by half until something shows that the network is full: a queue, told by answers that take
/// longer than the quickest ones, or a link that does not take what is sent. (Doubling, as TCP does, overshoots by more
/// than the repairs of a transfer may cost.) From then on it goes a little faster all the time, and where a queue builds up
/// falls to what came through, and a little below, so that the queue drains.
///
/// A queue that does not drain belongs to others, and so does what no longer comes through. Beside them the rate rises
/// slowly and steadily, and falls by a third when the queue overflows, as theirs does; yielding to every queue would leave
/// nothing.
///
/// Loss alone says nothing: on many links some is always there. So where there is no queue, a loss that is more than usual
/// lowers the rate to what came through; if that does not lower the loss, the rate was not its cause: it counts as usual
/// from then on, and the rate is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateControl {
    settings: Rate,
    rate: u64,
    phase: Phase,
    /// Loss that does not come from the rate, in millionths.
    usual: u64,
    /// Since the last tick: the greatest loss that was told.
    worst: Option<u64>,
    /// The loss that was told last.
    latest: u64,
    /// Loss where there is no queue, on average.
    background: u64,
    /// Frames from here on were sent at the present rate.
    since: u64,
    /// The rate and loss that led to the last cut, until it is known what it brought.
    cut: Option<(u64, u64)>,
    /// What came through when the network was last full; and the most that ever did since this was alone there.
    capacity: Option<u64>,
    most: u64,
    /// The shortest time that an answer took.
    quickest: Option<Duration>,
    /// By how much longer the last answer took, since the last tick; and how much that was when the rate last fell.
    queue: Option<Duration>,
    queue_before: Duration,
    /// How long the last answer took.
    took: Duration,
    /// Ticks in a row with a queue, and without.
    full: u32,
    free: u32,
    /// Ticks in a row in which less was sent than was allowed.
    held_up: u32,
    /// What came through between the last two answers.
    delivered: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Rises by half at a time.
    Start,
    /// Alone on its way, as far as can be seen; so many times in a row it fell and the queue stayed.
    Alone { drains: u32 },
    /// Others fill the queue. Ticks since it last fell.
    Shared { age: u32 },
}

const LOSS_MARGIN: u64 = 20_000;
/// Loss beside others, above the usual one, that shows an overflow.
const LOSS_SHARED: u64 = 5_000;
/// Loss that ends the start even where no queue is seen.
const LOSS_START: u64 = 50_000;
const MILLION: u64 = 1_000_000;
/// So fast at first.
const RATE_START: u64 = 20_000_000;
/// An answer that takes so much longer waited in a queue.
const QUEUE: Duration = Duration::from_millis(15);
/// One late answer is bad luck.
const FULL_TICKS: u32 = 2;
/// A queue that stays so often though the rate fell belongs to others.
const DRAINS_MAX: u32 = 4;
/// From one fall beside others to the next, in ticks: the answers to the first must come first.
const FALL_TICKS: u32 = 3;
/// What TCP adds in a tick, times the square of the round trip in microseconds: half a packet of 1,500 bytes for each round
/// trip.
const STEP: u64 = 636_000_000_000_000;
/// TCP on a shorter way is limited by other things.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(20);
/// Ticks without a queue from which the rate rises faster.
const FREE_LONG: u32 = 10;
/// Without a queue for so many ticks it is alone again.
const FREE_TICKS: u32 = 50;

impl RateControl {
    pub(crate) fn new(settings: Rate) -> Self {
        let rate = match settings {
            Rate::Fixed(rate) => rate,
            Rate::Adaptive { floor, ceiling } => RATE_START.max(floor).min(ceiling),
        };
        Self {
            settings,
            rate,
            phase: Phase::Start,
            usual: 0,
            worst: None,
            latest: 0,
            background: 0,
            since: 0,
            cut: None,
            capacity: None,
            most: 0,
            quickest: None,
            queue: None,
            queue_before: Duration::ZERO,
            took: Duration::ZERO,
            full: 0,
            free: 0,
            held_up: 0,
            delivered: None,
        }
    }

    pub(crate) const fn rate(&self) -> u64 {
        self.rate
    }

    /// Does it need answers?
    pub(crate) const fn is_adaptive(&self) -> bool {
        matches!(self.settings, Rate::Adaptive { .. })
    }

    /// How long the last answer took.
    pub(crate) const fn round_trip(&self) -> Duration {
        self.took
    }

    /// Is it still finding out how fast the network is?
    pub(crate) fn starts(&self) -> bool {
        self.is_adaptive() && self.phase == Phase::Start
    }

    /// Loss to reckon with, in millionths.
    pub(crate) fn usual_loss(&self) -> u64 {
        self.usual.max(self.latest)
    }

    /// Another ceiling: a session more or less shares the link.
    pub(crate) fn set_ceiling(&mut self, new: u64) {
        match &mut self.settings {
            Rate::Fixed(rate) => *rate = new,
            Rate::Adaptive { ceiling, floor } => {
                *ceiling = new;
                *floor = (*floor).min(new);
            }
        }
        self.rate = match self.settings {
            Rate::Fixed(rate) => rate,
            Rate::Adaptive { .. } => self.rate.min(new),
        };
    }

    /// A participant lost so many millionths of the frames from `from` on.
    pub(crate) fn lost(&mut self, from: u64, loss: u64) {
        self.latest = loss;
        if from >= self.since {
            self.worst = Some(self.worst.map_or(loss, |worst| worst.max(loss)));
        }
    }

    /// A participant that was asked answered after so long; what came through to it since its last answer.
    pub(crate) fn answered(&mut self, took: Duration, delivered: Option<u64>) {
        let quickest = self.quickest.map_or(took, |quickest| quickest.min(took));
        self.quickest = Some(quickest);
        self.took = took;
        self.queue = Some(took.saturating_sub(quickest));
        self.delivered = delivered.or(self.delivered);
    }

    /// Some time has passed, in which `sent` bits a second were sent; the next frame will be `sequence`.
    pub(crate) fn tick(&mut self, sequence: u64, sent: u64) {
        let Rate::Adaptive { floor, ceiling } = self.settings else {
            return;
        };
        let heard = self.queue.take();
        match heard {
            Some(queue) if queue > QUEUE => (self.full, self.free) = (self.full + 1, 0),
            Some(_) => (self.full, self.free) = (0, self.free + 1),
            None => {}
        }
        let before = self.rate;
        match self.phase {
            Phase::Start => self.start(heard.is_some(), sent),
            Phase::Alone { drains } if self.full >= FULL_TICKS => {
                self.drain(drains, heard.unwrap_or(self.queue_before));
            }
            Phase::Alone { .. } if self.full > 0 => {}
            Phase::Alone { .. } => {
                self.phase = Phase::Alone { drains: 0 };
                self.go_on(sequence, sent);
            }
            Phase::Shared { age } => self.share(age),
        }
        self.rate = self.rate.clamp(floor, ceiling);
        if self.rate < before {
            self.since = sequence;
        }
    }

    fn start(&mut self, was_heard: bool, sent: u64) {
        let is_lossy = self
            .worst
            .take()
            .is_some_and(|loss| loss > self.usual + LOSS_START);
        // The link itself takes no more.
        let is_held_up = was_heard && sent * 5 < self.rate * 4;
        self.held_up = if is_held_up { self.held_up + 1 } else { 0 };
        if self.full.max(self.held_up) >= FULL_TICKS || is_lossy {
            let through = self.delivered.unwrap_or(self.rate / 2);
            let through = through.min(self.rate).max(self.rate / 2);
            self.capacity = Some(through);
            self.most = through;
            self.rate = through / 100 * 95;
            self.phase = Phase::Alone { drains: 0 };
            self.full = 0;
        } else if was_heard && self.full == 0 && !is_held_up {
            self.rate = self.rate / 2 * 3;
        }
    }

    /// A queue: what came through, and a little less.
    fn drain(&mut self, drains: u32, queue: Duration) {
        let loss = self.worst.take().unwrap_or(0);
        self.cut = None;
        let through = self.delivered.unwrap_or(self.rate).min(self.rate);
        // A busy machine answers late as well; if nothing is lost it is believed by and by.
        let through = match loss > self.usual + LOSS_MARGIN {
            true => through,
            false => through.max(self.rate / 5 * 4),
        };
        if drains == 0 {
            self.capacity = Some(through);
            self.most = self.most.max(through);
        }
        if drains >= DRAINS_MAX || through * 4 < self.most * 3 {
            self.phase = Phase::Shared { age: 0 };
            return;
        }
        self.rate = through / 100 * 93;
        // As long as it becomes shorter it is our own.
        let falls = drains > 0 && queue < self.queue_before / 10 * 9;
        self.queue_before = queue;
        self.phase = Phase::Alone {
            drains: if falls { drains } else { drains + 1 },
        };
        self.full = 0;
    }

    /// No queue: only loss can say that this is too fast.
    fn go_on(&mut self, sequence: u64, sent: u64) {
        let Some(loss) = self.worst.take() else {
            // Nobody has anything to say, or nobody was heard yet since the last change.
            if self.cut.is_none() {
                self.rise(sent);
            }
            return;
        };
        if let Some((rate, before)) = self.cut.take() {
            if loss * 4 > before * 3 {
                self.usual = loss;
                self.rate = rate;
                self.capacity = None;
                self.since = sequence;
                return;
            }
            self.capacity = Some(through(rate, before));
        }
        self.background = (self.background * 3 + loss) / 4;
        if loss > self.usual + LOSS_MARGIN {
            self.cut = Some((self.rate, loss));
            let excess = loss.saturating_sub(self.usual);
            self.rate = through(self.rate, excess) * 98 / 100;
        } else {
            self.usual = self.usual.min(loss);
            self.rise(sent);
        }
    }

    /// Beside others, as they do: the same step whatever the share, or shares would never become equal.
    fn share(&mut self, age: u32) {
        let loss = self.worst.take().unwrap_or(0);
        let overflows = self.full > 0 && loss > self.background * 2 + LOSS_SHARED;
        if self.free >= FREE_TICKS {
            self.most = 0;
        }
        self.phase = match () {
            () if self.free >= FREE_TICKS => Phase::Alone { drains: 0 },
            () if overflows && age >= FALL_TICKS => {
                self.rate = self.rate / 10 * 7;
                Phase::Shared { age: 0 }
            }
            () => {
                let micros = u64::try_from(self.took.max(ROUND_TRIP_MIN).as_micros());
                let micros = micros.unwrap_or(u64::MAX).min(1 << 24);
                let step = STEP / (micros * micros);
                self.rate += step.min(self.rate / 20).max(1);
                let age = age.saturating_add(1);
                Phase::Shared { age }
            }
        };
    }

    fn rise(&mut self, sent: u64) {
        // What is not used shows nothing.
        if sent * 5 < self.rate * 4 {
            return;
        }
        let part = self.capacity.map_or(0, |capacity| {
            u128::from(self.rate) * 100 / u128::from(capacity.max(1))
        });
        let step = match part {
            95..=105 => self.rate / 200,
            // It was not the limit, or is none any more.
            106.. if self.free > FREE_LONG => self.rate / 8,
            _ => self.rate / 20,
        };
        self.rate += step.max(1);
    }
}

const fn through(rate: u64, loss: u64) -> u64 {
    let kept = MILLION.saturating_sub(loss);
    ((rate as u128 * kept as u128) / MILLION as u128) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000;
    const TICK: f64 = 0.1;

    fn adaptive() -> RateControl {
        RateControl::new(Rate::Adaptive {
            floor: MBIT,
            ceiling: 1_000 * MBIT,
        })
    }

    /// A link with a queue of 50 ms, and what else is on it.
    struct Link {
        capacity: f64,
        random_loss: f64,
        /// Bits that wait.
        queue: f64,
        /// Does whoever sends wait for room, instead of losing?
        is_own: bool,
    }

    /// Somebody else's flow, that rises steadily and falls by three tenths when the queue overflows.
    struct Other {
        rate: f64,
        calm: u32,
        starts: bool,
    }

    impl Link {
        fn new(mbit: f64) -> Self {
            Self {
                capacity: mbit * 1e6,
                random_loss: 0.0,
                queue: 0.0,
                is_own: false,
            }
        }

        /// One tick; what came through of ours.
        fn tick(
            &mut self,
            control: &mut RateControl,
            other: Option<&mut Other>,
            number: u64,
        ) -> f64 {
            let room = self.capacity * 0.05;
            let mut ours = control.rate() as f64;
            let theirs = other.as_ref().map_or(0.0, |other| other.rate);
            if self.is_own {
                ours = ours.min(self.capacity + (room * 0.7 - self.queue) / TICK);
            }
            self.queue = (self.queue + (ours + theirs - self.capacity) * TICK).max(0.0);
            let over = (self.queue - room).max(0.0);
            self.queue -= over;
            let overflow = over / ((ours + theirs) * TICK);
            let loss = 1.0 - (1.0 - overflow) * (1.0 - self.random_loss);
            let share = ours / (ours + theirs) * self.capacity;
            let delivered = if self.queue > 0.0 {
                share
            } else {
                share.min(ours)
            };
            let delivered = delivered * (1.0 - self.random_loss);
            let took = Duration::from_secs_f64(0.0005 + self.queue / self.capacity);
            control.answered(took, Some(delivered as u64));
            control.lost(number * 100, (loss * 1e6) as u64);
            control.tick(number * 100 + 50, ours as u64);
            if std::env::var_os("TRACE").is_some() {
                eprintln!(
                    "{number} {:?} rate {} ours {ours} theirs {theirs} queue {:.1} ms loss {loss:.4} came {delivered}",
                    control.phase,
                    control.rate,
                    self.queue / self.capacity * 1e3
                );
            }
            if let Some(other) = other {
                if overflow > 0.0 && (other.starts || other.calm >= 2) {
                    let fall = if other.starts { 0.5 } else { 0.7 };
                    (other.calm, other.starts) = (0, false);
                    other.rate *= fall;
                } else if other.starts {
                    other.rate *= 2.0;
                } else {
                    let round_trip = (self.queue / self.capacity).max(0.02);
                    other.rate += 636.0 / (round_trip * round_trip);
                    other.calm += 1;
                }
            }
            delivered
        }

        /// The mean of what came through in so many ticks, in parts of the capacity.
        fn run(&mut self, control: &mut RateControl, ticks: u64) -> f64 {
            let came = (0..ticks).map(|number| self.tick(control, None, number));
            came.sum::<f64>() / ticks as f64 / self.capacity
        }
    }

    /// MCTP-15: whatever the link, it is found within a second, and used from then on.
    #[test]
    fn a_start_finds_the_link_whatever_its_speed() {
        for mbit in [5.0, 20.0, 50.0, 130.0, 700.0] {
            for is_own in [false, true] {
                let (mut control, mut link) = (adaptive(), Link::new(mbit));
                link.is_own = is_own;
                link.run(&mut control, 15);
                let used = link.run(&mut control, 300);
                assert!(used > 0.93, "{mbit} Mbit/s, own {is_own}: {used}");
            }
        }
    }

    /// MCTP-15, and the collapse of other protocols at random loss does not happen.
    #[test]
    fn random_loss_costs_no_speed() {
        for random_loss in [0.01, 0.05, 0.1] {
            for is_own in [false, true] {
                let (mut control, mut link) = (adaptive(), Link::new(50.0));
                (link.random_loss, link.is_own) = (random_loss, is_own);
                link.run(&mut control, 15);
                let used = link.run(&mut control, 300) / (1.0 - random_loss);
                assert!(used > 0.92, "{random_loss}, own {is_own}: {used}");
            }
        }
    }

    #[test]
    fn a_link_that_becomes_slower_is_followed_down_and_up_again() {
        let (mut control, mut link) = (adaptive(), Link::new(100.0));
        link.run(&mut control, 50);
        link.capacity = 30e6;
        link.run(&mut control, 20);
        // It cannot know whether others are there now.
        let used = link.run(&mut control, 100);
        assert!(used > 0.82, "{used}");
        assert!(control.rate() < 35 * MBIT, "{}", control.rate());
        link.capacity = 100e6;
        link.run(&mut control, 200);
        assert!(control.rate() > 85 * MBIT, "{}", control.rate());
    }

    /// Fair beside a flow that does as TCP does, whoever came first.
    #[test]
    fn beside_another_flow_each_has_its_share() {
        for first in [2.0, 45.0] {
            let (mut control, mut link) = (adaptive(), Link::new(50.0));
            let mut other = Other {
                rate: first * 1e6,
                calm: 0,
                starts: first < 10.0,
            };
            let (mut ours, mut theirs) = (0.0, 0.0);
            for number in 0..1_200 {
                let came = link.tick(&mut control, Some(&mut other), number);
                if number > 200 {
                    ours += came;
                    theirs += other.rate.min(link.capacity - came);
                }
            }
            let part = ours / (ours + theirs);
            assert!((0.33..0.6).contains(&part), "first {first}: {part}");
        }
    }

    #[test]
    fn the_rate_never_leaves_its_bounds_and_a_fixed_one_never_changes() {
        let mut control = adaptive();
        for tick in 0..200 {
            control.lost(tick, 999_999 - tick * 4_000);
            control.answered(Duration::from_millis(tick % 90), Some(tick));
            control.tick(tick, control.rate());
            assert!((MBIT..=1_000 * MBIT).contains(&control.rate()));
        }
        let mut fixed = RateControl::new(Rate::Fixed(7));
        fixed.lost(0, 900_000);
        fixed.tick(1, 7);
        assert_eq!(fixed.rate(), 7);
    }
}
