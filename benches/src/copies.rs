//! Copies of whole frames into a region: a plain copy, streaming stores, and `Reservation::write_at`, which chooses
//! between them by the size of the frame. Each is measured alone, and with a reader in the same thread that reads all of
//! the frame afterwards. Gigabytes per second, medians of alternating runs.

#![expect(unsafe_code, reason = "copies to the address of a reservation")]

use shm2::{Producer, Reservation};
use shm2_benches::median;
use shm2_testing::TempRegion;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 7;
/// Bytes that each measurement copies at least.
const BYTES: usize = 256 << 20;
const SIZES: [(usize, &str); 7] = [
    (115_200, "115 KB"),
    (1 << 20, "1 MB"),
    (3_110_400, "3 MB"),
    (6_220_800, "6 MB"),
    (12_441_600, "12 MB"),
    (33_177_600, "33 MB"),
    (132_710_400, "132 MB"),
];

type Copy = fn(&mut Reservation, &[u8]);
const COPIES: [(&str, Copy); 4] =
    [("memcpy", plain), ("streaming", streaming), ("write_at", whole), ("write_at, rows of 16 KiB", rows)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{:<10}", "GB/s");
    COPIES.iter().for_each(|(name, _)| print!("{name:>28}"));
    println!("\n{:<10}{}", "", format!("{:>28}", "alone | and read").repeat(COPIES.len()));
    for (size, label) in SIZES {
        let source = vec![7u8; size];
        let name = TempRegion::new();
        let producer = Producer::builder(&name)?.arena(2 * size as u64 + (4 << 20)).create()?;
        // Two frames in turns, as with a consumer that reads the frame before.
        let mut slots = [producer.handle().try_reserve(size)?, producer.handle().try_reserve(size)?];
        let mut figures = vec![[vec![], vec![]]; COPIES.len()];
        for _ in 0..ROUNDS {
            for ((_, copy), figures) in COPIES.iter().zip(&mut figures) {
                for (is_read, figures) in figures.iter_mut().enumerate() {
                    figures.push(throughput(&mut slots, &source, *copy, is_read == 1));
                }
            }
        }
        print!("{label:<10}");
        figures.into_iter().for_each(|figures| {
            let [alone, read] = figures.map(median);
            print!("{:>28}", format!("{alone:.1} | {read:.1}"));
        });
        println!();
    }
    Ok(())
}

fn throughput(slots: &mut [Reservation; 2], source: &[u8], copy: Copy, is_read: bool) -> f64 {
    let frames = BYTES.div_ceil(source.len()).max(4);
    let begun = Instant::now();
    for frame in 0..frames {
        let slot = &mut slots[frame % 2];
        copy(slot, black_box(source));
        if is_read {
            black_box(sum(slot));
        }
    }
    (frames * source.len()) as f64 / begun.elapsed().as_secs_f64() / 1e9
}

fn plain(slot: &mut Reservation, source: &[u8]) {
    // SAFETY: the reservation has the length of the source.
    unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), slot.as_mut_ptr(), source.len()) };
}

fn whole(slot: &mut Reservation, source: &[u8]) {
    slot.write_at(0, source).expect("the source fits");
}

fn rows(slot: &mut Reservation, source: &[u8]) {
    for (index, row) in source.chunks(16 << 10).enumerate() {
        slot.write_at(index * (16 << 10), row).expect("the source fits");
    }
}

#[cfg(target_arch = "x86_64")]
fn streaming(slot: &mut Reservation, source: &[u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    let (from, to) = (source.as_ptr().cast::<__m128i>(), slot.as_mut_ptr().cast::<__m128i>());
    for at in 0..source.len() / size_of::<__m128i>() {
        // SAFETY: both are long enough; a reservation is aligned to 64 bytes.
        unsafe { _mm_stream_si128(to.add(at), _mm_loadu_si128(from.add(at))) };
    }
    // SAFETY: part of x86-64.
    unsafe { _mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn streaming(slot: &mut Reservation, source: &[u8]) {
    plain(slot, source);
}

fn sum(slot: &mut Reservation) -> u64 {
    let words = slot.as_mut_ptr().cast::<u64>();
    // SAFETY: inside the reservation, which is aligned to 64 bytes.
    (0..slot.len() / 8).fold(0u64, |sum, at| sum.wrapping_add(unsafe { words.add(at).read() }))
}
