//! Frames between host and guests through ivshmem devices, and faults of either side.

mod drivers;
mod faults;
mod host;

use super::guest::{Device, Guest};
use super::{GuestFiles, expect_all, scene};
use host::{Host, field, finish, kill};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xtask::Outcome;

const LIMIT: Duration = Duration::from_secs(120);
/// Frames that must arrive and be equal.
const COUNT: usize = 1000;

/// The devices' backing files; removed when dropped.
pub struct BackingFiles {
    /// Device 0 of each guest, and once more, read-only, device 2.
    pub main: PathBuf,
    /// Device 1.
    pub side: PathBuf,
    /// Device 1 of the second guest.
    pub third: PathBuf,
}

impl BackingFiles {
    pub fn new() -> Self {
        let file = |name| PathBuf::from(format!("/dev/shm/shm2-vm-{}-{name}", std::process::id()));
        Self { main: file("main"), side: file("side"), third: file("third") }
    }

    pub fn devices_of_first(&self) -> Vec<Device> {
        let main = Device { file: self.main.clone(), mib: 64, readonly: false };
        let side = Device { file: self.side.clone(), mib: 16, readonly: false };
        vec![main.clone(), side, Device { readonly: true, ..main }]
    }

    fn devices_of_second(&self) -> Vec<Device> {
        let main = Device { file: self.main.clone(), mib: 64, readonly: false };
        vec![main, Device { file: self.third.clone(), mib: 16, readonly: false }]
    }
}

