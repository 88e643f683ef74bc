//! What may happen to either side: deaths, pauses, restarts, wiped memory.

use super::host::Program;
use super::{Guest, LIMIT, Stage, check, field, finish, kill};
use crate::Outcome;
use std::io::Write;
use std::time::{Duration, Instant};

/// A consumer in a guest that leaves its counts in a file; its input ends with the guest or after some minutes.
fn peer(role: &str, device: &str, options: &str, file: &str) -> String {
    format!("(sleep 400 | ./shm2_peer {role} {device} {options} > /tmp/{file} 2>&1) & echo started")
}

/// Waits until a count in that file has come to `least`; returns the counts.
fn wait_count(guest: &mut Guest, file: &str, name: &str, least: u64) -> Result<String, String> {
    let begun = Instant::now();
    loop {
        let text = guest.run(&format!("tail -n 1 /tmp/{file}"), LIMIT)?;
        if field(&text, name) >= least {
            return Ok(text);
        }
        std::thread::sleep(Duration::from_millis(200));
        if begun.elapsed() > LIMIT {
            return Err(format!("{name} does not come to {least}: {text}"));
        }
    }
}

/// What a paused guest has to come back to.
pub struct Paused {
    producer: Program,
    before: u64,
}

/// The second guest holds frames, and is paused.
pub fn begin_pause(stage: &Stage, second: &mut Guest) -> Result<Paused, String> {
    let third = stage.files.third.display();
    let producer = stage.host.start("shm2_peer", &format!("producer {third} keep=1 pace=5000 lease_ms=2000"))?;
    // The pause may come while it looks at a frame, which changes meanwhile.
    second.run(&peer("consumer", "ivshmem://1", "access=lease hold=4 judge=once", "paused"), LIMIT)?;
    let counts = wait_count(second, "paused", "checked", 50)?;
    second.pause()?;
    Ok(Paused { producer, before: field(&counts, "checked") })
}

/// The host's producer went on, and took back what the guest held; the guest finds out and begins anew.
pub fn end_pause(second: &mut Guest, paused: Paused, since: Instant) -> Outcome {
    println!("vm: paused for {:.0} s", since.elapsed().as_secs_f64());
    second.resume()?;
    let counts = wait_count(second, "paused", "checked", paused.before + 50)?;
    println!("vm: {}", counts.trim());
    if field(&counts, "evicted") == 0 || field(&counts, "lies") > 0 {
        return Err(counts);
    }
    second.run("pkill shm2_peer; true", LIMIT)?;
    stop(paused.producer).map(drop)
}

