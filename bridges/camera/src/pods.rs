//! Parameters of a stream as PipeWire's binary objects.

use crate::format::{Encoding, Format, from_spa, to_spa};
use pipewire::spa::buffer::DataType;
use pipewire::spa::buffer::meta::{MetaHeader, Metadata};
use pipewire::spa::param::ParamType;
use pipewire::spa::param::format::{FormatProperties, MediaSubtype, MediaType};
use pipewire::spa::param::format_utils::parse_format;
use pipewire::spa::param::video::VideoInfoRaw;
use pipewire::spa::pod::deserialize::PodDeserializer;
use pipewire::spa::pod::serialize::PodSerializer;
use pipewire::spa::pod::{ChoiceValue, Object, Pod, Property, PropertyFlags, Value, property};
use pipewire::spa::sys;
use pipewire::spa::utils::{Choice, ChoiceEnum, ChoiceFlags, Fraction, Id, Rectangle, SpaTypes};
use shm2_media::Colorimetry;
use std::io::Cursor;

/// Buffers of a stream: one is being filled, one is with the reader, and one waits.
const BUFFERS: (i32, i32, i32) = (4, 2, 16);

/// Serialized objects.
pub struct Pods(Vec<Vec<u8>>);

impl Pods {
    /// The formats that a stream offers.
    pub fn offers(formats: &[Format]) -> Self {
        Self::of(
            formats.iter().map(|format| object(SpaTypes::ObjectParamFormat, ParamType::EnumFormat, fields(format))),
        )
    }

    /// Buffers for pictures of a format, with a header for their times.
    pub fn buffers(format: &Format) -> Self {
        let (size, stride) = format.buffer();
        let (default, min, max) = BUFFERS;
        let range = ChoiceEnum::Range { default, min, max };
        let kinds = (1 << DataType::MemFd.as_raw()) | (1 << DataType::MemPtr.as_raw());
        let kinds = ChoiceEnum::Flags { default: kinds, flags: Vec::new() };
        let choice = |of| Value::Choice(ChoiceValue::Int(Choice(ChoiceFlags::empty(), of)));
        let buffers = vec![
            own(sys::SPA_PARAM_BUFFERS_buffers, choice(range)),
            own(sys::SPA_PARAM_BUFFERS_blocks, Value::Int(1)),
            own(sys::SPA_PARAM_BUFFERS_size, Value::Int(size as i32)),
            own(sys::SPA_PARAM_BUFFERS_stride, Value::Int(stride as i32)),
            own(sys::SPA_PARAM_BUFFERS_dataType, choice(kinds)),
        ];
        let header = vec![
            own(sys::SPA_PARAM_META_type, Value::Id(Id(MetaHeader::META_TYPE))),
            own(sys::SPA_PARAM_META_size, Value::Int(size_of::<sys::spa_meta_header>() as i32)),
        ];
        Self::of([
            object(SpaTypes::ObjectParamBuffers, ParamType::Buffers, buffers),
            object(SpaTypes::ObjectParamMeta, ParamType::Meta, header),
        ])
    }

    fn of(objects: impl IntoIterator<Item = Object>) -> Self {
        let bytes = |object| PodSerializer::serialize(Cursor::new(Vec::new()), &Value::Object(object));
        // Writing to memory does not fail.
        Self(objects.into_iter().filter_map(|object| Some(bytes(object).ok()?.0.into_inner())).collect())
    }

    /// The objects as a stream takes them.
    pub fn all(&self) -> Vec<&Pod> {
        self.0.iter().filter_map(|bytes| Pod::from_bytes(bytes)).collect()
    }
}

fn object(kind: SpaTypes, id: ParamType, properties: Vec<Property>) -> Object {
    Object { type_: kind.as_raw(), id: id.as_raw(), properties }
}

fn own(key: u32, value: Value) -> Property {
    Property { key, flags: PropertyFlags::empty(), value }
}

