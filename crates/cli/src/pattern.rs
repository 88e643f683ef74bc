//! The payload of `shm2_producer`: every 8-byte word is computed from the frame's number and the word's index, so that
//! a reader detects each wrong byte. Layout: mark, number, then the words; the last word is cut to the frame's length.

use crate::Check;
use shm2::{Frame, Reservation, SendError};

const MARK: u64 = u64::from_le_bytes(*b"shm2test");
/// Bytes of mark and number, by which a frame is recognised.
pub const HEAD: usize = 16;
const CHUNK: usize = 64 * 1024;

fn word(number: u64, index: u64) -> u64 {
    match index {
        0 => MARK,
        1 => number,
        _ => number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index.wrapping_mul(0x0101_0101_0101_0101)),
    }
}

fn fill_chunk(number: u64, offset: usize, chunk: &mut [u8]) {
    let first = (offset / 8) as u64;
    for (index, bytes) in (first..).zip(chunk.chunks_mut(8)) {
        bytes.copy_from_slice(&word(number, index).to_le_bytes()[..bytes.len()]);
    }
}

/// Fills a reservation with frame `number`.
///
/// # Errors
/// None in practice: the writes stay inside the reservation.
pub fn fill(slot: &mut Reservation, number: u64) -> Result<(), SendError> {
    let mut chunk = [0u8; CHUNK];
    for offset in (0..slot.len()).step_by(CHUNK) {
        let bytes = CHUNK.min(slot.len() - offset);
        fill_chunk(number, offset, &mut chunk[..bytes]);
        slot.write_at(offset, &chunk[..bytes])?;
    }
    Ok(())
}

/// The number of a frame that `shm2_producer` sent; `None` for any other.
pub fn number(frame: &Frame) -> Option<u64> {
    let mut head = [0; HEAD];
    let ours = frame.read_at(0, &mut head) && u64::from_le_bytes(std::array::from_fn(|i| head[i])) == MARK;
    ours.then(|| u64::from_le_bytes(std::array::from_fn(|i| head[8 + i])))
}

/// First checked offset at or after which the frame differs from the payload of `number`.
pub fn mismatch(frame: &Frame, number: u64, check: Check) -> Option<usize> {
    match check {
        Check::None => None,
        Check::Full => (0..frame.len()).step_by(CHUNK).find(|&o| differs(frame, number, o, CHUNK)),
        Check::Sampled => {
            let step = (frame.len() / 64).max(64) / 8 * 8;
            let end = frame.len().saturating_sub(64) / 8 * 8;
            (0..frame.len()).step_by(step).chain([end]).find(|&o| differs(frame, number, o, 64))
        }
    }
}

fn differs(frame: &Frame, number: u64, offset: usize, most: usize) -> bool {
    let (mut found, mut sent) = ([0u8; CHUNK], [0u8; CHUNK]);
    let bytes = most.min(frame.len() - offset);
    fill_chunk(number, offset, &mut sent[..bytes]);
    !frame.read_at(offset, &mut found[..bytes]) || found[..bytes] != sent[..bytes]
}
