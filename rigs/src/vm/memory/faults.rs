//! Faults of either side: processes killed, guests paused and restarted, memory cleared.

use super::host::Program;
use super::{Fixture, Guest, LIMIT, expect_all, field, finish, kill};
use std::io::Write;
use std::time::{Duration, Instant};
use xtask::Outcome;

/// Ends all peers in a guest.
const END_PEERS: &str = "pkill shm2_peer; true";

/// The command that starts a peer in a guest; its counts go to `/tmp/FILE`.
fn peer(role: &str, device: &str, options: &str, file: &str) -> String {
    format!("start-peer.sh /tmp/{file} {role} {device} {options}")
}

/// Waits until a count in `/tmp/FILE` is at least `least`; returns all counts.
fn wait_count(guest: &mut Guest, file: &str, name: &str, least: u64) -> Result<String, String> {
    let begun = Instant::now();
    loop {
        let text = guest.run(&format!("tail -n 1 /tmp/{file}"), LIMIT)?;
        if field(&text, name) >= least {
            return Ok(text);
        }
        std::thread::sleep(Duration::from_millis(200));
        if begun.elapsed() > LIMIT {
            return Err(format!("{name} does not reach {least}: {text}"));
        }
    }
}

/// A guest that is paused while its consumer holds frames.
pub struct PausedConsumer {
    producer: Program,
    /// Frames that the consumer had checked before the pause.
    before: u64,
}

/// Pauses the second guest while its consumer holds frames.
pub fn begin_pause(fixture: &Fixture, second: &mut Guest) -> Result<PausedConsumer, String> {
    let third = fixture.backing.third.display();
    let producer = fixture.host.start("shm2_peer", &format!("producer {third} keep=1 pace=5000 lease_ms=2000"))?;
    // The pause may begin while the consumer compares a frame, whose bytes change meanwhile.
    second.run(&peer("consumer", "ivshmem://1", "access=lease hold=4 judge=once", "paused"), LIMIT)?;
    let counts = wait_count(second, "paused", "checked", 50)?;
    second.pause()?;
    Ok(PausedConsumer { producer, before: field(&counts, "checked") })
}

/// The host's producer continued and took back the frames that the guest held. The guest's consumer notices it and
/// attaches again.
pub fn end_pause(second: &mut Guest, paused: PausedConsumer, since: Instant) -> Outcome {
    println!("vm: paused for {:.0} s", since.elapsed().as_secs_f64());
    second.resume()?;
    let counts = wait_count(second, "paused", "checked", paused.before + 50)?;
    println!("vm: {}", counts.trim());
    if field(&counts, "expelled") == 0 || field(&counts, "violations") > 0 {
        return Err(counts);
    }
    second.run(END_PEERS, LIMIT)?;
    stop(paused.producer).map(drop)
}

