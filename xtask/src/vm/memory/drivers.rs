//! Devices that a driver of the guest's kernel shows in a way of its own.

use super::host::finish;
use super::{ADDRESS, COUNT, LIMIT, Stage, judge};
use crate::Outcome;
use std::path::Path;

/// Frames in both directions through one name of device 1.
fn both_ways(stage: &mut Stage, name: &str) -> Outcome {
    let side = stage.files.side.display().to_string();
    let (count, send) = (COUNT, "--frame-size 100K --wait 8 -q");
    let read = "--access lease --timeout 20 --json";
    let sender = stage.host.start("shm2_producer", &format!("{side} {count} --keep-region {send}"))?;
    let text = stage.first.run(&format!("timeout 100 ./shm2_consumer {name} {count} {read}"), LIMIT)?;
    finish(sender, LIMIT)?;
    judge(&format!("host to guest through {name}"), &text, true)?;
    let reader = stage.host.start("shm2_consumer", &format!("{side} {count} {read}"))?;
    stage.first.run(&format!("timeout 100 ./shm2_producer {name} {count} {send}"), LIMIT)?;
    judge(&format!("guest to host through {name}"), &finish(reader, LIMIT)?, true)
}

/// A driver of Linux that shows BAR 0 and BAR 2 of whatever device it is given, as maps 0 and 1: `drivers/uio/uio_cif.c`.
pub fn uio(stage: &mut Stage) -> Outcome {
    let bind = "cd /sys/bus/pci; [ -d drivers/hilscher ] || { echo no driver; exit; }
        echo hilscher > devices/$address/driver_override; echo $address > drivers/hilscher/bind
        cat /sys/class/uio/uio0/maps/map*/size; ls /dev/uio0";
    let text = stage.first.run(&format!("{ADDRESS}\n{bind}"), LIMIT)?;
    print!("{text}");
    if text.contains("no driver") {
        println!("skipped: a driver of UIO: this kernel has no uio_cif");
        return Ok(());
    }
    both_ways(stage, "ivshmem:///dev/uio0")?;
    let unbind = "cd /sys/bus/pci; echo $address > drivers/hilscher/unbind; echo > devices/$address/driver_override";
    stage.first.run(&format!("{ADDRESS}\n{unbind}"), LIMIT).map(drop)
}

/// The module of Looking Glass takes every ivshmem device. It is no part of Linux.
pub fn kvmfr(stage: &mut Stage, module: Option<&Path>) -> Outcome {
    let Some(module) = module else {
        println!("skipped: the driver kvmfr: no module; build one for the guest's kernel, and name it with --kvmfr");
        return Ok(());
    };
    stage.first.insert(module)?;
    print!("{}", stage.first.run("ls -l /dev/kvmfr*", LIMIT)?);
    both_ways(stage, "ivshmem:///dev/kvmfr1")
}