/// Ends a peer by the end of its input; its counts.
fn stop(program: Program) -> Result<String, String> {
    let text = finish(program.without_input(), LIMIT)?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// QEMU drops what a guest writes into such a device, without a word.
pub fn readonly(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display();
    let producer = stage.host.start(
        "shm2_producer",
        &format!("{main} 100000 --keep-region --wait 0 --rate 200 -q --full-policy drop-oldest"),
    )?;
    let script = "timeout 60 ./shm2_consumer ivshmem://2 300 --timeout 20 --json; \
        timeout 60 ./shm2_consumer ivshmem://2 300 --timeout 20 --access lease 2>&1 || true; \
        timeout 60 ./shm2_producer ivshmem://2 10 --wait 0 2>&1 || true";
    let text = stage.first.run(script, LIMIT)?;
    print!("{text}");
    kill(producer)?;
    let alone = stage.first.run("timeout 60 ./shm2_producer ivshmem://2 10 --wait 0 2>&1 || true", LIMIT)?;
    print!("{alone}");
    check(&alone, &["the device is read-only"])?;
    if field(&text, "frames") + field(&text, "missed") < 300 || field(&text, "mismatches") > 0 {
        return Err(text);
    }
    check(&text, &["permission denied", "has a live producer already"])
}

/// A consumer that waits for frames looks ever less often.
pub fn idle(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display();
    let producer = stage.host.start("shm2_peer", &format!("idle-producer {main} keep=1"))?;
    let script = "sleep 60 | ./shm2_peer idle-consumer ivshmem://0 & sleep 8
        pid=$(pgrep -f 'idle-consumer ivshmem' | tail -n 1); busy() { cat /proc/$pid/task/*/schedstat | awk '{s += $1} END {print s}'; }
        looks() { cat /proc/$pid/task/*/status | awk '/ctxt_switches/ {s += $2} END {print s}'; }
        before=$(busy) first=$(looks); sleep 6; after=$(busy)
        echo \"idle_ppm=$(((after - before) / 6000)) looks=$((($(looks) - first) / 6))\"; pkill shm2_peer; true";
    let text = stage.first.run(script, LIMIT)?;
    stop(producer)?;
    let ppm = field(&text, "idle_ppm");
    let (looks, busy) = (field(&text, "looks"), ppm as f64 / 10_000.0);
    println!("vm: a consumer for which nothing comes looks {looks} times a second: {busy:.2} % of a processor");
    if (1..100).contains(&looks) { Ok(()) } else { Err(text) }
}

/// Of two producers the second is refused, from either side.
pub fn second_producer(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display().to_string();
    let producer = stage.host.start("shm2_peer", &format!("producer {main} keep=1"))?;
    let attempt = "./shm2_producer ivshmem://0 10 --wait 0 2>&1 || true";
    std::thread::sleep(Duration::from_millis(500));
    let text = stage.first.run(attempt, LIMIT)?;
    check(&text, &["has a live producer already"])?;
    stop(producer)?;
    stage.first.run(&peer("producer", "ivshmem://0", "lease_ms=1000", "producer"), LIMIT)?;
    wait_count(&mut stage.first, "producer", "created", 0)?;
    std::thread::sleep(Duration::from_secs(1));
    let refused = finish(stage.host.start("shm2_producer", &format!("{main} 10 --wait 0 --keep-region"))?, LIMIT);
    stage.first.run("pkill shm2_peer; true", LIMIT)?;
    if refused.is_err() { Ok(()) } else { Err("the host's producer was not refused".into()) }
}

/// Killed and started again, three times: the guest's consumers go on with each.
pub fn host_producer_dies(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display().to_string();
    stage.first.run(&peer("consumer", "ivshmem://0", "access=lease hold=4", "lease"), LIMIT)?;
    stage.first.run(&peer("consumer", "ivshmem://0", "access=snapshot", "snapshot"), LIMIT)?;
    for life in 1..=3 {
        let producer = stage.host.start("shm2_peer", &format!("producer {main} keep=1 pace=3000 lease_ms=1000"))?;
        for file in ["lease", "snapshot"] {
            wait_count(&mut stage.first, file, "attaches", life)?;
            let now = field(&wait_count(&mut stage.first, file, "checked", 1)?, "checked");
            wait_count(&mut stage.first, file, "checked", now + 30)?;
        }
        kill(producer)?;
    }
    let text = stage.first.run("tail -qn 1 /tmp/lease /tmp/snapshot; pkill shm2_peer; true", LIMIT)?;
    print!("{text}");
    if text.contains("lies=0") { Ok(()) } else { Err(text) }
}

/// As the firmware of a starting machine may do it.
pub fn wiped(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display().to_string();
    let producer = stage.host.start("shm2_peer", &format!("producer {main} keep=1 pace=3000 lease_ms=1000"))?;
    // One that compares no bytes: those of frames that it has are wiped, too.
    stage.first.run(&peer("idle-consumer", "ivshmem://0", "access=lease", "wiped"), LIMIT)?;
    wait_count(&mut stage.first, "wiped", "checked", 30)?;
    let zeros = vec![0; 64 << 20];
    let file = std::fs::OpenOptions::new().write(true).open(&main).and_then(|mut file| file.write_all(&zeros));
    file.map_err(|e| format!("{main}: {e}"))?;
    let counts = wait_count(&mut stage.first, "wiped", "attaches", 2)?;
    let counts = wait_count(&mut stage.first, "wiped", "checked", field(&counts, "checked") + 30)?;
    println!("vm: {}", counts.trim());
    stage.first.run("pkill shm2_peer; true", LIMIT)?;
    stop(producer).map(drop)
}

/// The host's consumer notices by the heart that does not beat, and goes on with the next one.
pub fn guest_producer_dies(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display();
    let consumer = stage.host.start("shm2_consumer", &format!("{main} 100000 --reconnect --timeout 7 --json -q"))?;
    for life in 1..=2 {
        stage.first.run(&peer("producer", "ivshmem://0", "pace=3000 lease_ms=1000 most=0", "dying"), LIMIT)?;
        wait_count(&mut stage.first, "dying", "published", 400)?;
        println!("vm: producer {life} in the guest is killed");
        stage.first.run("pkill -9 shm2_peer; true", LIMIT)?;
    }
    // Its time limit ends it, with an exit code that says so.
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

/// The reset button while the guest reads: the host's producer takes back what it held, and serves it again afterwards.
pub fn reset(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display().to_string();
    let producer = stage.host.start("shm2_peer", &format!("producer {main} keep=1 pace=3000 lease_ms=1000"))?;
    stage.first.run(&peer("consumer", "ivshmem://0", "access=lease hold=4 release=never", "held"), LIMIT)?;
    wait_count(&mut stage.first, "held", "held", 4)?;
    stage.first.reset()?;
    stage.first.run(&peer("consumer", "ivshmem://0", "access=lease hold=4", "after"), LIMIT)?;
    let counts = wait_count(&mut stage.first, "after", "checked", 50)?;
    println!("vm: after the restart: {}", counts.trim());
    stage.first.run("pkill shm2_peer; true", LIMIT)?;
    std::thread::sleep(Duration::from_secs(3));
    let counts = stop(producer)?;
    println!("vm: the producer: {counts}");
    if field(&counts, "held") == 0 && field(&counts, "consumers") == 0 { Ok(()) } else { Err(counts) }
}
