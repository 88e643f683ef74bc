//! Colorimetry: range, matrix, transfer function and primaries, with GStreamer's numbers and names.

use super::entry::ColorModel;
use super::format::VideoFormat;

/// Defines an enum whose numbers are GStreamer's, and whose first variant is `Unknown`, number 0.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[non_exhaustive]
        pub enum $name {
            /// Not known, or a number that this crate does not know.
            #[default]
            Unknown = 0,
            $($(#[$variant_doc])* $variant = $number,)*
        }

        impl $name {
            /// The value with GStreamer's number; `Unknown` for other numbers.
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }

            /// GStreamer's number.
            pub fn number(self) -> u32 {
                self as u32
            }

            /// GStreamer's nick.
            pub fn name(self) -> &'static str {
                match self {
                    Self::Unknown => "unknown",
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

numbered! {
    /// Which part of the range of numbers the components use.
    ColorRange {
        /// All of it, such as 0 to 255.
        Full = 1 "0-255",
        /// 16 to 235 for luma and RGB, 16 to 240 for colour differences, in 8 bits.
        Limited = 2 "16-235",
    }
}

numbered! {
    /// How luma and colour differences are made of red, green and blue.
    ColorMatrix {
        /// They are not: the components are red, green and blue.
        Rgb = 1 "rgb",
        /// FCC.
        Fcc = 2 "fcc",
        /// ITU-R BT.709.
        Bt709 = 3 "bt709",
        /// ITU-R BT.601.
        Bt601 = 4 "bt601",
        /// SMPTE 240M.
        Smpte240m = 5 "smpte240m",
        /// ITU-R BT.2020.
        Bt2020 = 6 "bt2020",
    }
}

numbered! {
    /// How numbers become light.
    TransferFunction {
        /// Linear.
        Gamma10 = 1 "gamma10",
        /// Gamma 1.8.
        Gamma18 = 2 "gamma18",
        /// Gamma 2.0.
        Gamma20 = 3 "gamma20",
        /// Gamma 2.2.
        Gamma22 = 4 "gamma22",
        /// ITU-R BT.709.
        Bt709 = 5 "bt709",
        /// SMPTE 240M.
        Smpte240m = 6 "smpte240m",
        /// sRGB.
        Srgb = 7 "srgb",
        /// Gamma 2.8.
        Gamma28 = 8 "gamma28",
        /// Logarithmic, 100:1.
        Log100 = 9 "log100",
        /// Logarithmic, 316.22777:1.
        Log316 = 10 "log316",
        /// ITU-R BT.2020 with 12 bits.
        Bt2020With12Bits = 11 "bt2020-12",
        /// Adobe RGB.
        AdobeRgb = 12 "adobergb",
        /// ITU-R BT.2020 with 10 bits.
        Bt2020With10Bits = 13 "bt2020-10",
        /// SMPTE ST 2084, the PQ of BT.2100.
        Smpte2084 = 14 "smpte2084",
        /// ARIB STD-B67, the HLG of BT.2100.
        AribStdB67 = 15 "arib-std-b67",
        /// ITU-R BT.601.
        Bt601 = 16 "bt601",
    }
}

numbered! {
    /// Which colours red, green and blue are.
    ColorPrimaries {
        /// ITU-R BT.709, sRGB.
        Bt709 = 1 "bt709",
        /// ITU-R BT.470 M.
        Bt470m = 2 "bt470m",
        /// ITU-R BT.470 B and G.
        Bt470bg = 3 "bt470bg",
        /// SMPTE 170M.
        Smpte170m = 4 "smpte170m",
        /// SMPTE 240M.
        Smpte240m = 5 "smpte240m",
        /// Film.
        Film = 6 "film",
        /// ITU-R BT.2020.
        Bt2020 = 7 "bt2020",
        /// Adobe RGB.
        AdobeRgb = 8 "adobergb",
        /// SMPTE ST 428.
        SmpteSt428 = 9 "smptest428",
        /// SMPTE RP 431.
        SmpteRp431 = 10 "smpterp431",
        /// SMPTE EG 432, Display P3.
        SmpteEg432 = 11 "smpteeg432",
        /// EBU 3213.
        Ebu3213 = 12 "ebu3213",
    }
}

/// What the numbers of the components mean as colours.
///
/// ```
/// use shm2_media::{Colorimetry, ColorMatrix};
///
/// let hd = Colorimetry::from_caps("bt709").expect("a known name");
/// assert_eq!((hd.matrix, hd.matrix.number()), (ColorMatrix::Bt709, 3));
/// assert_eq!(Colorimetry::from_caps("2:3:5:1"), Some(hd));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Colorimetry {
    /// Range of the numbers.
    pub range: ColorRange,
    /// Matrix between RGB and YUV.
    pub matrix: ColorMatrix,
    /// Transfer function.
    pub transfer: TransferFunction,
    /// Primaries.
    pub primaries: ColorPrimaries,
}

/// Names that stand for all four numbers.
const NAMED: [(&str, [u32; 4]); 8] = [
    ("bt601", [2, 4, 16, 4]),
    ("bt709", [2, 3, 5, 1]),
    ("smpte240m", [2, 5, 6, 5]),
    ("sRGB", [1, 1, 7, 1]),
    ("bt2020", [2, 6, 11, 7]),
    ("bt2020-10", [2, 6, 13, 7]),
    ("bt2100-pq", [2, 6, 14, 7]),
    ("bt2100-hlg", [2, 6, 15, 7]),
];

/// Pictures with more rows than this are HD, if the caps do not say otherwise.
const MAX_SD_HEIGHT: u32 = 576;

impl Colorimetry {
    /// The value of the field `colorimetry`: a name, or the four numbers `range:matrix:transfer:primaries`.
    pub fn from_caps(text: &str) -> Option<Self> {
        if let Some((_, numbers)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Some(Self::from_numbers(*numbers));
        }
        let mut numbers = [0; 4];
        let mut parts = text.split(':');
        for number in &mut numbers {
            *number = parts.next()?.trim().parse().ok()?;
        }
        parts.next().is_none().then(|| Self::from_numbers(numbers))
    }

    /// The value with GStreamer's numbers of range, matrix, transfer function and primaries.
    pub fn from_numbers([range, matrix, transfer, primaries]: [u32; 4]) -> Self {
        Self {
            range: ColorRange::from_number(range),
            matrix: ColorMatrix::from_number(matrix),
            transfer: TransferFunction::from_number(transfer),
            primaries: ColorPrimaries::from_number(primaries),
        }
    }

    /// GStreamer's numbers of range, matrix, transfer function and primaries.
    pub fn numbers(self) -> [u32; 4] {
        [self.range.number(), self.matrix.number(), self.transfer.number(), self.primaries.number()]
    }

    /// GStreamer's name for all four, such as `bt709`.
    pub fn name(self) -> Option<&'static str> {
        NAMED.iter().find(|(_, numbers)| *numbers == self.numbers()).map(|(name, _)| *name)
    }

    /// The colorimetry of a stream, as GStreamer reads the caps: text that is missing, or that does not go with the
    /// format, counts as the default of the format and the number of rows.
    pub(super) fn of_stream(text: Option<&str>, format: VideoFormat, height: u32) -> Self {
        let default = Self::default_of(format, height);
        let Some(mut own) = text.and_then(Self::from_caps) else { return default };
        let is_rgb = own.matrix == ColorMatrix::Rgb;
        match format.model() {
            ColorModel::Yuv if is_rgb || own.matrix == ColorMatrix::Unknown => return default,
            ColorModel::Gray if is_rgb => return default,
            ColorModel::Rgb => own.matrix = ColorMatrix::Rgb,
            _ => {}
        }
        own
    }

    fn default_of(format: VideoFormat, height: u32) -> Self {
        Self::from_numbers(match format.model() {
            ColorModel::Yuv if height > MAX_SD_HEIGHT => [2, 3, 5, 1],
            ColorModel::Yuv => [2, 4, 16, 4],
            ColorModel::Gray => [1, 4, 0, 0],
            ColorModel::Rgb => [1, 1, 7, 1],
        })
    }
}
