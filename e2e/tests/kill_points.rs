//! A process is killed, or stopped for a while, at each kill point. The other processes go on, new processes work soon,
//! and all memory is freed. The peers check contents, order and extents.

use shm2::kill_points::ALL;
use shm2_e2e::Peer;
use shm2_testing::{DeviceFile, LIMIT, RECOVERY, Signal, TempRegion};
use std::time::{Duration, Instant};

const PRODUCER: &str = "arena=400000 most=20000 caps=40 eos=60";
const LEASE: &str = "access=lease hold=4";
const SNAPSHOT: &str = "access=snapshot";

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Kill,
    Stop,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Producer,
    Lease,
    Snapshot,
    /// A producer in a guest; its points have a test of their own.
    Guest,
}

fn role(point: &str) -> Role {
    match point.split('.').next() {
        Some("create" | "reserve" | "publish" | "recycle" | "reap" | "close") => Role::Producer,
        Some("expel") => Role::Guest,
        Some("attach" | "lease" | "release" | "detach") => Role::Lease,
        _ => Role::Snapshot,
    }
}

/// Pass at which the fault comes; later where each frame passes the point.
fn pass(point: &str) -> &'static str {
    match point.split('.').next() {
        Some("create" | "close" | "attach" | "detach" | "reap" | "expel") => "1",
        _ if point == "snapshot.shown" => "1",
        _ => "37",
    }
}

fn start(point: &str, fault: Fault, arguments: &str) -> Peer {
    start_with(point, fault, arguments, &[])
}

/// The fault comes only after [`Peer::arm`].
fn start_unarmed(point: &str, fault: Fault, arguments: &str) -> Peer {
    start_with(point, fault, arguments, &[("SHM2_POINT_WAITS", "1")])
}

fn start_with(point: &str, fault: Fault, arguments: &str, more: &[(&str, &str)]) -> Peer {
    let signal = if fault == Fault::Stop { "stop" } else { "kill" };
    let environment = [("SHM2_POINT", point), ("SHM2_POINT_PASS", pass(point)), ("SHM2_POINT_SIGNAL", signal)];
    Peer::start_with(arguments, &[&environment, more].concat())
}

