//! Caps text and meta blobs with arbitrary content: raw bytes, and layouts that are nearly valid.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

const FORMATS: [&str; 12] =
    ["I420", "NV12", "RGBA", "GRAY8", "Y42B", "v210", "AYUV64", "RGB8P", "NV12_4L4", "P010_10LE", "GBR", "ENCODED"];

/// Kinds of items that end in text, and the bytes before it.
const TEXTS: [(u16, usize); 8] = [(4, 16), (5, 0), (8, 4), (9, 32), (64, 4), (65, 4), (66, 0), (68, 0)];

#[derive(Arbitrary, Debug)]
enum Caps<'a> {
    Raw(&'a [u8]),
    Video { format: u8, width: u16, height: u16, rest: &'a str },
}

#[derive(Arbitrary, Debug)]
enum Item<'a> {
    Raw {
        kind: u8,
        bytes: &'a [u8],
    },
    Rectangle {
        crop: bool,
        rectangle: [u16; 4],
        rest: &'a [u8],
    },
    /// Items that are text, some behind a few words.
    Text {
        which: u8,
        words: [u8; 32],
        text: &'a str,
    },
    Video {
        flags: u32,
        size: [u16; 2],
        planes: [(u16, i16); 4],
        count: u8,
        format: u8,
        far: Option<u64>,
    },
    Broken(&'a [u8]),
}

impl Caps<'_> {
    fn text(&self) -> Vec<u8> {
        match *self {
            Self::Raw(bytes) => bytes.to_vec(),
            Self::Video { format, width, height, rest } => {
                let format = FORMATS[usize::from(format) % FORMATS.len()];
                let (width, height) = (width % 300, height % 300);
                let head = format!("video/x-raw, format=(string){format}, width=(int){width}, height=(int){height}");
                format!("{head}, framerate=(fraction)30/1{rest}").into_bytes()
            }
        }
    }
}

impl Item<'_> {
    fn bytes(&self) -> Vec<u8> {
        let item = |kind: u16, bytes: &[u8]| {
            [&kind.to_le_bytes()[..], &[0; 2], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
        };
        match *self {
            Self::Broken(bytes) => bytes.to_vec(),
            Self::Raw { kind, bytes } => item(u16::from(kind % 14), bytes),
            Self::Rectangle { crop, rectangle, rest } => {
                let mut bytes: Vec<u8> = rectangle.iter().flat_map(|n| u32::from(n % 400).to_le_bytes()).collect();
                if !crop {
                    bytes.extend([1; 8]);
                    bytes.extend((rest.len() as u32 / 2).to_le_bytes());
                }
                bytes.extend(rest);
                item(if crop { 2 } else { 3 }, &bytes)
            }
            Self::Text { which, words, text } => {
                let (kind, head) = TEXTS[usize::from(which) % TEXTS.len()];
                item(kind, &[&words[..head], text.as_bytes()].concat())
            }
            Self::Video { flags, size, planes, count, format, far } => {
                let count = usize::from(count % 6);
                let mut bytes = flags.to_le_bytes().to_vec();
                size.iter().for_each(|s| bytes.extend(u32::from(*s % 400).to_le_bytes()));
                bytes.extend((count as u32).to_le_bytes());
                let planes = &planes[..count.min(4)];
                planes.iter().for_each(|(o, _)| bytes.extend(far.unwrap_or((*o).into()).to_le_bytes()));
                planes.iter().for_each(|(_, s)| bytes.extend(i32::from(*s).to_le_bytes()));
                bytes.extend(FORMATS[usize::from(format) % FORMATS.len()].as_bytes());
                item(1, &bytes)
            }
        }
    }
}

fuzz_target!(|input: (Caps, Vec<Item>, u32)| {
    let (caps, items, size) = input;
    let meta: Vec<u8> = items.iter().take(4).flat_map(Item::bytes).collect();
    gstshm2::fuzz::blobs(&caps.text(), &meta, size as usize % 200_000);
});
