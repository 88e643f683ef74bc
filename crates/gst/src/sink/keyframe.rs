//! Requests for a keyframe, which go upstream to the encoder.

use std::time::Duration;

/// Shortest time between two requests: an encoder that makes a keyframe of each frame has no bits left for the picture.
const INTERVAL_NS: u64 = 300_000_000;

/// The muxer of Ogg stops for good at headers in mid-stream. Consumers have them from the caps.
const OGG: &[&str] = &["application/ogg", "audio/ogg", "video/ogg"];

/// Limits the rate of requests. One that comes too early is sent when it is due, together with those that follow it.
#[derive(Debug, Default)]
pub(super) struct RequestLimit {
    last_ns: Option<u64>,
    is_waiting: bool,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Send,
    /// Send it after this time.
    Wait(Duration),
    /// Another one waits already.
    Join,
}

impl RequestLimit {
    /// Decides on a request at `now_ns`. After [`Admission::Wait`] a call of [`end_wait`](Self::end_wait) has to follow.
    pub(super) fn admit(&mut self, now_ns: u64) -> Admission {
        let age = self.last_ns.map_or(INTERVAL_NS, |last| now_ns.saturating_sub(last));
        if self.is_waiting {
            Admission::Join
        } else if age >= INTERVAL_NS {
            self.last_ns = Some(now_ns);
            Admission::Send
        } else {
            self.is_waiting = true;
            Admission::Wait(Duration::from_nanos(INTERVAL_NS - age))
        }
    }

    /// The request that waited is sent.
    pub(super) fn end_wait(&mut self, now_ns: u64) {
        *self = Self { last_ns: Some(now_ns), is_waiting: false };
    }
}

/// The event for a stream of these caps. A stream without caps has not begun, and begins with its headers.
pub(super) fn event(caps: Option<&gst::CapsRef>) -> gst::Event {
    let name = caps.and_then(|caps| caps.structure(0)).map(|structure| structure.name().as_str());
    let has_headers = name.is_some_and(|name| !OGG.contains(&name));
    gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(has_headers).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn requests_are_300_ms_apart_and_none_is_lost() {
        let mut requests = RequestLimit::default();
        assert_eq!(requests.admit(5 * MS), Admission::Send);
        assert_eq!(requests.admit(105 * MS), Admission::Wait(Duration::from_millis(200)));
        assert_eq!(requests.admit(205 * MS), Admission::Join);
        assert_eq!(requests.admit(999 * MS), Admission::Join, "the thread that waits is late");
        requests.end_wait(1000 * MS);
        assert_eq!(requests.admit(1100 * MS), Admission::Wait(Duration::from_millis(200)));
        requests.end_wait(1300 * MS);
        assert_eq!(requests.admit(1600 * MS), Admission::Send);
    }

    #[test]
    fn headers_are_asked_for_unless_the_stream_is_ogg_or_has_not_begun() {
        gst::init().unwrap();
        let has_headers = |caps: Option<&gst::CapsRef>| {
            gst_video::UpstreamForceKeyUnitEvent::parse(&event(caps)).unwrap().all_headers
        };
        for (name, expected) in [("video/x-h264", true), ("video/mpegts", true), ("application/ogg", false)] {
            assert_eq!(has_headers(Some(&gst::Caps::new_empty_simple(name))), expected, "{name}");
        }
        assert!(!has_headers(None));
    }
}
