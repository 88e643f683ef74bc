//! Limits of caps text.

/// Longest accepted caps text, in bytes.
pub const MAX_CAPS_BYTES: usize = 1 << 20;

/// Most structures, features, fields and list items in one caps text, counted together.
pub const MAX_VALUES: usize = 1 << 16;

/// Most channels of raw audio. A program may keep something for each of them, and a peer that is not trusted names the
/// number.
pub const MAX_CHANNELS: u32 = 16_384;

/// Deepest nesting of lists, arrays and ranges.
pub const MAX_DEPTH: usize = 8;
