//! The raw formats of GStreamer 1.22 to 1.28, as data. The facts are those of its documentation of raw video formats;
//! `crates/gst/tests/media.rs` compares each row with the GStreamer it runs on.

use super::entry::ByteOrder::{Big, Little};
use super::entry::ColorModel::{Gray, Rgb, Yuv};
use super::entry::Rows::{Even, EvenFields, Exact, Fields};
use super::entry::{ByteOrder, Entry, Subsampling, Tiling};
use super::entry::{in_groups, packed, pairs, pairs_alpha, planar, two_pixels, word};

const BYTES: Option<ByteOrder> = None;
const LE: Option<ByteOrder> = Some(Little);
const BE: Option<ByteOrder> = Some(Big);
const NATIVE: Option<ByteOrder> = if cfg!(target_endian = "little") { LE } else { BE };

const S444: Subsampling = (0, 0);
const S422: Subsampling = (1, 0);
const S420: Subsampling = (1, 1);
const S411: Subsampling = (2, 0);
const S410: Subsampling = (2, 2);

/// Planes in the order of the components, and in others.
const YUV: &[u8] = &[0, 1, 2];
const YVU: &[u8] = &[0, 2, 1];
const YUVA: &[u8] = &[0, 1, 2, 3];
const GBR: &[u8] = &[2, 0, 1];
const GBRA: &[u8] = &[2, 0, 1, 3];
const BGR: &[u8] = &[2, 1, 0];

const TILES: Tiling =
    Tiling { row_bytes: 4, height: 4, bits: 8, even_columns: false, by_field: false, short_chroma: false };
const TILES_64Z32: Tiling = Tiling { row_bytes: 64, height: 32, even_columns: true, by_field: true, ..TILES };
const TILES_32L32: Tiling = Tiling { row_bytes: 32, height: 32, ..TILES };
const TILES_16L32S: Tiling = Tiling { row_bytes: 16, height: 32, short_chroma: true, ..TILES };
const TILES_8L128: Tiling = Tiling { row_bytes: 8, height: 128, by_field: true, ..TILES };
const TILES_10_8L128: Tiling = Tiling { bits: 10, ..TILES_8L128 };
const TILES_10_4L4: Tiling = Tiling { row_bytes: 5, bits: 10, ..TILES };
const TILES_MT2110: Tiling = Tiling { row_bytes: 20, bits: 10, ..TILES_16L32S };

