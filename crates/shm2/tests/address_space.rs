//! Regions that are larger than the address space of a 32-bit program: an error with the size, no panic and no address
//! outside the mapping. `cargo xtask lint` builds the crate for such a target, and these tests run there, too:
//! `cargo test --target i686-unknown-linux-gnu -p shm2`.

#![cfg(target_os = "linux")]

use shm2::{Access, Overview};
use shm2::{Consumer, FrameInfo, Producer, layout};
use shm2_testing::TempRegion;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::time::Duration;

const GIB: u64 = 1 << 30;

/// Whether this program can map a region of this size.
fn fits(bytes: u64) -> bool {
    isize::try_from(bytes).is_ok()
}

/// Makes the file of a live producer larger, with a header that says so. It takes hardly more memory.
fn enlarge(name: &TempRegion, bytes: u64, kept: u32) {
    name.set_len(bytes);
    let file = std::fs::File::options().write(true).open(name.path()).unwrap();
    let header = [
        (offset_of!(layout::Header, region_bytes), bytes),
        (offset_of!(layout::Header, arena_bytes), layout::arena_bytes(bytes).unwrap()),
    ];
    for (at, word) in header {
        file.write_at(&word.to_le_bytes(), at as u64).unwrap();
    }
    file.write_at(&kept.to_le_bytes(), offset_of!(layout::Header, kept) as u64).unwrap();
}

#[test]
fn a_consumer_of_a_region_of_any_size_gets_an_error_or_reads_it_and_never_panics() {
    for bytes in [2 * GIB, 4 * GIB, 4 * GIB + (64 << 10), 4 * GIB + (8 << 20), 5 * GIB] {
        for kept in [0, layout::KEPT_BY_LOCK, layout::KEPT_BY_HEARTBEAT] {
            let name = TempRegion::new();
            let mut producer = Producer::builder(&name).unwrap().size(8 << 20).create().unwrap();
            producer.send(&[7; 1000], &FrameInfo::new()).unwrap();
            enlarge(&name, bytes, kept);
            for access in [Access::Lease, Access::Snapshot, Access::Auto] {
                let builder = Consumer::builder(&name).unwrap().access(access).start(shm2::Start::Oldest);
                let consumer = builder.attach(Some(Duration::from_millis(50)));
                let frame = consumer.map(|mut consumer| consumer.next(Some(Duration::from_millis(50))));
                println!("{bytes} bytes, kept {kept}, {access:?}: {frame:?}");
                if let Ok(Ok(frame)) = frame {
                    assert!(!frame.is_leased() || fits(bytes), "{bytes}: {frame:?}");
                    assert_eq!(frame.to_vec(), [7; 1000]);
                }
            }
            let _ = Overview::of(&name);
        }
    }
}

#[test]
fn a_producer_in_a_32_bit_program_is_told_which_size_does_not_fit() {
    let bytes = 5 * GIB;
    if fits(bytes) {
        return;
    }
    for keep in [false, true] {
        let name = TempRegion::new();
        let builder = Producer::builder(&name).unwrap().size(bytes).keep_region(keep);
        let text = builder.create().unwrap_err().to_string();
        assert!(text.contains("5368709120 bytes do not fit into the address space"), "{text}");
        assert!(!name.exists());
    }
}
