//! Speed of one copy: `memcpy`, and stores that do not go through the caches.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin copies -- [--rounds N] [--json FILE]`

use figures::{Record, median, now_ns};
use shm2_benches::Options;

/// The frames of the elements: 320x240 I420, 1920x1080 NV12, 3840x2160 BGRx.
const SIZES: [(&str, usize); 3] = [("S, 115 KB", 115_200), ("M, 3.1 MB", 3_110_400), ("L, 33 MB", 33_177_600)];
/// Bytes that are copied in one run, at least.
const RUN: usize = 200_000_000;

type Copy = fn(&mut [u8], &[u8]);

const WAYS: [(&str, Copy); 2] = [("memcpy", memcpy), ("streaming stores", streaming)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options::from_arguments(7)?;
    for (case, size) in SIZES {
        let (from, mut to) = (vec![7; size], vec![0; size]);
        let mut runs = WAYS.map(|_| Vec::new());
        for _ in 0..options.rounds {
            for ((name, copy), runs) in WAYS.iter().zip(&mut runs) {
                let speed = speed(*copy, &mut to, &from);
                options.recorder.write(&Record::new("copies", case, name).with("GB/s", speed))?;
                runs.push(speed);
            }
        }
        println!("{case}");
        for ((name, _), runs) in WAYS.iter().zip(runs) {
            println!("  {name:<18}{:>8.1} GB/s", median(runs));
        }
    }
    Ok(())
}

/// Gigabytes a second.
fn speed(copy: Copy, to: &mut [u8], from: &[u8]) -> f64 {
    let count = (RUN / from.len()).max(4);
    copy(to, from);
    let begun = now_ns();
    for _ in 0..count {
        copy(std::hint::black_box(&mut *to), std::hint::black_box(from));
    }
    (count * from.len()) as f64 / (now_ns() - begun) as f64
}

fn memcpy(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the stores have no safe form")]
fn streaming(to: &mut [u8], from: &[u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    // SAFETY: any bytes are vectors.
    let (head, vectors, tail) = unsafe { to.align_to_mut::<__m128i>() };
    let (first, rest) = from.split_at(head.len());
    head.copy_from_slice(first);
    for (vector, bytes) in vectors.iter_mut().zip(rest.chunks_exact(16)) {
        // SAFETY: both are 16 bytes, the vector is aligned; SSE2 is part of the architecture.
        unsafe { _mm_stream_si128(vector, _mm_loadu_si128(bytes.as_ptr().cast())) };
    }
    tail.copy_from_slice(&rest[vectors.len() * 16..]);
    // SAFETY: SSE is part of the architecture.
    unsafe { _mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn streaming(to: &mut [u8], from: &[u8]) {
    // No such stores in the standard library for this architecture.
    memcpy(to, from);
}
