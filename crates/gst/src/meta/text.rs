//! Metas whose content is text. Kind 4, a reference timestamp: time u64, duration u64 (all ones for none), then the
//! reference's caps. Kind 5, a custom meta: its structure, whose name is the meta's. Kind 13, a custom meta of which some
//! fields are buffers: their number u32, for each the length of its name u32, its name, its length u32 and its bytes, then
//! the structure without them.

use crate::caps::plain_text;
use crate::items::Reader;
use crate::plain::is_plain;
use gst::meta::CustomMeta;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Text from which another process parses the same structure; `None` for structures with objects, for example.
pub(crate) fn text_of(plain: &gst::StructureRef) -> Option<String> {
    let text = plain.to_string();
    (structure(text.as_bytes()).as_deref() == Some(plain)).then_some(text)
}

/// `None` if the caps cannot be read back.
pub(super) fn reference(meta: &gst::ReferenceTimestampMeta) -> Option<Vec<u8>> {
    let text = meta.reference().to_string();
    let is_read_back = is_plain(&text) && text.parse::<gst::Caps>().is_ok_and(|caps| *caps == *meta.reference());
    if !is_read_back {
        return None;
    }
    let duration = meta.duration().map_or(u64::MAX, |d| d.nseconds());
    let mut bytes = meta.timestamp().nseconds().to_le_bytes().to_vec();
    bytes.extend(duration.to_le_bytes());
    bytes.extend(text.as_bytes());
    Some(bytes)
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

/// Most fields with bytes of one custom meta: each is searched for among those before it.
const MAX_FIELDS: u32 = 256;
/// Most names of custom metas that producers may register in this process: a name is never unregistered.
const MAX_NEW_NAMES: usize = 256;

/// Kind and bytes of a custom meta; `None` if its structure cannot be read back.
pub(super) fn custom(all: &gst::StructureRef) -> Option<(u16, Vec<u8>)> {
    let buffers: Vec<_> =
        all.iter().filter_map(|(name, value)| Some((name, value.get::<gst::Buffer>().ok()?))).collect();
    if buffers.len() > MAX_FIELDS as usize {
        return None;
    }
    if buffers.is_empty() {
        return text_of(all).map(|text| (super::CUSTOM, text.into_bytes()));
    }
    let mut rest = all.to_owned();
    rest.remove_fields(buffers.iter().map(|(name, _)| name.as_str()));
    let text = text_of(&rest)?;
    let mut bytes = (buffers.len() as u32).to_le_bytes().to_vec();
    for (name, buffer) in buffers {
        let content = buffer.map_readable().ok()?;
        for part in [name.as_bytes(), &content] {
            bytes.extend(u32::try_from(part.len()).ok()?.to_le_bytes());
            bytes.extend(part);
        }
    }
    bytes.extend(text.as_bytes());
    Some((super::CUSTOM_BYTES, bytes))
}

pub(super) fn add_custom_bytes(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    let mut reader = Reader(bytes);
    let mut fields = Vec::new();
    let count = reader.u32().filter(|count| *count <= MAX_FIELDS)?;
    for _ in 0..count {
        let name = plain_text(reader.sized()?).filter(|name| !name.is_empty())?;
        fields.push((name, reader.sized()?));
    }
    let Some(mut all) = structure(reader.0) else { return Some(()) };
    for (name, content) in fields {
        all.set(name, gst::Buffer::from_mut_slice(content.to_vec()));
    }
    add_structure(buffer, &all);
    Some(())
}

pub(super) fn add_custom(buffer: &mut gst::BufferRef, bytes: &[u8]) -> Option<()> {
    // A text that cannot be parsed is skipped.
    structure(bytes).iter().for_each(|structure| add_structure(buffer, structure));
    Some(())
}

/// Registers the meta's name if this process does not know it yet; the meta is then copied with its buffer. An invalid
/// name is skipped.
fn add_structure(buffer: &mut gst::BufferRef, structure: &gst::StructureRef) {
    static REGISTERED: AtomicUsize = AtomicUsize::new(0);
    let name = structure.name();
    if !CustomMeta::is_registered(name) {
        let is_new = can_be_type(name) && REGISTERED.fetch_add(1, Ordering::Relaxed) < MAX_NEW_NAMES;
        if !is_new {
            return;
        }
        CustomMeta::register(name, &[]);
    }
    if let Ok(mut meta) = CustomMeta::add(buffer, name) {
        structure.iter().for_each(|(field, value)| meta.mut_structure().set_value(field, value.clone()));
    }
}

/// Whether GLib would register a type of this name, as it is and with what GStreamer appends.
fn can_be_type(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_+".contains(c));
    let is_free = |name: &str| gst::glib::Type::from_name(name).is_none();
    name.len() >= 3 && begins && plain && is_free(name) && is_free(&format!("{name}-api"))
}