/// Ends a peer by closing its input; returns its counts.
fn stop(program: Program) -> Result<String, String> {
    let text = finish(program.without_input(), LIMIT)?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// QEMU drops what a guest writes into a read-only device, without an error.
pub fn readonly(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display();
    let producer = fixture.host.start(
        "shm2_producer",
        &format!("{main} 100000 --keep-region --wait 0 --rate 200 -q --full-policy drop-oldest"),
    )?;
    let text = fixture.first.run("readonly-device.sh", LIMIT)?;
    print!("{text}");
    kill(producer)?;
    let alone = fixture.first.run("timeout 60 ./shm2_producer ivshmem://2 10 --wait 0 2>&1 || true", LIMIT)?;
    print!("{alone}");
    expect_all(&alone, &["the device is read-only"])?;
    if field(&text, "frames") + field(&text, "missed") < 300 || field(&text, "mismatches") > 0 {
        return Err(text);
    }
    expect_all(&text, &["permission denied", "has a live producer already"])
}

/// A consumer that waits for frames looks for them less and less often.
pub fn idle(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display();
    let producer = fixture.host.start("shm2_peer", &format!("idle-producer {main} keep=1"))?;
    let text = fixture.first.run("idle-consumer.sh", LIMIT)?;
    stop(producer)?;
    let ppm = field(&text, "idle_ppm");
    let (looks, busy) = (field(&text, "looks"), ppm as f64 / 10_000.0);
    println!("vm: a consumer for which nothing comes looks {looks} times a second: {busy:.2} % of a processor");
    if (1..100).contains(&looks) { Ok(()) } else { Err(text) }
}

/// Of two producers the second is refused, from either side.
pub fn second_producer(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display().to_string();
    let producer = fixture.host.start("shm2_peer", &format!("producer {main} keep=1"))?;
    let attempt = "./shm2_producer ivshmem://0 10 --wait 0 2>&1 || true";
    std::thread::sleep(Duration::from_millis(500));
    let text = fixture.first.run(attempt, LIMIT)?;
    expect_all(&text, &["has a live producer already"])?;
    stop(producer)?;
    fixture.first.run(&peer("producer", "ivshmem://0", "lease_ms=1000", "producer"), LIMIT)?;
    wait_count(&mut fixture.first, "producer", "created", 0)?;
    std::thread::sleep(Duration::from_secs(1));
    let refused = finish(fixture.host.start("shm2_producer", &format!("{main} 10 --wait 0 --keep-region"))?, LIMIT);
    fixture.first.run(END_PEERS, LIMIT)?;
    if refused.is_err() { Ok(()) } else { Err("the host's producer was not refused".into()) }
}

/// The host's producer is killed and started again, three times: the guest's consumers continue with each.
pub fn host_producer_dies(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display().to_string();
    fixture.first.run(&peer("consumer", "ivshmem://0", "access=lease hold=4", "lease"), LIMIT)?;
    fixture.first.run(&peer("consumer", "ivshmem://0", "access=snapshot", "snapshot"), LIMIT)?;
    for generation in 1..=3 {
        let producer = fixture.host.start("shm2_peer", &format!("producer {main} keep=1 pace=3000 lease_ms=1000"))?;
        for file in ["lease", "snapshot"] {
            wait_count(&mut fixture.first, file, "attaches", generation)?;
            let now = field(&wait_count(&mut fixture.first, file, "checked", 1)?, "checked");
            wait_count(&mut fixture.first, file, "checked", now + 30)?;
        }
        kill(producer)?;
    }
    let text = fixture.first.run("tail -qn 1 /tmp/lease /tmp/snapshot; pkill shm2_peer; true", LIMIT)?;
    print!("{text}");
    if text.contains("violations=0") { Ok(()) } else { Err(text) }
}

/// The memory is cleared while in use, as the firmware of a starting machine may do it.
pub fn memory_cleared(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display().to_string();
    let producer = fixture.host.start("shm2_peer", &format!("producer {main} keep=1 pace=3000 lease_ms=1000"))?;
    // This consumer compares no bytes: those of the frames that it holds are cleared, too.
    fixture.first.run(&peer("idle-consumer", "ivshmem://0", "access=lease", "cleared"), LIMIT)?;
    wait_count(&mut fixture.first, "cleared", "checked", 30)?;
    let zeros = vec![0; 64 << 20];
    let file = std::fs::OpenOptions::new().write(true).open(&main).and_then(|mut file| file.write_all(&zeros));
    file.map_err(|e| format!("{main}: {e}"))?;
    let counts = wait_count(&mut fixture.first, "cleared", "attaches", 2)?;
    let counts = wait_count(&mut fixture.first, "cleared", "checked", field(&counts, "checked") + 30)?;
    println!("vm: {}", counts.trim());
    fixture.first.run(END_PEERS, LIMIT)?;
    stop(producer).map(drop)
}

/// The host's consumer notices it by the heartbeat that has stopped, and continues with the next producer.
pub fn guest_producer_dies(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display();
    let consumer = fixture.host.start("shm2_consumer", &format!("{main} 100000 --reconnect --timeout 7 --json -q"))?;
    for number in 1..=2 {
        fixture.first.run(&peer("producer", "ivshmem://0", "pace=3000 lease_ms=1000 most=0", "dying"), LIMIT)?;
        wait_count(&mut fixture.first, "dying", "published", 400)?;
        println!("vm: producer {number} in the guest is killed");
        fixture.first.run("pkill -9 shm2_peer; true", LIMIT)?;
    }
    // The consumer's time limit ends it, with an exit code other than 0.
    let text = match finish(consumer, LIMIT) {
        Ok(text) | Err(text) => text,
    };
    println!("vm: {}", text.trim());
    if field(&text, "attaches") == 2 && field(&text, "frames") > 100 && field(&text, "mismatches") == 0 {
        Ok(())
    } else {
        Err(text)
    }
}

/// The guest is reset while it reads: the host's producer takes back the frames that it held, and serves it again
/// afterwards.
pub fn reset(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display().to_string();
    let producer = fixture.host.start("shm2_peer", &format!("producer {main} keep=1 pace=3000 lease_ms=1000"))?;
    fixture.first.run(&peer("consumer", "ivshmem://0", "access=lease hold=4 release=never", "held"), LIMIT)?;
    wait_count(&mut fixture.first, "held", "held", 4)?;
    fixture.first.reset()?;
    fixture.first.run(&peer("consumer", "ivshmem://0", "access=lease hold=4", "after"), LIMIT)?;
    let counts = wait_count(&mut fixture.first, "after", "checked", 50)?;
    println!("vm: after the restart: {}", counts.trim());
    fixture.first.run(END_PEERS, LIMIT)?;
    std::thread::sleep(Duration::from_secs(3));
    let counts = stop(producer)?;
    println!("vm: the producer: {counts}");
    if field(&counts, "held") == 0 && field(&counts, "consumers") == 0 { Ok(()) } else { Err(counts) }
}