/// Waits until the victim has reached its kill point.
fn wait_for_fault(point: &str, fault: Fault, victim: &mut Peer) {
    let begun = Instant::now();
    loop {
        let ended = victim.ended();
        match fault {
            Fault::Kill if ended.is_some() => {
                use std::os::unix::process::ExitStatusExt;
                assert_eq!(ended.and_then(|e| e.signal()), Some(9), "{point}: ended in another way: {ended:?}");
                return;
            }
            Fault::Stop if victim.is_stopped() => return,
            _ => {}
        }
        assert!(ended.is_none() && begun.elapsed() < LIMIT, "{point} is never reached ({ended:?})");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until each consumer has new frames; returns the time it took.
fn all_receive(point: &str, consumers: &mut [&mut Peer]) -> Duration {
    let begun = Instant::now();
    for consumer in consumers {
        consumer.wait_more("checked", 5, RECOVERY * 3);
    }
    assert!(begun.elapsed() < RECOVERY, "{point}: frames came only after {:?}", begun.elapsed());
    begun.elapsed()
}

/// Stops all peers in an orderly way; nothing stays held.
fn finish(mut producer: Peer, consumers: Vec<Peer>) {
    for consumer in consumers {
        consumer.stop();
    }
    producer.wait("nothing held and no consumer", RECOVERY * 2, |p| p.count("held") == 0 && p.count("consumers") == 0);
    producer.stop();
}

fn producer_fault(point: &str, fault: Fault) -> Duration {
    let name = TempRegion::new();
    let line = format!("producer {} {PRODUCER}", &*name);
    let mut lease = Peer::consumer(&name, LEASE);
    let mut snapshot = Peer::consumer(&name, SNAPSHOT);
    if point.starts_with("create.takeover") || point == "create.cleared" {
        // What a killed producer leaves.
        let mut first = Peer::start(&line);
        first.wait("its region", LIMIT, |p| p.count("created") == 1);
        first.kill();
    }
    let mut victim = if point.starts_with("create.") {
        start(point, fault, &line)
    } else {
        let mut victim = start_unarmed(point, fault, &line);
        all_receive("start", &mut [&mut lease, &mut snapshot]);
        victim.arm();
        victim
    };
    if point.starts_with("reap.") {
        let mut third = Peer::consumer(&name, LEASE);
        third.wait_more("checked", 5, LIMIT);
        third.kill();
    }
    if point.starts_with("close.") {
        victim.ask_to_stop();
    }
    wait_for_fault(point, fault, &mut victim);
    if fault == Fault::Stop {
        std::thread::sleep(Duration::from_millis(30));
        victim.signal(Signal::CONT);
        if !point.starts_with("close.") {
            let recovery = all_receive(point, &mut [&mut lease, &mut snapshot]);
            finish(victim, vec![lease, snapshot]);
            return recovery;
        }
        assert!(victim.wait_end().success(), "{point}");
    }
    drop(victim);
    let mut next = Peer::start(&line);
    let mut newcomer = Peer::consumer(&name, LEASE);
    let recovery = all_receive(point, &mut [&mut lease, &mut snapshot, &mut newcomer]);
    next.wait("consumers", RECOVERY, |p| p.count("consumers") == 2);
    finish(next, vec![lease, snapshot, newcomer]);
    recovery
}

fn consumer_fault(point: &str, fault: Fault) -> Duration {
    let name = TempRegion::new();
    let mut producer = Peer::producer(&name, PRODUCER);
    let mut lease = Peer::consumer(&name, LEASE);
    let mut snapshot = Peer::consumer(&name, SNAPSHOT);
    all_receive("start", &mut [&mut lease, &mut snapshot]);
    let options = if role(point) == Role::Lease { LEASE } else { SNAPSHOT };
    let mut victim = start(point, fault, &format!("consumer {} {options}", &*name));
    if point.starts_with("detach.") {
        victim.wait_more("checked", 5, LIMIT);
        victim.ask_to_stop();
    }
    wait_for_fault(point, fault, &mut victim);
    producer.wait_more("published", 100, RECOVERY);
    let mut newcomer = Peer::consumer(&name, options);
    let recovery = all_receive(point, &mut [&mut lease, &mut snapshot, &mut newcomer]);
    if fault == Fault::Stop {
        victim.signal(Signal::CONT);
        if point.starts_with("detach.") {
            assert!(victim.wait_end().success(), "{point}");
        } else {
            all_receive(point, &mut [&mut victim]);
            victim.stop();
        }
    }
    finish(producer, vec![lease, snapshot, newcomer]);
    recovery
}

fn run(fault: Fault, roles: &[Role]) {
    let points: Vec<_> = ALL.iter().copied().filter(|point| roles.contains(&role(point))).collect();
    assert!(points.len() >= 9);
    let mut worst = (Duration::ZERO, "");
    for point in &points {
        let recovery = match role(point) {
            Role::Producer => producer_fault(point, fault),
            Role::Lease | Role::Snapshot | Role::Guest => consumer_fault(point, fault),
        };
        worst = worst.max((recovery, point));
    }
    println!("{} points, slowest recovery {:?} at {}", points.len(), worst.0, worst.1);
}

#[test]
fn a_producer_killed_at_any_point_is_replaced_soon() {
    run(Fault::Kill, &[Role::Producer]);
}

#[test]
fn a_producer_stopped_at_any_point_goes_on() {
    run(Fault::Stop, &[Role::Producer]);
}

#[test]
fn a_consumer_killed_at_any_point_holds_nothing() {
    run(Fault::Kill, &[Role::Lease, Role::Snapshot]);
}

#[test]
fn a_consumer_stopped_at_any_point_goes_on() {
    run(Fault::Stop, &[Role::Lease, Role::Snapshot]);
}

/// A producer that waits for a consumer would lose the frames that it sends before the consumer has its position.
#[test]
fn a_consumer_that_is_still_attaching_is_not_counted() {
    for liveness in ["locks", "heartbeat"] {
        let name = TempRegion::new();
        let mut producer = Peer::producer(&name, &format!("{PRODUCER} keep=1"));
        producer.wait("its region", LIMIT, |p| p.count("created") == 1);
        let mut victim = start("attach.claimed", Fault::Stop, &format!("consumer {} {LEASE} life={liveness}", &*name));
        wait_for_fault("attach.claimed", Fault::Stop, &mut victim);
        producer.wait_more("published", 500, RECOVERY);
        assert_eq!(producer.count("consumers"), 0, "{liveness}");
        victim.signal(Signal::CONT);
        producer.wait("the consumer", RECOVERY, |p| p.count("consumers") == 1);
        all_receive(liveness, &mut [&mut victim]);
        finish(producer, vec![victim]);
    }
}

/// A heartbeat consumer is stopped for longer than its lease time at each point. What others hold and read by the same
/// page meanwhile stays theirs, and the stopped consumer attaches again.
#[test]
fn a_heartbeat_consumer_stopped_at_any_point_takes_nothing_from_others() {
    const HEARTBEAT: &str = "access=lease life=heartbeat hold=4";
    let points: Vec<_> = ALL.iter().copied().filter(|point| role(point) == Role::Lease).collect();
    for point in points {
        let name = TempRegion::new();
        let mut producer = Peer::producer(&name, &format!("{PRODUCER} keep=1 lease_ms=100"));
        producer.wait("its region", LIMIT, |p| p.count("created") == 1);
        let mut victim = start(point, Fault::Stop, &format!("consumer {} {HEARTBEAT} judge=once", &*name));
        if point.starts_with("detach.") {
            victim.wait_more("checked", 5, LIMIT);
            victim.ask_to_stop();
        }
        wait_for_fault(point, Fault::Stop, &mut victim);
        std::thread::sleep(Duration::from_millis(400));
        let mut others = [HEARTBEAT, LEASE].map(|options| Peer::consumer(&name, options));
        for other in &mut others {
            other.wait_more("checked", 20, RECOVERY);
        }
        victim.signal(Signal::CONT);
        if point.starts_with("detach.") {
            assert!(victim.wait_end().success(), "{point}");
        } else {
            victim.wait_more("checked", 20, RECOVERY * 2);
            victim.stop();
        }
        for other in &mut others {
            other.wait_more("checked", 20, RECOVERY);
            assert_eq!(other.count("expelled"), 0, "{point}");
        }
        finish(producer, others.into());
    }
}

/// A guest's producer is stopped while it expels a dead consumer. When it continues, another producer has taken over
/// and the page has another owner. The stop may hit a reservation or an idle check, so the test runs several times.
#[test]
fn a_producer_stopped_while_it_expels_takes_nothing_from_the_next_owner() {
    for seed in 0..8 {
        stop_while_it_expels(seed);
    }
}

fn stop_while_it_expels(seed: u64) {
    let device = DeviceFile::new();
    let options = format!("arena=400000 least=10000 most=60000 lease_ms=100 seed={seed}");
    let mut victim = start("expel.taken", Fault::Stop, &format!("producer {} {options}", device.guest()));
    let mut dead = Peer::consumer(&device.guest(), "access=lease");
    dead.wait_more("checked", 5, LIMIT);
    dead.kill();
    wait_for_fault("expel.taken", Fault::Stop, &mut victim);
    let mut next = Peer::producer(device.host(), &format!("{options} keep=1"));
    let page = || {
        let mut word = [0; 4];
        let at = shm2::layout::page_offset(0) + 12;
        std::os::unix::fs::FileExt::read_exact_at(&device.open(), &mut word, at).map(|()| u32::from_le_bytes(word))
    };
    next.wait("page 0", LIMIT, |_| page().is_ok_and(|word| word == shm2::layout::FREE));
    let mut owner = Peer::consumer(device.host(), "access=lease hold=6");
    owner.wait_more("checked", 20, LIMIT);
    let owned = page().expect("page 0");
    victim.signal(Signal::CONT);
    assert!(!victim.wait_end().success(), "it was superseded");
    owner.wait_more("checked", 300, LIMIT);
    assert_eq!(page().expect("page 0"), owned);
    finish(next, vec![owner]);
}
