//! `shm2 record` and `shm2 replay`: streams in MCAP files, one channel for each region and its caps.
//!
//! Recording: a thread for each region copies frames into messages and puts them into a queue, which holds what the disk
//! cannot take yet; the main thread writes them, a chunk at a time. Replaying: the main thread reads chunks ahead, and a
//! thread for each region publishes its frames when they are due.

mod file;
mod layout;
mod publisher;
mod queue;
mod reader;
mod receiver;
pub mod record;
mod regions;
pub mod replay;

use std::time::{SystemTime, UNIX_EPOCH};

/// Message encoding of the channels.
const ENCODING: &str = "shm2";
/// Encoding of the schemas, which hold the caps and the blob of a stream.
const STREAM_ENCODING: &str = "shm2-stream";
/// Bytes that one system call reads or writes. A longer call would keep other threads from the processor for milliseconds.
const STEP_BYTES: usize = 128 << 10;
/// Key of the caps as text in a channel's metadata.
const CAPS: &str = "caps";
/// Key of the size of the region in a channel's metadata.
const REGION_BYTES: &str = "region_bytes";

/// What all frames of a channel have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stream {
    caps: Option<Vec<u8>>,
    blob: Vec<u8>,
    /// Size of the region; 0 if unknown.
    region_bytes: u64,
}

impl Stream {
    /// The bytes of a schema: length of the caps, the caps, the blob.
    fn to_schema(&self) -> Option<Vec<u8>> {
        let caps = self.caps.as_deref()?;
        let length = u32::try_from(caps.len()).ok()?;
        Some([&length.to_le_bytes()[..], caps, &self.blob].concat())
    }

    /// Caps and blob of a schema's bytes.
    fn of_schema(schema: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, rest) = schema.split_first_chunk()?;
        rest.split_at_checked(u32::from_le_bytes(*length) as usize)
    }

    /// The media type, as the name of the schema.
    fn media_type(&self) -> String {
        let text = String::from_utf8_lossy(self.caps.as_deref().unwrap_or_default()).into_owned();
        text.split([',', ';', '(']).next().unwrap_or_default().trim().to_owned()
    }
}

/// The real-time clock minus the monotonic one, in nanoseconds, at the time of the call.
fn real_time_offset() -> u64 {
    let before = shm2::monotonic_ns();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let after = shm2::monotonic_ns();
    now.wrapping_sub(before + (after - before) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_holds_caps_and_blob_and_a_short_one_is_refused() {
        let stream = Stream { caps: Some(b"video/x-raw, width=16".into()), blob: vec![0, 255], region_bytes: 1 };
        let schema = stream.to_schema().unwrap();
        assert_eq!(Stream::of_schema(&schema), Some((&b"video/x-raw, width=16"[..], &[0, 255][..])));
        assert_eq!(stream.media_type(), "video/x-raw");
        assert_eq!(Stream::default().to_schema(), None);
        for cut in 0..25 {
            assert_eq!(Stream::of_schema(&schema[..cut]), None, "{cut}");
        }
    }
}