/// In GStreamer's order.
pub(super) static FORMATS: &[Entry] = &[
    Entry::new("I420", Yuv, BYTES, planar(8, 1, S420, YUV), EvenFields),
    Entry::new("YV12", Yuv, BYTES, planar(8, 1, S420, YVU), EvenFields),
    Entry::new("YUY2", Yuv, BYTES, two_pixels(8, 0, 1, [0, 1, 3]), Exact),
    Entry::new("UYVY", Yuv, BYTES, two_pixels(8, 0, 1, [1, 0, 2]), Exact),
    Entry::new("AYUV", Yuv, BYTES, packed(8, 0, 4, &[1, 2, 3, 0]), Exact),
    Entry::new("RGBx", Rgb, BYTES, packed(8, 0, 4, &[0, 1, 2]), Exact),
    Entry::new("BGRx", Rgb, BYTES, packed(8, 0, 4, &[2, 1, 0]), Exact),
    Entry::new("xRGB", Rgb, BYTES, packed(8, 0, 4, &[1, 2, 3]), Exact),
    Entry::new("xBGR", Rgb, BYTES, packed(8, 0, 4, &[3, 2, 1]), Exact),
    Entry::new("RGBA", Rgb, BYTES, packed(8, 0, 4, &[0, 1, 2, 3]), Exact),
    Entry::new("BGRA", Rgb, BYTES, packed(8, 0, 4, &[2, 1, 0, 3]), Exact),
    Entry::new("ARGB", Rgb, BYTES, packed(8, 0, 4, &[1, 2, 3, 0]), Exact),
    Entry::new("ABGR", Rgb, BYTES, packed(8, 0, 4, &[3, 2, 1, 0]), Exact),
    Entry::new("RGB", Rgb, BYTES, packed(8, 0, 3, &[0, 1, 2]), Exact),
    Entry::new("BGR", Rgb, BYTES, packed(8, 0, 3, &[2, 1, 0]), Exact),
    Entry::new("Y41B", Yuv, BYTES, planar(8, 1, S411, YUV), Exact),
    Entry::new("Y42B", Yuv, BYTES, planar(8, 1, S422, YUV), Exact),
    Entry::new("YVYU", Yuv, BYTES, two_pixels(8, 0, 1, [0, 3, 1]), Exact),
    Entry::new("Y444", Yuv, BYTES, planar(8, 1, S444, YUV), Exact),
    Entry::new("v210", Yuv, LE, in_groups(10, 3, 1, S422), Exact).grouped(16, 6, 128),
    Entry::new("v216", Yuv, LE, two_pixels(16, 0, 2, [2, 0, 4]), Exact),
    Entry::new("NV12", Yuv, BYTES, pairs(8, 0, 1, S420, [0, 1]), EvenFields),
    Entry::new("NV21", Yuv, BYTES, pairs(8, 0, 1, S420, [1, 0]), EvenFields),
    Entry::new("GRAY8", Gray, BYTES, packed(8, 0, 1, &[0]), Exact),
    Entry::new("GRAY16_BE", Gray, BE, packed(16, 0, 2, &[0]), Exact),
    Entry::new("GRAY16_LE", Gray, LE, packed(16, 0, 2, &[0]), Exact),
    Entry::new("v308", Yuv, BYTES, packed(8, 0, 3, &[0, 1, 2]), Exact),
    Entry::new("RGB16", Rgb, NATIVE, word(2, &[(5, 11), (6, 5), (5, 0)]), Exact),
    Entry::new("BGR16", Rgb, NATIVE, word(2, &[(5, 0), (6, 5), (5, 11)]), Exact),
    Entry::new("RGB15", Rgb, NATIVE, word(2, &[(5, 10), (5, 5), (5, 0)]), Exact),
    Entry::new("BGR15", Rgb, NATIVE, word(2, &[(5, 0), (5, 5), (5, 10)]), Exact),
    Entry::new("UYVP", Yuv, BE, in_groups(10, 3, 1, S422), Exact).grouped(5, 2, 4),
    Entry::new("A420", Yuv, BYTES, planar(8, 1, S420, YUVA), EvenFields),
    Entry::new("RGB8P", Rgb, BYTES, packed(8, 0, 1, &[0]), Exact).with_palette(),
    Entry::new("YUV9", Yuv, BYTES, planar(8, 1, S410, YUV), Fields),
    Entry::new("YVU9", Yuv, BYTES, planar(8, 1, S410, YVU), Fields),
    // U, Y, Y, V, Y, Y.
    Entry::new("IYU1", Yuv, BYTES, in_groups(8, 3, 1, S411), Exact).grouped(6, 4, 4),
    Entry::new("ARGB64", Rgb, NATIVE, packed(16, 0, 8, &[2, 4, 6, 0]), Exact),
    Entry::new("AYUV64", Yuv, NATIVE, packed(16, 0, 8, &[2, 4, 6, 0]), Exact),
    Entry::new("r210", Rgb, BE, word(4, &[(10, 20), (10, 10), (10, 0)]), Exact),
    Entry::new("I420_10BE", Yuv, BE, planar(10, 2, S420, YUV), EvenFields),
    Entry::new("I420_10LE", Yuv, LE, planar(10, 2, S420, YUV), EvenFields),
    Entry::new("I422_10BE", Yuv, BE, planar(10, 2, S422, YUV), Even),
    Entry::new("I422_10LE", Yuv, LE, planar(10, 2, S422, YUV), Even),
    Entry::new("Y444_10BE", Yuv, BE, planar(10, 2, S444, YUV), Exact),
    Entry::new("Y444_10LE", Yuv, LE, planar(10, 2, S444, YUV), Exact),
    Entry::new("GBR", Rgb, BYTES, planar(8, 1, S444, GBR), Exact),
    Entry::new("GBR_10BE", Rgb, BE, planar(10, 2, S444, GBR), Exact),
    Entry::new("GBR_10LE", Rgb, LE, planar(10, 2, S444, GBR), Exact),
    Entry::new("NV16", Yuv, BYTES, pairs(8, 0, 1, S422, [0, 1]), Exact),
    Entry::new("NV24", Yuv, BYTES, pairs(8, 0, 1, S444, [0, 1]), Exact),
    Entry::new("NV12_64Z32", Yuv, BYTES, pairs(8, 0, 1, S420, [0, 1]), Exact).tiled(TILES_64Z32),
    Entry::new("A420_10BE", Yuv, BE, planar(10, 2, S420, YUVA), EvenFields),
    Entry::new("A420_10LE", Yuv, LE, planar(10, 2, S420, YUVA), EvenFields),
    Entry::new("A422_10BE", Yuv, BE, planar(10, 2, S422, YUVA), Even),
    Entry::new("A422_10LE", Yuv, LE, planar(10, 2, S422, YUVA), Even),
    Entry::new("A444_10BE", Yuv, BE, planar(10, 2, S444, YUVA), Exact),
    Entry::new("A444_10LE", Yuv, LE, planar(10, 2, S444, YUVA), Exact),
    Entry::new("NV61", Yuv, BYTES, pairs(8, 0, 1, S422, [1, 0]), Exact),
    Entry::new("P010_10BE", Yuv, BE, pairs(10, 6, 2, S420, [0, 2]), Even),
    Entry::new("P010_10LE", Yuv, LE, pairs(10, 6, 2, S420, [0, 2]), Even),
    Entry::new("IYU2", Yuv, BYTES, packed(8, 0, 3, &[1, 0, 2]), Exact),
    Entry::new("VYUY", Yuv, BYTES, two_pixels(8, 0, 1, [1, 2, 0]), Exact),
    Entry::new("GBRA", Rgb, BYTES, planar(8, 1, S444, GBRA), Exact),
    Entry::new("GBRA_10BE", Rgb, BE, planar(10, 2, S444, GBRA), Exact),
    Entry::new("GBRA_10LE", Rgb, LE, planar(10, 2, S444, GBRA), Exact),
    Entry::new("GBR_12BE", Rgb, BE, planar(12, 2, S444, GBR), Exact),
    Entry::new("GBR_12LE", Rgb, LE, planar(12, 2, S444, GBR), Exact),
    Entry::new("GBRA_12BE", Rgb, BE, planar(12, 2, S444, GBRA), Exact),
    Entry::new("GBRA_12LE", Rgb, LE, planar(12, 2, S444, GBRA), Exact),
    Entry::new("I420_12BE", Yuv, BE, planar(12, 2, S420, YUV), EvenFields),
    Entry::new("I420_12LE", Yuv, LE, planar(12, 2, S420, YUV), EvenFields),
    Entry::new("I422_12BE", Yuv, BE, planar(12, 2, S422, YUV), Even),
    Entry::new("I422_12LE", Yuv, LE, planar(12, 2, S422, YUV), Even),
    Entry::new("Y444_12BE", Yuv, BE, planar(12, 2, S444, YUV), Exact),
    Entry::new("Y444_12LE", Yuv, LE, planar(12, 2, S444, YUV), Exact),
    Entry::new("GRAY10_LE32", Gray, LE, in_groups(10, 1, 1, S444), Even).grouped(4, 3, 4),
    Entry::new("NV12_10LE32", Yuv, LE, in_groups(10, 3, 2, S420), EvenFields).grouped(4, 3, 4),
    Entry::new("NV16_10LE32", Yuv, LE, in_groups(10, 3, 2, S422), Exact).grouped(4, 3, 4),
    Entry::new("NV12_10LE40", Yuv, LE, in_groups(10, 3, 2, S420), EvenFields).grouped(5, 4, 1),
    Entry::new("Y210", Yuv, LE, two_pixels(10, 6, 2, [0, 2, 6]), Exact),
    Entry::new("Y410", Yuv, LE, word(4, &[(10, 10), (10, 0), (10, 20), (2, 30)]), Exact),
    Entry::new("VUYA", Yuv, BYTES, packed(8, 0, 4, &[2, 1, 0, 3]), Exact),
    Entry::new("BGR10A2_LE", Rgb, LE, word(4, &[(10, 20), (10, 10), (10, 0), (2, 30)]), Exact),
    Entry::new("RGB10A2_LE", Rgb, LE, word(4, &[(10, 0), (10, 10), (10, 20), (2, 30)]), Exact),
    Entry::new("Y444_16BE", Yuv, BE, planar(16, 2, S444, YUV), Exact),
    Entry::new("Y444_16LE", Yuv, LE, planar(16, 2, S444, YUV), Exact),
    Entry::new("P016_BE", Yuv, BE, pairs(16, 0, 2, S420, [0, 2]), Even),
    Entry::new("P016_LE", Yuv, LE, pairs(16, 0, 2, S420, [0, 2]), Even),
    Entry::new("P012_BE", Yuv, BE, pairs(12, 4, 2, S420, [0, 2]), Even),
    Entry::new("P012_LE", Yuv, LE, pairs(12, 4, 2, S420, [0, 2]), Even),
    Entry::new("Y212_BE", Yuv, BE, two_pixels(12, 4, 2, [0, 2, 6]), Exact),
    Entry::new("Y212_LE", Yuv, LE, two_pixels(12, 4, 2, [0, 2, 6]), Exact),
    Entry::new("Y412_BE", Yuv, BE, packed(12, 4, 8, &[2, 0, 4, 6]), Exact),
    Entry::new("Y412_LE", Yuv, LE, packed(12, 4, 8, &[2, 0, 4, 6]), Exact),
    Entry::new("NV12_4L4", Yuv, BYTES, pairs(8, 0, 1, S420, [0, 1]), Exact).tiled(TILES),
    Entry::new("NV12_32L32", Yuv, BYTES, pairs(8, 0, 1, S420, [0, 1]), Exact).tiled(TILES_32L32),
    Entry::new("RGBP", Rgb, BYTES, planar(8, 1, S444, YUV), Exact),
    Entry::new("BGRP", Rgb, BYTES, planar(8, 1, S444, BGR), Exact),
    Entry::new("AV12", Yuv, BYTES, pairs_alpha(8, 1, S420), Even),
    Entry::new("ARGB64_LE", Rgb, LE, packed(16, 0, 8, &[2, 4, 6, 0]), Exact),
    Entry::new("ARGB64_BE", Rgb, BE, packed(16, 0, 8, &[2, 4, 6, 0]), Exact),
    Entry::new("RGBA64_LE", Rgb, LE, packed(16, 0, 8, &[0, 2, 4, 6]), Exact),
    Entry::new("RGBA64_BE", Rgb, BE, packed(16, 0, 8, &[0, 2, 4, 6]), Exact),
    Entry::new("BGRA64_LE", Rgb, LE, packed(16, 0, 8, &[4, 2, 0, 6]), Exact),
    Entry::new("BGRA64_BE", Rgb, BE, packed(16, 0, 8, &[4, 2, 0, 6]), Exact),
    Entry::new("ABGR64_LE", Rgb, LE, packed(16, 0, 8, &[6, 4, 2, 0]), Exact),
    Entry::new("ABGR64_BE", Rgb, BE, packed(16, 0, 8, &[6, 4, 2, 0]), Exact),
    Entry::new("NV12_16L32S", Yuv, BYTES, pairs(8, 0, 1, S420, [0, 1]), Exact).tiled(TILES_16L32S),
    Entry::new("NV12_8L128", Yuv, BYTES, pairs(8, 0, 1, S420, [0, 1]), Exact).tiled(TILES_8L128),
    Entry::new("NV12_10BE_8L128", Yuv, BE, in_groups(10, 3, 2, S420), Exact).grouped(5, 4, 1).tiled(TILES_10_8L128),
    // Since 1.24.
    Entry::new("NV12_10LE40_4L4", Yuv, LE, in_groups(10, 3, 2, S420), Exact).grouped(5, 4, 1).tiled(TILES_10_4L4),
    Entry::new("MT2110T", Yuv, LE, in_groups(10, 3, 2, S420), Exact).grouped(5, 4, 1).tiled(TILES_MT2110),
    Entry::new("MT2110R", Yuv, LE, in_groups(10, 3, 2, S420), Exact).grouped(5, 4, 1).tiled(TILES_MT2110),
    Entry::new("A422", Yuv, BYTES, planar(8, 1, S422, YUVA), Even),
    Entry::new("A444", Yuv, BYTES, planar(8, 1, S444, YUVA), Even),
    Entry::new("A444_12LE", Yuv, LE, planar(12, 2, S444, YUVA), Exact),
    Entry::new("A444_12BE", Yuv, BE, planar(12, 2, S444, YUVA), Exact),
    Entry::new("A422_12LE", Yuv, LE, planar(12, 2, S422, YUVA), Even),
    Entry::new("A422_12BE", Yuv, BE, planar(12, 2, S422, YUVA), Even),
    Entry::new("A420_12LE", Yuv, LE, planar(12, 2, S420, YUVA), EvenFields),
    Entry::new("A420_12BE", Yuv, BE, planar(12, 2, S420, YUVA), EvenFields),
    Entry::new("A444_16LE", Yuv, LE, planar(16, 2, S444, YUVA), Exact),
    Entry::new("A444_16BE", Yuv, BE, planar(16, 2, S444, YUVA), Exact),
    Entry::new("A422_16LE", Yuv, LE, planar(16, 2, S422, YUVA), Even),
    Entry::new("A422_16BE", Yuv, BE, planar(16, 2, S422, YUVA), Even),
    Entry::new("A420_16LE", Yuv, LE, planar(16, 2, S420, YUVA), EvenFields),
    Entry::new("A420_16BE", Yuv, BE, planar(16, 2, S420, YUVA), EvenFields),
    Entry::new("GBR_16LE", Rgb, LE, planar(16, 2, S444, GBR), Exact),
    Entry::new("GBR_16BE", Rgb, BE, planar(16, 2, S444, GBR), Exact),
    Entry::new("RBGA", Rgb, BYTES, packed(8, 0, 4, &[0, 2, 1, 3]), Exact),
    // Since 1.26.
    Entry::new("Y216_LE", Yuv, LE, two_pixels(16, 0, 2, [0, 2, 6]), Exact),
    Entry::new("Y216_BE", Yuv, BE, two_pixels(16, 0, 2, [0, 2, 6]), Exact),
    Entry::new("Y416_LE", Yuv, LE, packed(16, 0, 8, &[2, 0, 4, 6]), Exact),
    Entry::new("Y416_BE", Yuv, BE, packed(16, 0, 8, &[2, 0, 4, 6]), Exact),
    Entry::new("GRAY10_LE16", Gray, LE, packed(10, 0, 2, &[0]), Exact),
    // Since 1.28.
    Entry::new("NV16_10LE40", Yuv, LE, in_groups(10, 3, 2, S422), Even).grouped(5, 4, 1),
    Entry::new("BGR10x2_LE", Rgb, LE, word(4, &[(10, 20), (10, 10), (10, 0)]), Exact),
    Entry::new("RGB10x2_LE", Rgb, LE, word(4, &[(10, 0), (10, 10), (10, 20)]), Exact),
];
