use std::sync::Arc;
use std::time::Duration;

use bellwether_types::Time;
use tokio::sync::Notify;

/// Something on the network looks as if this node had missed what its control server told others: asks, but seldom,
/// because strangers can make it look so.
#[derive(Debug)]
pub(crate) struct Doubt {
    refresh: Arc<Notify>,
    /// Not before then again.
    again: Time,
    wait: Duration,
}

const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

impl Doubt {
    /// Asks by `refresh`.
    pub(crate) const fn new(refresh: Arc<Notify>) -> Self {
        Self {
            refresh,
            again: Time::ZERO,
            wait: WAIT,
        }
    }

    /// There is reason for it.
    pub(crate) fn arise(&mut self, now: Time) {
        if now >= self.again {
            self.refresh.notify_one();
            self.again = now + self.wait;
            self.wait = (self.wait * 2).min(WAIT_MAX);
        }
    }

    /// There was something new: the next doubt is as good as the first.
    pub(crate) const fn settle(&mut self) {
        self.wait = WAIT;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn a_flood_of_doubts_asks_seldom() {
        let refresh = Arc::new(Notify::new());
        let mut doubt = Doubt::new(Arc::clone(&refresh));
        let mut asked = 0;
        for second in 1..=600 {
            for _ in 0..100 {
                doubt.arise(Time::ZERO + Duration::from_secs(second));
                asked += usize::from(pin!(refresh.notified()).as_mut().enable());
            }
        }
        assert!((1..20).contains(&asked), "{asked}");
    }
}
