//! What the base class adds to the time at which a buffer is due, so that consumers add it, too.

use gst_base::prelude::*;

/// The base class's limit of the bit rate (`max-bitrate`): a buffer is due when those before it had their time.
#[derive(Debug, Default)]
pub(super) struct RateControl {
    /// Due time of the first buffer of a row in which each waits for the one before it, and the bytes of the row.
    start: u64,
    bytes: u64,
    /// Time before which no buffer is due.
    next: Option<u64>,
}

impl RateControl {
    /// Time in nanoseconds by which a buffer of this running time is due later than that.
    pub(super) fn shift(&mut self, sink: &gst_base::BaseSink, running_ns: u64) -> i64 {
        if !sink.is_sync() {
            return 0;
        }
        let offset = sink.ts_offset();
        // The base class waits for a buffer in PLAYING at the earliest, at running time 0.
        let early = offset.saturating_sub_unsigned(sink.render_delay().nseconds());
        let wait = self.delay(running_ns.saturating_add_signed(early), sink.max_bitrate());
        offset.saturating_add_unsigned(wait)
    }

    fn delay(&mut self, due: u64, max_bitrate: u64) -> u64 {
        let next = self.next.filter(|next| max_bitrate > 0 && *next > due);
        if next.is_none() {
            (self.start, self.bytes) = (due, 0);
        }
        next.map_or(0, |next| next - due)
    }

    /// A buffer was rendered.
    pub(super) fn count(&mut self, bytes: u64, max_bitrate: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let took = u128::from(self.bytes) * 8_000_000_000 / u128::from(max_bitrate.max(1));
        self.next = (max_bitrate > 0).then(|| self.start.saturating_add(u64::try_from(took).unwrap_or(u64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_above_the_bit_rate_are_due_later() {
        let mut control = RateControl::default();
        let mut delays = Vec::new();
        for due in [0, 10, 20, 1_000] {
            delays.push(control.delay(due, 8_000_000_000));
            assert_eq!(Some(&control.delay(due, 8_000_000_000)), delays.last(), "another attempt");
            control.count(100, 8_000_000_000);
        }
        assert_eq!(delays, [0, 90, 180, 0]);
        assert_eq!(control.delay(1_001, 0), 0);
    }
}
