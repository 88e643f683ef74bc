//! Events of a video device of `v4l2loopback`: how many programs read from it.
//!
//! From version 0.13 on the driver queues an event `V4L2_EVENT_PRI_CLIENT_USAGE` when a reader starts or stops its
//! stream, and one with the present state for each subscription.
//!
//! # Safety
//!
//! The calls to `ioctl` are the only unsafe code of this crate. Each passes a pointer to a structure of the size that
//! its request number contains; `const` assertions compare the sizes with those of `linux/videodev2.h` on 64-bit
//! systems.

#![expect(unsafe_code, reason = "requests of V4L2 have no safe form")]

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Setter, ioctl, opcode};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// `V4L2_EVENT_PRIVATE_START` and the driver's own offset.
const CLIENT_USAGE: u32 = 0x0800_0000 + 0x08E0_0000 + 1;
/// `V4L2_EVENT_SUB_FL_SEND_INITIAL`.
const SEND_INITIAL: u32 = 1;

/// `struct v4l2_event_subscription`.
#[repr(C)]
struct Subscription {
    kind: u32,
    id: u32,
    flags: u32,
    reserved: [u32; 5],
}

/// `struct v4l2_event`. The payload begins at a multiple of 8.
#[repr(C)]
struct V4l2Event {
    kind: u32,
    padding: u32,
    /// Of a client-usage event: the number of readers.
    count: u32,
    other_payload: [u32; 15],
    pending: u32,
    sequence: u32,
    timestamp: [i64; 2],
    id: u32,
    reserved: [u32; 8],
    end: u32,
}

/// `struct v4l2_capability`.
#[repr(C)]
struct Capability {
    names: [u8; 16 + 32 + 32],
    version: u32,
    /// Of the driver's hardware; `device` has those of this device node.
    all: u32,
    device: u32,
    reserved: [u32; 3],
}

/// `V4L2_CAP_VIDEO_OUTPUT`.
const OUTPUT: u32 = 2;

const _: () = assert!(size_of::<Subscription>() == 32 && size_of::<V4l2Event>() == 136);
const _: () = assert!(size_of::<Capability>() == 104);

const QUERY: rustix::ioctl::Opcode = opcode::read::<Capability>(b'V', 0);
const SUBSCRIBE: rustix::ioctl::Opcode = opcode::write::<Subscription>(b'V', 90);
const DEQUEUE: rustix::ioctl::Opcode = opcode::read::<V4l2Event>(b'V', 89);

/// An open device with a subscription.
pub(super) struct Device(OwnedFd);

impl Device {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device = rustix::fs::open(path, flags, Mode::empty())?;
        let subscription = Subscription { kind: CLIENT_USAGE, id: 0, flags: SEND_INITIAL, reserved: [0; 5] };
        // SAFETY: the request reads one `struct v4l2_event_subscription`, which `Subscription` is.
        let request = unsafe { Setter::<SUBSCRIBE, Subscription>::new(subscription) };
        // SAFETY: the request number belongs to the structure, and the kernel keeps no pointer to it.
        match unsafe { ioctl(&device, request) } {
            Ok(()) => Ok(Self(device)),
            // Without any events, and without this one.
            Err(Errno::NOTTY | Errno::INVAL) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it is no video device that reports its readers; that needs v4l2loopback 0.13 or newer",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// The number of readers in the next event; `None` if there is no event now.
    pub(super) fn next_count(&self) -> io::Result<Option<u32>> {
        loop {
            // SAFETY: the request writes one `struct v4l2_event`, which `V4l2Event` is; any bytes are valid in it.
            let request = unsafe { Getter::<DEQUEUE, V4l2Event>::new() };
            // SAFETY: the request number belongs to the structure, and the kernel fills all of it on success.
            match unsafe { ioctl(&self.0, request) } {
                Ok(event) if event.kind == CLIENT_USAGE => return Ok(Some(event.count)),
                Ok(_) | Err(Errno::INTR) => {}
                // The driver reports an empty queue of a descriptor that does not block with ENOENT.
                Err(Errno::NOENT | Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether a video device takes no pictures now. A device with `exclusive_caps=1` that a program writes to presents itself
/// as a camera, to other writers too.
pub(super) fn takes_no_pictures(path: &Path) -> bool {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(device) = rustix::fs::open(path, flags, Mode::empty()) else { return false };
    // SAFETY: the request writes one `struct v4l2_capability`, which `Capability` is; any bytes are valid in it.
    let request = unsafe { Getter::<QUERY, Capability>::new() };
    // SAFETY: the request number belongs to the structure, and the kernel fills all of it on success.
    unsafe { ioctl(&device, request) }.is_ok_and(|capability| capability.device & OUTPUT == 0)
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_have_the_numbers_of_the_kernel() {
        assert_eq!((SUBSCRIBE, DEQUEUE, QUERY), (0x4020_565A, 0x8088_5659, 0x8068_5600));
        assert_eq!(CLIENT_USAGE, 0x10E0_0001);
        assert_eq!(std::mem::offset_of!(Capability, device), 88);
        assert_eq!(std::mem::offset_of!(V4l2Event, count), 8);
        assert_eq!(std::mem::offset_of!(V4l2Event, pending), 72);
        assert_eq!(std::mem::offset_of!(V4l2Event, id), 96);
    }

    #[test]
    fn a_file_that_is_no_video_device_is_an_error_that_says_so() {
        let error = Device::open(Path::new("/dev/null")).map(drop).unwrap_err();
        assert!(error.to_string().contains("no video device"), "{error}");
        assert!(!takes_no_pictures(Path::new("/dev/null")), "it cannot be asked");
    }
}
