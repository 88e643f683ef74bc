//! Metas whose content is text. Kind 4, a reference timestamp: time u64, duration u64 (all ones for none), then the
//! reference's caps. Kind 5, a custom meta: its structure, whose name is the meta's.

use crate::caps::plain_text;
use crate::items::Reader;
use crate::plain::is_plain;
use gst::meta::CustomMeta;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) fn reference(meta: &gst::ReferenceTimestampMeta) -> Vec<u8> {
    let duration = meta.duration().map_or(u64::MAX, |d| d.nseconds());
    let mut bytes = meta.timestamp().nseconds().to_le_bytes().to_vec();
    bytes.extend(duration.to_le_bytes());
    bytes.extend(meta.reference().to_string().as_bytes());
    bytes
}

pub(super) fn add_reference(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    let mut reader = Reader(bytes);
    let time = gst::ClockTime::try_from(reader.u64()?).ok()?;
    let duration = gst::ClockTime::try_from(reader.u64()?).ok();
    let text = plain_text(reader.0)?;
    if is_plain(text)
        && let Ok(caps) = text.parse::<gst::Caps>()
    {
        gst::ReferenceTimestampMeta::add(buffer, &caps, time, duration);
    }
    Some(())
}

/// Parses a peer's structure. Names and values are arbitrary; types that are not plain data are refused.
pub(crate) fn structure(bytes: &[u8]) -> Option<gst::Structure> {
    plain_text(bytes).filter(|text| is_plain(text))?.parse().ok()
}

/// Most names of custom metas that producers may register in this process: a name is never unregistered.
const MAX_NEW_NAMES: usize = 256;

/// Registers the meta's name if this process does not know it yet; the meta is then copied with its buffer. An invalid
/// name and a text that cannot be parsed are skipped.
pub(super) fn add_custom(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    static REGISTERED: AtomicUsize = AtomicUsize::new(0);
    let Some(structure) = structure(bytes) else { return Some(()) };
    let name = structure.name();
    if !CustomMeta::is_registered(name) {
        let is_new = can_be_type(name) && REGISTERED.fetch_add(1, Ordering::Relaxed) < MAX_NEW_NAMES;
        if !is_new {
            return Some(());
        }
        CustomMeta::register(name, &[]);
    }
    if let Ok(mut meta) = CustomMeta::add(buffer, name) {
        structure.iter().for_each(|(field, value)| meta.mut_structure().set_value(field, value.clone()));
    }
    Some(())
}

/// Whether GLib would register a type of this name, as it is and with what GStreamer appends.
fn can_be_type(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_+".contains(c));
    let is_free = |name: &str| gst::glib::Type::from_name(name).is_none();
    name.len() >= 3 && begins && plain && is_free(name) && is_free(&format!("{name}-api"))
}
