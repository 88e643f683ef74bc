//! Buffers of system-memory caps whose memory is a file descriptor, as decoders and capture devices give it: the sink
//! maps and copies them.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "calls the library of allocators, for which there are no bindings here")]

mod common;

use gst::ffi::{GstAllocator, GstMemory};
use gst::glib::translate::*;
use gst_check::Harness;
use shm2::{Consumer, Start};
use shm2_testing::{LIMIT, TempPath, TempRegion, skip};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::IntoRawFd;

type New = unsafe extern "C" fn() -> *mut GstAllocator;
type AllocDmaBuf = unsafe extern "C" fn(*mut GstAllocator, i32, usize) -> *mut GstMemory;
type AllocFd = unsafe extern "C" fn(*mut GstAllocator, i32, usize, u32) -> *mut GstMemory;

/// A buffer over a descriptor of a file with these bytes; `None` without the library of allocators.
fn over_descriptor(kind: &str, file: File, bytes: usize) -> Option<gst::Buffer> {
    // SAFETY: GStreamer's library has no unsafe initialisation, and stays loaded.
    let library = unsafe { libloading::Library::new("libgstallocators-1.0.so.0") }.ok()?;
    let library = Box::leak(Box::new(library));
    let descriptor = file.into_raw_fd();
    // SAFETY: the functions have these signatures in GStreamer's stable interface. The memory owns the descriptor and
    // holds a reference to its allocator; both are full transfers.
    let memory: gst::Memory = unsafe {
        if kind == "dmabuf" {
            let allocator = library.get::<New>(b"gst_dmabuf_allocator_new").ok()?();
            from_glib_full(library.get::<AllocDmaBuf>(b"gst_dmabuf_allocator_alloc").ok()?(
                allocator, descriptor, bytes,
            ))
        } else {
            let allocator = library.get::<New>(b"gst_fd_allocator_new").ok()?();
            from_glib_full(library.get::<AllocFd>(b"gst_fd_allocator_alloc").ok()?(allocator, descriptor, bytes, 0))
        }
    };
    let mut buffer = gst::Buffer::new();
    buffer.get_mut()?.append_memory(memory);
    Some(buffer)
}

fn file(byte: u8, bytes: usize) -> File {
    let path = TempPath::new("descriptor");
    let mut file = File::options().read(true).write(true).create_new(true).open(&*path).expect("a file");
    file.write_all(&vec![byte; bytes]).expect("its bytes");
    file.seek(SeekFrom::Start(0)).expect("its begin");
    file
}

#[test]
fn memory_that_is_a_descriptor_is_mapped_copied_and_counted() {
    let name = TempRegion::new();
    common::init();
    let element = gst::parse::launch(&format!("shm2sink sync=false shm-path={}", &*name)).expect("the sink");
    let mut harness = Harness::with_element(&element, Some("sink"), None);
    harness.set_src_caps_str("video/x-raw,format=GRAY8,width=100,height=50,framerate=30/1");
    harness.play();
    let mut consumer = Consumer::builder(&name).expect("a name").start(Start::Oldest).attach(Some(LIMIT)).expect("it");
    for (number, kind) in ["fd", "dmabuf"].into_iter().enumerate() {
        let Some(buffer) = over_descriptor(kind, file(7, 5000), 5000) else {
            skip("no libgstallocators-1.0.so.0");
            return;
        };
        harness.push(buffer).expect(kind);
        assert_eq!(consumer.next(Some(LIMIT)).expect(kind).to_vec(), [7; 5000], "{kind}");
        assert_eq!((common::stat(&element, "copied"), common::stat(&element, "zero-copied")), (number as u64 + 1, 0));
    }
}
