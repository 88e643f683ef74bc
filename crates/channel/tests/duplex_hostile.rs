//! Clients that send an invalid handshake, send nothing, or pass descriptors that block in `close`.

#![cfg(target_os = "linux")]

mod common;

use common::{CAPACITY, LONG, SocketPath};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType, connect, sendmsg,
    socket,
};
use shm2_channel::StepError;
use shm2_channel::duplex::{Interface, Options};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A client that sends `hello` and `fds`, valid or not.
fn hostile_client(path: &SocketPath, hello: &[u8], fds: &[&OwnedFd]) -> OwnedFd {
    let client = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    connect(&client, &SocketAddrUnix::new(&*path.0).unwrap()).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    assert!(fds.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(&client, &[IoSlice::new(hello)], &mut ancillary, SendFlags::empty()).unwrap();
    client
}

fn memory(bytes: u64, seals: SealFlags) -> OwnedFd {
    let memory = memfd_create("shm2-test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, bytes).unwrap();
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

fn hello(version: u32, element: u32, capacity: u64) -> Vec<u8> {
    let words = [version, element, element, 0].into_iter().flat_map(u32::to_le_bytes);
    let mut bytes: Vec<u8> = b"SHM2DUP\0".iter().copied().chain(words).chain(capacity.to_le_bytes()).collect();
    bytes.resize(64, 0);
    bytes
}

#[test]
fn invalid_and_silent_clients_do_not_delay_a_valid_one() {
    let path = SocketPath::new();
    let mut listener = path.listener::<u64>();
    let size = SealFlags::SHRINK | SealFlags::GROW;
    let (good, small, open) = (memory(1 << 16, size), memory(4096, size), memory(1 << 16, SealFlags::empty()));
    let damaged = memory(1 << 16, size);
    rustix::io::pwrite(&damaged, &[0xff; 8], 0).unwrap();
    let file: OwnedFd = std::fs::File::open("/proc/self/exe").unwrap().into();
    let fine = hello(1, 8, CAPACITY as u64);
    let mut clients = Vec::new();
    for (bytes, fds) in [
        (&fine[..], &[][..]),
        (&fine[..], &[&small][..]),
        (&fine[..], &[&open][..]),
        (&fine[..], &[&file][..]),
        (&fine[..], &[&damaged][..]),
        (&fine[..], &[&good, &good][..]),
        (&fine[..], &[&good; 9][..]),
        (&fine[..63], &[&good][..]),
        (&[7; 64][..], &[&good][..]),
        (&[7; 5000][..], &[&good][..]),
        (&hello(2, 8, 64)[..], &[&good][..]),
        (&hello(1, 8, u64::MAX)[..], &[&good][..]),
    ] {
        clients.push(hostile_client(&path, bytes, fds));
    }
    // Further clients send nothing.
    for _ in 0..100 {
        let silent = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&silent, &SocketAddrUnix::new(&*path.0).unwrap()).unwrap();
        clients.push(silent);
        let none = listener.try_accept().unwrap();
        assert!(none.is_none(), "an invalid client was accepted");
    }
    let begun = Instant::now();
    let client = std::thread::spawn({
        let path = path.0.to_path_buf();
        move || Interface::<u64>::connect(&path, Options::new(CAPACITY)).unwrap()
    });
    let mut server = listener.accept(LONG).unwrap().unwrap();
    assert!(begun.elapsed() < LONG.unwrap() / 4);
    let mut client = client.join().unwrap();
    client.xmit(5).unwrap();
    assert_eq!((server.wait(1, LONG).unwrap(), server.recv().unwrap()), (1, Some(5)));
}

/// A full TCP connection with a linger timeout: `close` of its last descriptor blocks until the other end reads,
/// which it never does. Returns the end to be passed, and the other end, which must be kept.
fn lingering() -> (OwnedFd, std::net::TcpStream) {
    use rustix::net::sockopt::set_socket_linger;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    while std::io::Write::write(&mut &stream, &[0; 65_536]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
    set_socket_linger(&stream, Some(LONG.unwrap())).unwrap();
    (stream.into(), other)
}

#[test]
fn descriptors_that_block_in_close_do_not_block_the_receiver() {
    let path = SocketPath::new();
    let mut listener = path.listener::<u64>();
    let mut others = Vec::new();
    // In the handshake, instead of memory.
    let (fd, other) = lingering();
    others.push(other);
    let _client = hostile_client(&path, &[0; 64], &[&fd]);
    drop(fd);
    let begun = Instant::now();
    assert!(listener.accept(Some(Duration::from_millis(100))).unwrap().is_none());
    assert!(begun.elapsed() < LONG.unwrap() / 4, "{:?}", begun.elapsed());
    // With a signal of a channel.
    let (mut receiver, offer) = shm2_channel::Receiver::<u8>::offer(8).unwrap();
    let (_, [_memory, socket]) = offer.into_parts();
    let (fd, other) = lingering();
    others.push(other);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let rights = [fd.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&rights)));
    let sent = sendmsg(&socket, &[IoSlice::new(&[1])], &mut ancillary, SendFlags::empty());
    println!("result of passing it (a kernel with SO_PASSRIGHTS refuses): {sent:?}");
    drop(fd);
    let begun = Instant::now();
    assert!(matches!(receiver.block_until_readable(1, Some(Duration::from_millis(100))), Err(StepError::TimedOut)));
    assert!(begun.elapsed() < LONG.unwrap() / 4, "{:?}", begun.elapsed());
    drop(others);
}
