//! Frames between host and guests through ivshmem devices, and what may happen to either side.

mod drivers;
mod faults;
mod host;

use super::guest::{Guest, Memory};
use super::{Place, check, scene};
use crate::Outcome;
use host::{Host, field, finish, kill};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);
/// Frames that must arrive and be equal.
const COUNT: usize = 1000;

/// The devices' backing files; removed when dropped.
pub struct Files {
    /// Device 0 of each guest, and once more, read-only, device 2.
    pub main: PathBuf,
    /// Device 1.
    pub side: PathBuf,
    /// Device 1 of the second guest.
    pub third: PathBuf,
}

impl Files {
    pub fn new() -> Self {
        let file = |name| PathBuf::from(format!("/dev/shm/shm2-vm-{}-{name}", std::process::id()));
        Self { main: file("main"), side: file("side"), third: file("third") }
    }

    /// Of the first guest.
    pub fn memories(&self) -> Vec<Memory> {
        let main = Memory { file: self.main.clone(), mib: 64, readonly: false };
        let side = Memory { file: self.side.clone(), mib: 16, readonly: false };
        vec![main.clone(), side, Memory { readonly: true, ..main }]
    }

    fn memories_of_second(&self) -> Vec<Memory> {
        let main = Memory { file: self.main.clone(), mib: 64, readonly: false };
        vec![main, Memory { file: self.third.clone(), mib: 16, readonly: false }]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for file in [&self.main, &self.side, &self.third] {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Everything that the checks use.
pub struct Stage<'a> {
    host: Host<'a>,
    files: &'a Files,
    first: Guest,
}

/// All checks. A second guest is paused for `pause` while others run; `kvmfr` is that module.
pub fn all(place: &Place, files: &Files, first: Guest, pause: Duration, kvmfr: Option<&Path>) -> Outcome {
    let mut stage = Stage { host: Host(place), files, first };
    scene("names of devices", || names(&mut stage))?;
    let mut second = Guest::boot(place, "second guest", &files.memories_of_second())?;
    let paused = faults::begin_pause(&stage, &mut second)?;
    let since = Instant::now();
    scene("pictures, host to guest", || pictures_to_guest(&mut stage))?;
    scene("pictures, guest to host", || pictures_to_host(&mut stage))?;
    scene("frames, host to guest", || frames_to_guest(&mut stage))?;
    scene("frames, guest to host", || frames_to_host(&mut stage))?;
    scene("a driver of UIO", || drivers::uio(&mut stage))?;
    scene("clocks", || clocks(&mut stage))?;
    scene("read-only device", || faults::readonly(&mut stage))?;
    scene("processor time", || faults::idle(&mut stage))?;
    scene("a second producer", || faults::second_producer(&mut stage))?;
    scene("the host's producer dies", || faults::host_producer_dies(&mut stage))?;
    scene("the memory is wiped", || faults::wiped(&mut stage))?;
    scene("the guest's producer dies", || faults::guest_producer_dies(&mut stage))?;
    scene("the guest restarts", || faults::reset(&mut stage))?;
    std::thread::sleep(pause.saturating_sub(since.elapsed()));
    scene("a guest that was paused", || faults::end_pause(&mut second, paused, since))?;
    scene("two guests", || two_guests(&mut stage, &mut second))?;
    scene("the driver kvmfr", || drivers::kvmfr(&mut stage, kvmfr))
}

/// The address of device 1, for scripts.
const ADDRESS: &str = "address=$(for d in /sys/bus/pci/devices/*; do \
    [ $(cat $d/vendor):$(cat $d/device) = 0x1af4:0x1110 ] && basename $d; done | sed -n 2p)";

/// Each way to name a device leads to it, and those that cannot say why.
fn names(stage: &mut Stage) -> Outcome {
    let script =
        "for name in ivshmem://1 'ivshmem://?size=16M' ivshmem://$address ivshmem:///sys/bus/pci/devices/$address; do
          ./shm2_producer $name 3 --wait 0 -q > /dev/null && echo \"made at $name\" | sed s/$address/ADDRESS/
        done
        for name in ivshmem:// ivshmem://7 'ivshmem://?size=1G' ivshmem://0000:7f:00.0 ivshmem:///dev/kvmfr0; do
          ./shm2_producer $name 3 --wait 0 -q 2>&1 && echo wrong
        done; ls -l /sys/bus/pci/devices/$address/resource2*";
    let text = stage.first.run(&format!("{ADDRESS}\n{script}"), LIMIT)?;
    print!("{text}");
    let made = ["made at ivshmem://1", "made at ivshmem://?size=16M", "made at ivshmem://ADDRESS", "devices/ADDRESS"];
    check(&text, &made)?;
    check(&text, &["resource2_wc", "ivshmem://7", "0000:7f:00.0", "kvmfr0"])
}

const PICTURES: &str = "videotestsrc num-buffers=1000 pattern=ball ! \
    video/x-raw,format=NV12,width=320,height=180,framerate=30/1 ! tee name=t ! queue ! checksumsink hash=md5 sync=false";
/// Emulated processors may stand still for longer than a lease of two seconds.
const OUT: &str = "t. ! queue ! shm2sink keep-region=true wait-for-connection=true full-policy=block block-timeout=20000000000 \
    lease-time=10000000000 sync=false";
const IN: &str = "access=lease is-live=false live-only=false ! checksumsink hash=md5 sync=false";

/// Two lists of times and hashes must be the same.
fn compare(sent: &str, received: &str) -> Outcome {
    let lines = |text: &str| text.lines().filter(|l| l.contains(':')).map(str::to_owned).collect::<Vec<_>>();
    let (sent, received) = (lines(sent), lines(received));
    let equal = sent.iter().zip(&received).filter(|(a, b)| a == b).count();
    println!("vm: {} sent, {} received, {equal} equal in time and hash", sent.len(), received.len());
    if sent.len() == COUNT && equal == COUNT && received.len() == COUNT {
        return Ok(());
    }
    Err(format!("sent {:?}, received {:?}", sent.first(), received.first()))
}

fn pictures_to_guest(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display().to_string();
    let sink = format!("{PICTURES} {}", OUT.replacen("shm2sink", &format!("shm2sink shm-path={main}"), 1));
    let sender = stage.host.launch(&sink)?;
    let reader = format!("timeout 100 gst-launch-1.0 -q shm2src shm-path=ivshmem://0 {IN}");
    let received = stage.first.run(&reader, LIMIT)?;
    compare(&finish(sender, LIMIT)?, &received)
}

fn pictures_to_host(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display();
    let reader = stage.host.launch(&format!("shm2src shm-path={main} {IN}"))?;
    let sink = OUT.replacen("shm2sink", "shm2sink shm-path=ivshmem://0", 1);
    let sent = stage.first.run(&format!("timeout 100 gst-launch-1.0 -q {PICTURES} {sink}"), LIMIT);
    // Had it ended before, the sender waited in vain.
    let received = finish(reader, if sent.is_ok() { LIMIT } else { Duration::from_secs(1) });
    match (sent, received) {
        (Ok(sent), Ok(received)) => compare(&sent, &received),
        (sent, received) => Err(format!("sender: {sent:?}; reader: {received:?}")),
    }
}

/// Leased, as copies, and as fast as it goes: whatever arrives is right.
fn frames_to_guest(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display().to_string();
    // Who copies in another kernel is not seen, so the producer waits for nobody.
    for (access, rate) in [("lease", "--wait 8"), ("snapshot", "--wait 2 --rate 300")] {
        let sender =
            stage.host.start("shm2_producer", &format!("{main} {COUNT} --keep-region --frame-size 100K -q {rate}"))?;
        let reader = format!("timeout 100 ./shm2_consumer ivshmem://0 {COUNT} --access {access} --timeout 20 --json");
        let text = stage.first.run(&reader, LIMIT)?;
        finish(sender, LIMIT)?;
        judge(&format!("host to guest, {access}"), &text, access == "lease")?;
    }
    Ok(())
}

fn frames_to_host(stage: &mut Stage) -> Outcome {
    let main = stage.files.main.display().to_string();
    // Who copies in another kernel is not seen, so the producer waits for nobody.
    for (access, rate) in [("lease", "--wait 8"), ("snapshot", "--wait 2 --rate 300")] {
        let arguments = format!("{main} {COUNT} --access {access} --timeout 30 --json");
        let reader = stage.host.start("shm2_consumer", &arguments)?;
        let sender = format!("timeout 100 ./shm2_producer ivshmem://0 {COUNT} --frame-size 100K -q {rate}");
        stage.first.run(&sender, LIMIT)?;
        judge(&format!("guest to host, {access}"), &finish(reader, LIMIT)?, access == "lease")?;
    }
    Ok(())
}

/// Every frame is there or accounted for, and none is wrong; with a lease and `block` none is missed. The latency is that
/// between two clocks that differ by hours.
fn judge(what: &str, summary: &str, all: bool) -> Outcome {
    println!("vm: {what}: {}", summary.trim());
    let (frames, missed) = (field(summary, "frames"), field(summary, "missed"));
    let complete = if all { frames == COUNT as u64 } else { frames + missed == COUNT as u64 && frames > 0 };
    // One that is too early counts as none at all.
    let on_one_clock = field(summary, "p50") < 10_000_000 && field(summary, "max") > 0;
    if complete && on_one_clock && field(summary, "mismatches") == 0 {
        Ok(())
    } else {
        Err(format!("{what}: {summary}"))
    }
}

/// Five milliseconds are what a picture may be off.
fn clocks(stage: &mut Stage) -> Outcome {
    let (main, side) = (stage.files.main.display(), stage.files.side.display());
    let other = stage.first.start("timeout 100 ./shm2_clock_peer guest ivshmem://0 ivshmem://1")?;
    let here = stage.host.start("shm2_clock_peer", &format!("host {main} {side} {COUNT}"))?;
    let text = finish(here, LIMIT)?;
    stage.first.finish(&other, LIMIT)?;
    print!("vm: {text}");
    let error = text.rsplit("mapping_error_us=").next().and_then(|n| n.trim().parse::<u64>().ok());
    if error.is_some_and(|us| us < 5000) { Ok(()) } else { Err(text) }
}

/// One guest produces; the other one and the host read the same memory.
fn two_guests(stage: &mut Stage, second: &mut Guest) -> Outcome {
    let main = stage.files.main.display();
    let arguments = format!("{COUNT} --access lease --timeout 30 --json");
    let here = stage.host.start("shm2_consumer", &format!("{main} {arguments}"))?;
    let there = second.start(&format!("timeout 100 ./shm2_consumer ivshmem://0 {arguments}"))?;
    // So long that both have come.
    let sender =
        format!("sleep 3; timeout 100 ./shm2_producer ivshmem://0 {COUNT} --frame-size 10K --wait 8 -q --rate 300");
    stage.first.run(&sender, LIMIT)?;
    judge("guest to guest", &second.finish(&there, LIMIT)?, true)?;
    judge("guest to host, with another guest", &finish(here, LIMIT)?, true)
}
