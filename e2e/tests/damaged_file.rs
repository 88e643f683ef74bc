//! The file of a region is truncated, removed or overwritten while processes use it: no process ends by a signal, and
//! consumers attach to the next producer.

use shm2::{Producer, layout};
use shm2_e2e::Peer;
use shm2_testing::{LIMIT, RECOVERY, TempRegion};
use std::fs::{self, OpenOptions};

/// Lengths to truncate the file to: nothing, and up to each section of the region.
const LENGTHS: [u64; 7] = [
    0,
    100,
    4096,
    layout::RING_OFFSET + 128,
    layout::PAGES_OFFSET + 64,
    layout::ARENA_OFFSET,
    layout::ARENA_OFFSET + 8192,
];

#[test]
fn a_truncated_region_ends_no_process_and_affects_no_other_region() {
    let (broken, whole) = (TempRegion::new(), TempRegion::new());
    let mut other = Peer::producer(&whole, "");
    let mut reader = Peer::consumer(&whole, "access=lease hold=4");
    for bytes in LENGTHS {
        let mut producer = Peer::producer(&broken, "");
        let mut lease = Peer::consumer(&broken, "access=lease hold=4 hostile=1");
        let mut snapshot = Peer::consumer(&broken, "access=snapshot hostile=1");
        lease.wait_more("checked", 5, LIMIT);
        snapshot.wait_more("checked", 5, LIMIT);
        broken.set_len(bytes);
        // The producer ends with an error, not by a signal.
        assert_eq!(producer.wait_end().code(), Some(3), "{bytes}");
        let mut next = Peer::producer(&broken, "");
        next.wait("its region", RECOVERY, |p| p.count("created") == 1);
        lease.wait_more("checked", 5, RECOVERY);
        snapshot.wait_more("checked", 5, RECOVERY);
        lease.stop();
        snapshot.stop();
        next.stop();
    }
    reader.wait_more("checked", 5, RECOVERY);
    reader.stop();
    other.wait_more("published", 5, RECOVERY);
    other.stop();
}

#[test]
fn a_removed_name_does_not_affect_attached_peers() {
    let name = TempRegion::new();
    let mut producer = Peer::producer(&name, "");
    let mut lease = Peer::consumer(&name, "access=lease hold=4");
    let mut snapshot = Peer::consumer(&name, "access=snapshot");
    lease.wait_more("checked", 5, LIMIT);
    snapshot.wait_more("checked", 5, LIMIT);
    fs::remove_file(name.path()).unwrap();
    lease.wait_more("checked", 20, RECOVERY);
    snapshot.wait_more("checked", 20, RECOVERY);
    producer.wait_more("published", 20, RECOVERY);
    // Another producer takes the free name; when the old one ends, its consumers attach to the new one.
    let mut next = Peer::producer(&name, "");
    next.wait("its region", RECOVERY, |p| p.count("created") == 1);
    producer.stop();
    for consumer in [&mut lease, &mut snapshot] {
        consumer.wait("the new producer", RECOVERY, |c| c.count("attaches") == 2);
        consumer.wait_more("checked", 5, RECOVERY);
    }
    assert!(name.path().exists(), "the old producer left the new one's name alone");
    lease.stop();
    snapshot.stop();
    next.stop();
}

#[test]
fn an_overwritten_header_is_an_error_until_the_file_is_replaced() {
    use std::os::unix::fs::FileExt;
    let name = TempRegion::new();
    let producer = Peer::producer(&name, "");
    let mut lease = Peer::consumer(&name, "access=lease hold=4 hostile=1");
    lease.wait_more("checked", 5, LIMIT);
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    file.write_all_at(&[0xa5; 4096], 0).unwrap();
    // Without the magic number in its first eight bytes, the file is foreign.
    lease.wait("an error", LIMIT, |c| c.count("violations") > 0);
    producer.kill();
    assert!(matches!(Producer::create(&name), Err(shm2::CreateError::Foreign { .. })));
    fs::remove_file(name.path()).unwrap();
    let mut next = Peer::producer(&name, "");
    next.wait("its region", RECOVERY, |p| p.count("created") == 1);
    lease.wait_more("checked", 5, RECOVERY);
    lease.stop();
    next.stop();
}