impl Drop for BackingFiles {
    fn drop(&mut self) {
        for file in [&self.main, &self.side, &self.third] {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Everything that the checks use.
pub struct Fixture<'a> {
    host: Host<'a>,
    backing: &'a BackingFiles,
    first: Guest,
}

/// All checks. A second guest is paused for `pause` while others run; `kvmfr` is that module.
pub fn all(files: &GuestFiles, backing: &BackingFiles, first: Guest, pause: Duration, kvmfr: Option<&Path>) -> Outcome {
    let mut fixture = Fixture { host: Host(files), backing, first };
    scene("names of devices", || names(&mut fixture))?;
    let mut second = Guest::boot(files, "second guest", &backing.devices_of_second())?;
    let paused = faults::begin_pause(&fixture, &mut second)?;
    let since = Instant::now();
    scene("pictures, host to guest", || pictures_to_guest(&mut fixture))?;
    scene("pictures, guest to host", || pictures_to_host(&mut fixture))?;
    scene("frames, host to guest", || frames_to_guest(&mut fixture))?;
    scene("frames, guest to host", || frames_to_host(&mut fixture))?;
    scene("a driver of UIO", || drivers::uio(&mut fixture))?;
    scene("clocks", || clocks(&mut fixture))?;
    scene("read-only device", || faults::readonly(&mut fixture))?;
    scene("processor time", || faults::idle(&mut fixture))?;
    scene("a second producer", || faults::second_producer(&mut fixture))?;
    scene("the host's producer dies", || faults::host_producer_dies(&mut fixture))?;
    scene("the memory is cleared", || faults::memory_cleared(&mut fixture))?;
    scene("the guest's producer dies", || faults::guest_producer_dies(&mut fixture))?;
    scene("the guest restarts", || faults::reset(&mut fixture))?;
    std::thread::sleep(pause.saturating_sub(since.elapsed()));
    scene("a guest that was paused", || faults::end_pause(&mut second, paused, since))?;
    scene("two guests", || two_guests(&mut fixture, &mut second))?;
    scene("the driver kvmfr", || drivers::kvmfr(&mut fixture, kvmfr))
}

/// Each kind of name leads to the device; names that lead nowhere are refused with the name in the error.
fn names(fixture: &mut Fixture) -> Outcome {
    let text = fixture.first.run("device-names.sh", LIMIT)?;
    print!("{text}");
    let made = ["made at ivshmem://1", "made at ivshmem://?size=16M", "made at ivshmem://ADDRESS", "devices/ADDRESS"];
    expect_all(&text, &made)?;
    expect_all(&text, &["resource2_wc", "ivshmem://7", "0000:7f:00.0", "kvmfr0"])
}

const PICTURES: &str = "videotestsrc num-buffers=1000 pattern=ball ! \
    video/x-raw,format=NV12,width=320,height=180,framerate=30/1 ! \
    tee name=t ! queue ! checksumsink hash=md5 sync=false";
/// Emulated processors may stop for longer than a lease of two seconds.
const OUT: &str = "t. ! queue ! shm2sink keep-region=true wait-for-connection=true full-policy=block \
    block-timeout=20000000000 lease-time=10000000000 sync=false";
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

fn pictures_to_guest(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display().to_string();
    let sink = format!("{PICTURES} {}", OUT.replacen("shm2sink", &format!("shm2sink shm-path={main}"), 1));
    let sender = fixture.host.launch(&sink)?;
    let reader = format!("timeout 100 gst-launch-1.0 -q shm2src shm-path=ivshmem://0 {IN}");
    let received = fixture.first.run(&reader, LIMIT)?;
    compare(&finish(sender, LIMIT)?, &received)
}

fn pictures_to_host(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display();
    let reader = fixture.host.launch(&format!("shm2src shm-path={main} {IN}"))?;
    let sink = OUT.replacen("shm2sink", "shm2sink shm-path=ivshmem://0", 1);
    let sent = fixture.first.run(&format!("timeout 100 gst-launch-1.0 -q {PICTURES} {sink}"), LIMIT);
    // After a failure of the sender the reader gets no more frames.
    let received = finish(reader, if sent.is_ok() { LIMIT } else { Duration::from_secs(1) });
    match (sent, received) {
        (Ok(sent), Ok(received)) => compare(&sent, &received),
        (sent, received) => Err(format!("sender: {sent:?}; reader: {received:?}")),
    }
}

/// With leases and as copies: every frame that arrives is right.
fn frames_to_guest(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display().to_string();
    for (access, rate) in [("lease", ""), ("snapshot", "--rate 300")] {
        let options = format!("--keep-region --frame-size 100K {rate}");
        let text = send_to_guest(fixture, &main, &options, "ivshmem://0", &format!("--access {access}"))?;
        judge(&format!("host to guest, {access}"), &text, access == "lease")?;
    }
    Ok(())
}

/// Sends frames from the host to the guest; returns what the guest's consumer printed. The consumer waits first: the
/// start of a program takes some seconds in a guest, and the producer does not see a consumer in another kernel that
/// copies.
fn send_to_guest(fixture: &mut Fixture, to: &str, send: &str, from: &str, read: &str) -> Result<String, String> {
    let consumer = format!("timeout 110 ./shm2_consumer {from} {COUNT} {read} --timeout 60 --json");
    let reader = fixture.first.start(&consumer)?;
    fixture.first.wait_for_output(&reader, "waiting for the first frame", LIMIT)?;
    let wait = if read.contains("snapshot") { 1 } else { 60 };
    let sender = fixture.host.start("shm2_producer", &format!("{to} {COUNT} -q --wait {wait} {send}"))?;
    let text = fixture.first.finish(&reader, LIMIT)?;
    finish(sender, LIMIT)?;
    Ok(text)
}

/// Sends frames from the guest to a consumer on the host that waits already; returns what the consumer printed.
fn send_to_host(fixture: &mut Fixture, from: &str, send: &str, to: &str, read: &str) -> Result<String, String> {
    let reader = fixture.host.start("shm2_consumer", &format!("{from} {COUNT} {read} --timeout 60 --json"))?;
    fixture.first.run(&format!("timeout 100 ./shm2_producer {to} {COUNT} -q {send}"), LIMIT)?;
    finish(reader, LIMIT)
}

fn frames_to_host(fixture: &mut Fixture) -> Outcome {
    let main = fixture.backing.main.display().to_string();
    for (access, rate) in [("lease", "--wait 60"), ("snapshot", "--wait 1 --rate 300")] {
        let options = format!("--frame-size 100K {rate}");
        let text = send_to_host(fixture, &main, &options, "ivshmem://0", &format!("--access {access}"))?;
        judge(&format!("guest to host, {access}"), &text, access == "lease")?;
    }
    Ok(())
}

/// Every frame arrived or is counted as missed, and none is wrong; with a lease and `block` none is missed. The
/// latency is measured between two clocks that differ by hours.
fn judge(what: &str, summary: &str, all: bool) -> Outcome {
    println!("vm: {what}: {}", summary.trim());
    let (frames, missed) = (field(summary, "frames"), field(summary, "missed"));
    let complete = if all { frames == COUNT as u64 } else { frames + missed == COUNT as u64 && frames > 0 };
    // A latency below zero is counted as zero.
    let on_one_clock = field(summary, "p50") < 10_000_000 && field(summary, "max") > 0;
    if complete && on_one_clock && field(summary, "mismatches") == 0 {
        Ok(())
    } else {
        Err(format!("{what}: {summary}"))
    }
}

/// The mapped time of a picture may be wrong by five milliseconds.
fn clocks(fixture: &mut Fixture) -> Outcome {
    let (main, side) = (fixture.backing.main.display(), fixture.backing.side.display());
    let other = fixture.first.start("timeout 100 ./shm2_clock_peer guest ivshmem://0 ivshmem://1")?;
    let here = fixture.host.start("shm2_clock_peer", &format!("host {main} {side} {COUNT}"))?;
    let text = finish(here, LIMIT)?;
    fixture.first.finish(&other, LIMIT)?;
    print!("vm: {text}");
    let error = text.rsplit("mapping_error_us=").next().and_then(|n| n.trim().parse::<u64>().ok());
    if error.is_some_and(|us| us < 5000) { Ok(()) } else { Err(text) }
}

/// One guest produces; the other one and the host read the same memory.
fn two_guests(fixture: &mut Fixture, second: &mut Guest) -> Outcome {
    let main = fixture.backing.main.display();
    let arguments = format!("{COUNT} --access lease --timeout 60 --json");
    let here = fixture.host.start("shm2_consumer", &format!("{main} {arguments}"))?;
    let there = second.start(&format!("timeout 100 ./shm2_consumer ivshmem://0 {arguments}"))?;
    second.wait_for_output(&there, "waiting for the first frame", LIMIT)?;
    let sender = format!("timeout 100 ./shm2_producer ivshmem://0 {COUNT} --frame-size 10K --wait 8 -q --rate 300");
    fixture.first.run(&sender, LIMIT)?;
    judge("guest to guest", &second.finish(&there, LIMIT)?, true)?;
    judge("guest to host, with another guest", &finish(here, LIMIT)?, true)
}
