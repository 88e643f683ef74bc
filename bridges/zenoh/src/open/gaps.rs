//! Which messages of which sender are taken, and what is missing between them.

use crate::message::{Header, Kind};
use std::time::{Duration, Instant};

/// Silence of the newest sender after which an older one is taken again.
const SILENCE: Duration = Duration::from_secs(2);

/// The sender that is followed. Of two that publish under one name, the one that began later counts.
#[derive(Debug, Default)]
pub struct Gaps {
    followed: Option<Followed>,
    /// Messages of other senders.
    pub refused: u64,
    /// Messages that the network has dropped.
    pub lost: u64,
    /// Items that the sender has missed in its region.
    pub missed: u64,
}

#[derive(Debug)]
struct Followed {
    instance: u64,
    number: u64,
    missed: u64,
    last: Instant,
    /// Messages were not received because nobody wanted them.
    is_paused: bool,
}

/// What a message is to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It follows on the last one.
    Next,
    /// Something is missing before it.
    AfterGap,
    /// It is the first one of a sender, or the first one after a pause.
    First,
    /// It is of a sender that is not followed, or comes twice.
    Refused,
}

impl Gaps {
    /// The instance of the sender that is followed.
    pub fn instance(&self) -> Option<u64> {
        self.followed.as_ref().map(|followed| followed.instance)
    }

    /// Nothing is received from now on. What is sent meanwhile is not lost.
    pub fn pause(&mut self) {
        if let Some(followed) = &mut self.followed {
            followed.is_paused = true;
        }
    }

    /// Takes a message that has arrived at `now`.
    pub fn arrive(&mut self, header: &Header, now: Instant) -> Arrival {
        let Header { instance, number, missed, is_discontinuity, .. } = *header;
        if header.kind == Kind::Description {
            return Arrival::Next;
        }
        match &mut self.followed {
            Some(last) if last.instance == instance => {
                if number <= last.number {
                    self.refused += 1;
                    return Arrival::Refused;
                }
                let (lost, new_missed) = (number - last.number - 1, missed.saturating_sub(last.missed));
                (last.number, last.missed, last.last) = (number, missed, now);
                if std::mem::take(&mut last.is_paused) {
                    return Arrival::First;
                }
                // A sender that begins again and again may say anything.
                self.lost = self.lost.saturating_add(lost);
                self.missed = self.missed.saturating_add(new_missed);
                if lost > 0 || new_missed > 0 || is_discontinuity { Arrival::AfterGap } else { Arrival::Next }
            }
            Some(last) if instance < last.instance && now.saturating_duration_since(last.last) < SILENCE => {
                self.refused += 1;
                Arrival::Refused
            }
            _ => {
                self.followed = Some(Followed { instance, number, missed, last: now, is_paused: false });
                Arrival::First
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Pair;

    fn header(instance: u64, number: u64, missed: u64) -> Header {
        let info = shm2::FrameInfo::new();
        let (is_discontinuity, clocks) = (false, Pair::default());
        let (sequence, published, stream, size) = (number, None, 0, 0);
        let kind = Kind::Frame;
        Header { kind, is_discontinuity, instance, number, sequence, missed, info, published, clocks, stream, size }
    }

    #[test]
    fn what_is_missing_is_counted_and_of_two_senders_one_is_followed() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        let mut arrive = |instance, number, missed, ms| {
            gaps.arrive(&header(instance, number, missed), now + Duration::from_millis(ms))
        };
        assert_eq!(arrive(10, 5, 0, 0), Arrival::First);
        assert_eq!(arrive(10, 6, 0, 0), Arrival::Next);
        assert_eq!(arrive(10, 9, 0, 0), Arrival::AfterGap);
        assert_eq!(arrive(10, 10, 3, 0), Arrival::AfterGap);
        assert_eq!(arrive(10, 10, 3, 0), Arrival::Refused);
        assert_eq!(arrive(9, 1, 0, 1999), Arrival::Refused);
        assert_eq!(arrive(11, 1, 0, 1999), Arrival::First);
        assert_eq!(arrive(10, 11, 3, 3000), Arrival::Refused);
        assert_eq!(arrive(10, 12, 3, 4000), Arrival::First);
        assert_eq!((gaps.lost, gaps.missed, gaps.refused), (2, 3, 3));
    }

    #[test]
    fn what_is_sent_during_a_pause_is_not_lost() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        assert_eq!(gaps.arrive(&header(10, 5, 0), now), Arrival::First);
        gaps.pause();
        assert_eq!(gaps.arrive(&header(10, 5, 0), now), Arrival::Refused);
        assert_eq!(gaps.arrive(&header(10, 50, 7), now), Arrival::First);
        assert_eq!(gaps.arrive(&header(10, 52, 8), now), Arrival::AfterGap);
        assert_eq!((gaps.lost, gaps.missed), (1, 1));
    }

    #[test]
    fn no_numbers_of_a_sender_overflow_the_counts() {
        const HIGHEST: u64 = 1 << 62;
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        for instance in 1..10 {
            gaps.arrive(&header(instance, 1, 0), now);
            assert_eq!(gaps.arrive(&header(instance, HIGHEST, HIGHEST), now), Arrival::AfterGap);
        }
        assert_eq!((gaps.lost, gaps.missed), (u64::MAX, u64::MAX));
    }
}
