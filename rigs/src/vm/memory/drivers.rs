//! Devices that programs of the guest reach through a driver of its kernel.

use super::{Fixture, LIMIT, judge, send_to_guest, send_to_host};
use std::path::Path;
use xtask::Outcome;

/// Frames in both directions through one name of device 1.
fn both_ways(fixture: &mut Fixture, name: &str) -> Outcome {
    let side = fixture.backing.side.display().to_string();
    let (send, read) = ("--frame-size 100K", "--access lease");
    let text = send_to_guest(fixture, &side, &format!("--keep-region {send}"), name, read)?;
    judge(&format!("host to guest through {name}"), &text, true)?;
    let text = send_to_host(fixture, &side, &format!("{send} --wait 60"), name, read)?;
    judge(&format!("guest to host through {name}"), &text, true)
}

/// A driver of Linux that shows BAR 0 and BAR 2 of any device that is bound to it, as maps 0 and 1:
/// `drivers/uio/uio_cif.c`.
pub fn uio(fixture: &mut Fixture) -> Outcome {
    let text = fixture.first.run("uio.sh bind", LIMIT)?;
    print!("{text}");
    if text.contains("no driver") {
        println!("skipped: a driver of UIO: this kernel has no uio_cif");
        return Ok(());
    }
    both_ways(fixture, "ivshmem:///dev/uio0")?;
    fixture.first.run("uio.sh unbind", LIMIT).map(drop)
}

/// The module of Looking Glass, which is no part of Linux. It takes every ivshmem device.
pub fn kvmfr(fixture: &mut Fixture, module: Option<&Path>) -> Outcome {
    let Some(module) = module else {
        println!("skipped: the driver kvmfr: no module; build one for the guest's kernel, and name it with --kvmfr");
        return Ok(());
    };
    fixture.first.insert(module, "")?;
    print!("{}", fixture.first.run("ls -l /dev/kvmfr*", LIMIT)?);
    both_ways(fixture, "ivshmem:///dev/kvmfr1")
}