fn fields(format: &Format) -> Vec<Property> {
    let (num, denom) = format.rate;
    let size = Rectangle { width: format.width, height: format.height };
    let subtype = match format.encoding {
        Encoding::Raw(_) => MediaSubtype::Raw,
        Encoding::Jpeg => MediaSubtype::Mjpg,
    };
    let mut fields = vec![
        property!(FormatProperties::MediaType, Id, MediaType::Video),
        property!(FormatProperties::MediaSubtype, Id, subtype),
        property!(FormatProperties::VideoSize, Rectangle, size),
        property!(FormatProperties::VideoFramerate, Fraction, Fraction { num, denom }),
    ];
    if let Encoding::Raw(raw) = format.encoding
        && let Some(raw) = to_spa(raw)
    {
        fields.insert(2, property!(FormatProperties::VideoFormat, Id, raw));
    }
    let [range, matrix, transfer, primaries] = format.colors.numbers();
    let colors = [
        (FormatProperties::VideoColorRange, range),
        (FormatProperties::VideoColorMatrix, matrix),
        (FormatProperties::VideoTransferFunction, transfer),
        (FormatProperties::VideoColorPrimaries, primaries),
    ];
    // PipeWire has GStreamer's numbers; 0 is unknown.
    let known = colors.into_iter().filter(|(_, number)| *number != 0);
    fields.extend(known.map(|(key, number)| own(key.as_raw(), Value::Id(Id(number)))));
    fields
}

/// The format that both sides agreed on.
pub fn agreed(pod: &Pod) -> Option<Format> {
    let agreed = match parse_format(pod).ok()? {
        (MediaType::Video, MediaSubtype::Raw) => {
            let mut info = VideoInfoRaw::new();
            info.parse(pod).ok()?;
            let rate = (info.framerate().num, info.framerate().denom.max(1));
            let (width, height) = (info.size().width, info.size().height);
            let colors = [info.color_range(), info.color_matrix(), info.transfer_function(), info.color_primaries()];
            let colors = Colorimetry::from_numbers(colors);
            Some(Format { encoding: Encoding::Raw(from_spa(info.format())?), width, height, rate, colors })
        }
        (MediaType::Video, MediaSubtype::Mjpg) => encoded(pod),
        _ => None,
    };
    agreed.filter(Format::is_possible)
}

fn encoded(pod: &Pod) -> Option<Format> {
    let (_, Value::Object(object)) = PodDeserializer::deserialize_any_from(pod.as_bytes()).ok()? else { return None };
    let value = |key: FormatProperties| {
        object.properties.iter().find(|property| property.key == key.as_raw()).map(|property| property.value.clone())
    };
    let Some(Value::Rectangle(Rectangle { width, height })) = value(FormatProperties::VideoSize) else { return None };
    let rate = match value(FormatProperties::VideoFramerate) {
        Some(Value::Fraction(Fraction { num, denom })) => (num, denom.max(1)),
        _ => (0, 1),
    };
    Some(Format { encoding: Encoding::Jpeg, width, height, rate, colors: Colorimetry::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::offers;

    #[test]
    fn a_format_comes_back_from_its_object() {
        for caps in [
            "video/x-raw, format=NV12, width=640, height=360, framerate=30000/1001",
            "video/x-raw, format=BGRx, width=641, height=3",
            "video/x-raw, format=I420, width=640, height=360, colorimetry=bt709",
            "video/x-raw, format=I420, width=640, height=360, colorimetry=1:4:7:1",
            "video/x-raw, format=P010_10LE, width=640, height=360, colorimetry=bt2100-pq",
            "image/jpeg, width=640, height=360, framerate=30/1",
        ] {
            let [first, ..] = &offers(caps.as_bytes(), "x").unwrap()[..] else { panic!() };
            let pods = Pods::offers(&[*first]);
            assert_eq!(agreed(pods.all()[0]), Some(*first), "{caps}");
        }
    }
}
