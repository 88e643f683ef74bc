//! Frames of several regions for one instant.

use super::queue::Member;
use super::{Token, WaitSet};
use crate::consumer::{Consumer, Frame};
use crate::error::ReceiveError;
use std::time::{Duration, Instant};

/// Why [`WaitSet::wait_for_all`] returned no frames.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatchError {
    /// The time passed, or a handle woke the thread. Frames that were found stay for the next call.
    #[error("not all regions had a frame of the same instant in time")]
    TimedOut,
    /// A consumer returned an error. The other frames stay for the next call.
    #[error("a region has no frame: {error}")]
    Receive {
        /// Which consumer.
        token: Token,
        /// Its error.
        error: ReceiveError,
    },
}

impl WaitSet {
    /// One frame of each consumer of the set, all of one instant: no two of their times are further apart than
    /// `tolerance`. Older frames, which have no like in each region, are dropped. In the order of their tokens.
    ///
    /// The time of a frame is its [`time`](crate::FrameInfo::time), the clock at which it was captured, if the producer
    /// gives it and it is at most ten seconds in the future, or else the time of publication; both on the clock of this process ([`Consumer::to_local`]). For cameras
    /// of one rate without a common trigger, half a frame's duration is a useful tolerance.
    ///
    /// # Errors
    /// [`MatchError`]; the next call goes on.
    ///
    /// ```
    /// # let name = |which: &str| format!("shm:///dev/shm/shm2-doc-match-{which}-{}", std::process::id());
    /// use shm2::{Consumer, FrameInfo, Producer, WaitSet};
    /// use std::time::Duration;
    ///
    /// let ms = |time: u64| {
    ///     let mut info = FrameInfo::new();
    ///     info.time = Some(time * 1_000_000);
    ///     info
    /// };
    /// let (mut left, mut right) = (Producer::create(&name("left"))?, Producer::create(&name("right"))?);
    /// let mut set = WaitSet::new();
    /// set.add(Consumer::builder(&name("left"))?.start(shm2::Start::Oldest).build())?;
    /// set.add(Consumer::builder(&name("right"))?.start(shm2::Start::Oldest).build())?;
    /// left.send(b"left at 1000", &ms(1000))?;
    /// left.send(b"left at 1040", &ms(1040))?;
    /// right.send(b"right at 1041", &ms(1041))?;
    ///
    /// let frames = set.wait_for_all(Duration::from_millis(5), Some(Duration::from_secs(1)))?;
    /// let texts: Vec<_> = frames.iter().map(|(_, frame)| frame.to_vec()).collect();
    /// assert_eq!(texts, [&b"left at 1040"[..], b"right at 1041"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_all(
        &mut self,
        tolerance: Duration,
        timeout: Option<Duration>,
    ) -> Result<Vec<(Token, Frame)>, MatchError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let tolerance = u64::try_from(tolerance.as_nanos()).unwrap_or(u64::MAX);
        let mut is_over = false;
        loop {
            self.drop_unmatched(tolerance);
            if !self.members.is_empty() && self.members.values().all(|member| member.candidate.is_some()) {
                return Ok(self.take_candidates());
            }
            // Frames that are too old, and events, come without a wait.
            if is_over {
                return Err(MatchError::TimedOut);
            }
            let Some(ready) = self.next_of(deadline, |member| member.candidate.is_none()) else {
                return Err(MatchError::TimedOut);
            };
            is_over = self.is_over(deadline);
            let token = ready.token;
            let frame = ready.frame.map_err(|error| MatchError::Receive { token, error })?;
            if let Some(member) = self.members.get_mut(&token).filter(|_| !frame.is_event()) {
                member.candidate = Some((local_time(&member.consumer, &frame), frame));
            }
        }
    }

    /// Drops candidates that are too old for the newest one.
    fn drop_unmatched(&mut self, tolerance: u64) {
        let times = self.members.values().filter_map(|member| member.candidate.as_ref().map(|(time, _)| *time));
        let Some(newest) = times.max() else { return };
        for member in self.members.values_mut() {
            member.candidate = member.candidate.take().filter(|(time, _)| newest - time <= tolerance);
        }
    }

    fn take_candidates(&mut self) -> Vec<(Token, Frame)> {
        let take = |(token, member): (&Token, &mut Member)| Some((*token, member.candidate.take()?.1));
        let mut frames: Vec<_> = self.members.iter_mut().filter_map(take).collect();
        frames.sort_by_key(|(token, _)| *token);
        frames
    }
}

/// How far in the future the time of a frame may be. A later one is of another clock, and would make the frames of all
/// other regions too old.
const AHEAD: Duration = Duration::from_secs(10);

/// When the frame was captured, or else published, nanoseconds of this process's monotonic clock.
fn local_time(consumer: &Consumer, frame: &Frame) -> u64 {
    let now = crate::monotonic_ns();
    let local =
        |time: Option<u64>, latest: u64| time.map(|time| consumer.to_local(time)).filter(|time| *time <= latest);
    let captured = local(frame.info().time, now.saturating_add(AHEAD.as_nanos() as u64));
    captured.or_else(|| local(frame.published_ns(), now)).unwrap_or(now)
}
