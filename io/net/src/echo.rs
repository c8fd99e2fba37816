/// Whether our own multicasts come back to us, as the kernel makes them do while group and interface are in order.
///
/// It sees what fails on this machine: the interface, the membership, a filter. What fails beyond it, as in a switch that
/// forgot who listens, only the members together can tell: they hear each other by unicast and not by the group.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    /// The ends of the latest multicasts that did not come back yet; they are seals, so no two are alike.
    awaited: Vec<End>,
    lost: bool,
}

type End = [u8; 16];

/// As many multicasts without an echo mean that something is wrong; one alone may be lost to a full buffer.
const MISSED_MAX: usize = 3;

impl Echo {
    /// A multicast was sent, or should have been. True if thereby the echo counts as lost.
    pub(crate) fn sent(&mut self, bytes: &[u8]) -> bool {
        let Some(end) = bytes.last_chunk() else {
            return false;
        };
        if self.awaited.len() < MISSED_MAX {
            self.awaited.push(*end);
            return false;
        }
        self.awaited.rotate_left(1);
        self.awaited[MISSED_MAX - 1] = *end;
        !std::mem::replace(&mut self.lost, true)
    }

    /// A multicast came. True if it is an echo after the echo had counted as lost.
    pub(crate) fn heard(&mut self, bytes: &[u8]) -> bool {
        let Some(end) = bytes.last_chunk::<16>() else {
            return false;
        };
        if !self.awaited.contains(end) {
            return false;
        }
        self.awaited.clear();
        std::mem::take(&mut self.lost)
    }

    /// Nothing is awaited any longer: multicasts go elsewhere.
    pub(crate) fn forget(&mut self) {
        self.awaited.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_lost_after_three_and_back_with_the_first() {
        let mut echo = Echo::default();
        assert!(!echo.heard(&[9; 20]));
        for round in 0..2 {
            let sent: Vec<bool> = (0..6).map(|n| echo.sent(&[10 * round + n; 20])).collect();
            assert_eq!(sent, [false, false, false, true, false, false]);
            assert!(!echo.heard(&[10 * round; 20]), "it is too long ago");
            assert!(echo.heard(&[10 * round + 4; 20]));
        }
        for n in 0..9 {
            assert!(!echo.sent(&[n; 16]));
            assert!(!echo.heard(&[n; 16]));
        }
    }
}
