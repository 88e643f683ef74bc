//! Metas that travel with a frame, as a list of items: kind (u16), zero (u16), length (u32), then that many bytes; all
//! little-endian. Items of an unknown kind are passed over.
//!
//! Kind 1, video: flags u32, width u32, height u32, number of planes n u32, n offsets u64, n strides i32, format name.

use gst_video::{VideoFormat, VideoFrameFlags, VideoMeta};

const KIND_VIDEO: u16 = 1;
const PLANES: usize = 4;

/// The blob for a buffer; empty when it has no meta that travels.
pub(crate) fn encode(buffer: &gst::BufferRef) -> Vec<u8> {
    let mut blob = Vec::new();
    if let Some(meta) = buffer.meta::<VideoMeta>() {
        item(&mut blob, KIND_VIDEO, &video_bytes(&meta));
    }
    blob
}

/// Adds to the buffer what the blob holds. What is damaged or does not fit the buffer is left out.
pub(crate) fn decode(blob: &[u8], buffer: &mut gst::BufferRef) {
    let mut reader = Reader(blob);
    while let Some((kind, bytes)) = reader.item() {
        if kind == KIND_VIDEO {
            let _ = add_video(buffer, bytes);
        }
    }
}

fn item(blob: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    blob.extend(kind.to_le_bytes());
    blob.extend([0; 2]);
    blob.extend((bytes.len() as u32).to_le_bytes());
    blob.extend(bytes);
}

fn video_bytes(meta: &VideoMeta) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [meta.video_frame_flags().bits(), meta.width(), meta.height(), meta.n_planes()] {
        bytes.extend(word.to_le_bytes());
    }
    meta.offset().iter().for_each(|o| bytes.extend((*o as u64).to_le_bytes()));
    meta.stride().iter().for_each(|s| bytes.extend(s.to_le_bytes()));
    bytes.extend(meta.format().to_str().as_bytes());
    bytes
}

fn add_video(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    let mut reader = Reader(bytes);
    let flags = VideoFrameFlags::from_bits_truncate(reader.u32()?);
    let (width, height) = (reader.u32()?, reader.u32()?);
    let planes = Some(reader.u32()? as usize).filter(|n| (1..=PLANES).contains(n))?;
    let offsets = (0..planes).map(|_| reader.u64().map(|o| o as usize)).collect::<Option<Vec<_>>>()?;
    let strides = (0..planes).map(|_| reader.u32().map(|s| s as i32)).collect::<Option<Vec<_>>>()?;
    let format = VideoFormat::from_string(std::str::from_utf8(reader.0).ok()?);
    let known = gst_video::VideoFormatInfo::from_format(format).n_planes() as usize == planes;
    let inside = offsets.iter().all(|&o| o <= buffer.size());
    if format == VideoFormat::Unknown || format == VideoFormat::Encoded || !known || !inside {
        return None;
    }
    VideoMeta::add_full(buffer, flags, format, width, height, &offsets, &strides).ok().map(drop)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn item(&mut self) -> Option<(u16, &'a [u8])> {
        let kind = u16::from_le_bytes(self.array()?);
        let _zero: [u8; 2] = self.array()?;
        let length = self.u32()? as usize;
        Some((kind, self.take(length)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_meta_travels_and_damaged_ones_do_not() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::with_size(64 * 48 * 2).unwrap();
        let (offsets, strides) = ([0, 64 * 48], [64, 64]);
        let flags = VideoFrameFlags::INTERLACED;
        VideoMeta::add_full(buffer.get_mut().unwrap(), flags, VideoFormat::Nv12, 60, 48, &offsets, &strides).unwrap();
        let blob = encode(&buffer);
        let mut received = gst::Buffer::with_size(64 * 48 * 2).unwrap();
        decode(&blob, received.get_mut().unwrap());
        let meta = received.meta::<VideoMeta>().unwrap();
        assert_eq!(
            (meta.format(), meta.width(), meta.offset(), meta.stride()),
            (VideoFormat::Nv12, 60, &offsets[..], &strides[..])
        );
        assert_eq!(meta.video_frame_flags(), flags);
        for end in 0..blob.len() {
            let mut cut = gst::Buffer::with_size(64 * 48 * 2).unwrap();
            decode(&blob[..end], cut.get_mut().unwrap());
            assert!(cut.meta::<VideoMeta>().is_none());
        }
        let mut small = gst::Buffer::with_size(10).unwrap();
        decode(&blob, small.get_mut().unwrap());
        assert!(small.meta::<VideoMeta>().is_none());
    }
}
