//! A consumer whose monotonic clock differs by days from its producer's, as after a migration or in a time namespace,
//! gets every frame and notices every killed producer: no decision depends on a time that a peer wrote.

use shm2_e2e::Peer;
use shm2_testing::{LIMIT, RECOVERY, TempRegion, skip};
use std::process::Command;
use std::time::Duration;

/// Ten days ahead.
const ELSEWHERE: &str = "unshare --time --monotonic 864000 --boottime 864000 --fork --kill-child";

fn there_are_time_namespaces() -> bool {
    let mut words = ELSEWHERE.split_whitespace();
    let there = Command::new(words.next().unwrap_or_default()).args(words).arg("true").status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        skip("time namespaces cannot be made here (unshare --time needs root and Linux 5.6)");
    }
    there
}

#[test]
fn a_clock_offset_of_days_changes_nothing() {
    if !there_are_time_namespaces() {
        return;
    }
    for (producer, consumer) in [
        ("pace=20000", "access=lease hold=4"),
        ("pace=20000", "access=snapshot"),
        ("pace=20000 keep=1 lease_ms=400", "access=lease life=heartbeat hold=4 judge=once"),
    ] {
        let name = TempRegion::new();
        let mut far = Peer::start_under(ELSEWHERE, &format!("consumer {} {consumer}", &*name));
        for _ in 0..2 {
            let mut near = Peer::producer(&name, producer);
            near.wait("its region", LIMIT, |p| p.count("created") == 1);
            // Longer than the lease time, so that both sides check heartbeats.
            far.wait_more("checked", 20, RECOVERY * 4);
            std::thread::sleep(Duration::from_millis(500));
            far.wait_more("checked", 5, RECOVERY);
            assert_eq!((far.count("missed"), far.count("expelled")), (0, 0));
            // The producer's times are mapped to the consumer's clock.
            println!("{consumer}: newest frame {} us old", far.count("age_us"));
            far.wait("a young frame", RECOVERY, |p| p.count("age_us") < 500_000);
            near.kill();
        }
        far.stop();
    }
}
