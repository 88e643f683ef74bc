//! Entry point of the fuzz targets, in their builds only.

use crate::events::{Description, between};
use gst_video::VideoFrameRef;
use gst_video::prelude::*;

/// Decodes caps text and a list of metas as `shm2src` does, then reads every byte that the result describes. The list
/// is decoded as one of events, too.
pub fn blobs(caps: &[u8], meta: &[u8], size: usize) {
    // A second call does nothing.
    if gst::init().is_err() {
        return;
    }
    gst::glib::log_set_always_fatal(gst::glib::LogLevels::LEVEL_ERROR | gst::glib::LogLevels::LEVEL_CRITICAL);
    events(meta);
    let Some(caps) = crate::caps::from_text(caps) else { return };
    let media = crate::caps::Media::of(&caps);
    let mut buffer = gst::Buffer::from_mut_slice(vec![0u8; size]);
    let is_valid = buffer.get_mut().and_then(|buffer| crate::meta::decode(meta, buffer, &media)).is_some();
    if !is_valid {
        return;
    }
    // For downstream elements that know layouts, and for those that do not.
    for knows_layouts in [true, false] {
        let repacked = crate::meta::repacked(&buffer, &media, || knows_layouts);
        read(repacked.as_ref().unwrap_or(&buffer), &media);
    }
}

fn read(buffer: &gst::BufferRef, media: &crate::caps::Media) {
    let Some(video) = media.video.as_ref().filter(|video| video.is_valid()) else { return };
    let is_field = video.interlace_mode() == gst_video::VideoInterlaceMode::Alternate;
    if is_field || video.format_info().is_tiled() || video.format_info().is_complex() {
        // For these formats the bindings compute planes that are too long.
        return;
    }
    if let Ok(frame) = VideoFrameRef::from_buffer_ref_readable(buffer, video) {
        for plane in 0..frame.n_planes() {
            let sum = frame.plane_data(plane).map_or(0, |data| data.iter().map(|b| u64::from(*b)).sum::<u64>());
            std::hint::black_box(sum);
        }
    }
}

/// Merges the tags and reads every value, as players do.
fn events(list: &[u8]) {
    let between = between(list, gst::ClockTime::from_nseconds(1).into(), None);
    let mut all = gst::TagList::new();
    for event in Description::of(list).events.into_iter().map(|(_, event)| event).chain(between) {
        std::hint::black_box(event.structure().map(|structure| structure.to_string()));
        if let gst::EventView::Tag(tags) = event.view() {
            all.make_mut().insert(tags.tag(), gst::TagMergeMode::Append);
        }
    }
    for (_, values) in all.iter_generic() {
        values.for_each(|value| drop(std::hint::black_box(value.serialize())));
    }
}
