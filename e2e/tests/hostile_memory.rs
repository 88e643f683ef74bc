//! Random words of a region change while producer and consumers run: no process ends, hangs, or uses unbounded memory.

use shm2::{Access, Consumer, layout};
use shm2_e2e::Peer;
use shm2_testing::words::{CELL, HEADER, PAGE, Word, corrupt_one};
use shm2_testing::{LIMIT, RECOVERY, Rng, TempRegion, process};
use std::fs::{File, OpenOptions};
use std::time::{Duration, Instant};

fn open(name: &TempRegion) -> File {
    OpenOptions::new().read(true).write(true).open(name.path()).unwrap()
}

const STORM: Duration = Duration::from_millis(1500);

/// Overwrites random words for a while, and checks that every process runs and the producer goes on.
fn corrupt_for_a_while(
    name: &TempRegion,
    seed: u64,
    header: &[Word],
    producer: &mut Peer,
    consumers: &mut [Peer],
) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let file = open(name);
    let (begun, mut changes) = (Instant::now(), 0);
    while begun.elapsed() < STORM {
        let before = producer.count("published") + producer.count("dropped");
        let until = Instant::now() + Duration::from_millis(100);
        while Instant::now() < until {
            corrupt(&file, header, &mut rng);
            changes += 1;
        }
        let goes_on = |p: &Peer| p.count("published") + p.count("dropped") > before;
        producer.wait("a producer that goes on", LIMIT, goes_on);
        for peer in consumers.iter_mut() {
            assert_eq!(peer.ended(), None, "seed {seed}");
        }
    }
    changes
}

fn corrupt(file: &File, header: &[Word], rng: &mut Rng) {
    let sequence = rng.u64(..layout::CELLS);
    let page = rng.usize(..6);
    let (base, words) = match rng.u64(..10) {
        0..=2 => (0, header),
        3..=5 => (layout::cell_offset(sequence), CELL),
        _ => (layout::page_words_offset(page), PAGE),
    };
    corrupt_one(file, base, words, rng);
}

#[test]
fn words_that_change_while_both_sides_run_end_no_process() {
    let seed = shm2_testing::seed();
    // Consumers refuse a corrupt fixed part of the header, so the second set leaves it intact.
    let moving: Vec<Word> = HEADER.iter().copied().filter(|&(word, at, _)| at >= 128 && word != "state").collect();
    for (what, header) in [("all words", HEADER), ("words that change", &moving)] {
        for policy in ["oldest", "newest", "block"] {
            println!("{what}, {policy}: {}", run_under_corruption(seed, &format!("policy={policy}"), header));
        }
        println!("{what}, kept: {}", run_under_corruption(seed, "keep=1 lease_ms=300", header));
    }
}

fn run_under_corruption(seed: u64, options: &str, header: &[Word]) -> String {
    let name = TempRegion::new();
    let by_heartbeat = options.contains("keep=1");
    let mut producer = Peer::producer(&name, &format!("arena=400000 pace=50 timeout=50 caps=20 eos=40 {options}"));
    producer.wait("its region", LIMIT, |p| p.count("created") == 1);
    let second = if by_heartbeat { "access=lease hold=4 life=heartbeat" } else { "access=lease latest=1" };
    let options = ["access=lease hold=4", second, "access=snapshot", "access=snapshot latest=1"];
    let mut consumers = options.map(|o| Peer::consumer(&name, &format!("hostile=1 {o}")));
    for consumer in &mut consumers {
        consumer.wait_more("checked", 2, LIMIT);
    }
    let changes = corrupt_for_a_while(&name, seed, header, &mut producer, &mut consumers);
    let peaks: Vec<_> =
        consumers.iter().chain([&producer]).map(|p| process::peak_bytes(p.id()).unwrap() >> 20).collect();
    assert!(peaks.iter().all(|&mib| mib < limit_mib()), "memory in MiB: {peaks:?}");
    let count = |key| consumers.iter().map(|c| c.count(key)).collect::<Vec<_>>();
    let (checked, violations, published) = (count("checked"), count("violations"), producer.count("published"));
    let words = format!(
        "{changes} words set, {published} published, taken {checked:?}, violations {violations:?}, peak MiB {peaks:?}"
    );
    producer.stop();
    // The file may be no region any more.
    let _ = std::fs::remove_file(name.path());
    let mut next = Peer::producer(&name, if by_heartbeat { "keep=1 lease_ms=300" } else { "" });
    next.wait("its region", RECOVERY, |p| p.count("created") == 1);
    for mut consumer in consumers {
        consumer.wait_more("checked", 2, RECOVERY * 2);
        consumer.stop();
    }
    next.stop();
    words
}

#[test]
fn a_leasing_consumer_maps_only_its_own_page_for_writing() {
    let name = TempRegion::new();
    let mut producer = Peer::producer(&name, "");
    producer.wait("its region", LIMIT, |p| p.count("created") == 1);
    let builder = Consumer::builder(&name).unwrap().access(Access::Lease);
    let _consumer = builder.attach(Some(LIMIT)).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let of_region = maps.lines().filter(|line| line.contains(&*name.path().to_string_lossy()));
    let size = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some(u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?)
    };
    let writable = of_region.filter(|line| line.contains(" rw")).map(size);
    assert_eq!(writable.collect::<Vec<_>>(), [Some(layout::PAGE_USED)], "{maps}");
    producer.stop();
}

/// A sanitizer needs memory of its own.
fn limit_mib() -> u64 {
    if std::env::var_os("SHM2_SANITIZED").is_some() { 2000 } else { 80 }
}
