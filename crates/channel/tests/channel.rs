//! Channels between threads and processes: seals, sizes, signals, and the peer's death.

#![cfg(target_os = "linux")]

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use shm2_channel::blob::{Blob, MemoryError, write_once};
use shm2_channel::{ChannelError, HugePages, Offer, Receiver, Role, Sender, Signals, StepError};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const LONG: Option<Duration> = Some(Duration::from_secs(20));

fn pair<T: shm2_channel::Element>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (ours, theirs) = Signals::event_pair().unwrap();
    let sender = Sender::new(capacity, ours).unwrap();
    let memory = sender.memory().try_clone_to_owned().unwrap();
    (sender, Receiver::open(capacity, memory, theirs).unwrap())
}

fn memory(bytes: u64, seals: SealFlags) -> OwnedFd {
    let memory = memfd_create("shm2-test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, bytes).unwrap();
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

fn signals() -> Signals {
    Signals::event_pair().unwrap().0
}

#[test]
fn elements_pass_with_signals_only_for_a_waiting_side() {
    let (mut sender, mut receiver) = pair::<u64>(1024);
    let checksum = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let (mut sum, mut count) = (0u64, 0);
            while count < 1_000_000 {
                receiver.block_until_readable(1, LONG).unwrap();
                let status = receiver.recv_foreach(300, |_, value| {
                    sum = sum.wrapping_mul(31).wrapping_add(value);
                    count += 1;
                });
                status.unwrap();
            }
            sum
        });
        let mut next = 0;
        while next < 1_000_000u64 {
            sender.block_until_writable(1, LONG).unwrap();
            sender.send_foreach(400.min(1_000_000 - next as usize), |i| next + i as u64).unwrap();
            next = sender.write_count();
        }
        receiving.join().unwrap()
    });
    let expected = (0..1_000_000u64).fold(0u64, |sum, value| sum.wrapping_mul(31).wrapping_add(value));
    assert_eq!(checksum, expected);
}

#[test]
fn unsealed_or_small_memory_is_refused_before_it_is_mapped() {
    let all = SealFlags::SHRINK | SealFlags::GROW;
    for (seals, missing) in
        [(SealFlags::empty(), "SHRINK, GROW"), (SealFlags::GROW, "SHRINK"), (SealFlags::SHRINK, "GROW")]
    {
        let error = Receiver::<u8>::open(100, memory(4096, seals), signals()).unwrap_err();
        let ChannelError::Memory(MemoryError::NotSealed { missing: found }) = error else { panic!("{error}") };
        assert_eq!(found, missing);
    }
    let error = Receiver::<u64>::open(1000, memory(4096, all), signals()).unwrap_err();
    assert!(matches!(error, ChannelError::TooSmall { capacity: 1000, needed: 8512, bytes: 4096 }), "{error}");
    for capacity in [0, usize::MAX, usize::MAX / 8] {
        assert!(matches!(Sender::<u64>::new(capacity, signals()), Err(ChannelError::Capacity { .. })));
        assert!(matches!(
            Receiver::<u64>::open(capacity, memory(4096, all), signals()),
            Err(ChannelError::Capacity { .. })
        ));
    }
    // A file has no seals.
    let file: OwnedFd = std::fs::File::open("/proc/self/exe").unwrap().into();
    assert!(Receiver::<u8>::open(100, file, signals()).is_err());
}

#[test]
fn the_peer_cannot_shrink_the_memory() {
    let (sender, _receiver) = pair::<u8>(100);
    assert_eq!(ftruncate(sender.memory(), 0), Err(rustix::io::Errno::PERM));
    assert_eq!(fcntl_add_seals(sender.memory(), SealFlags::FUTURE_WRITE), Err(rustix::io::Errno::PERM));
}

#[test]
fn a_wait_ends_at_its_timeout_and_at_the_peers_death() {
    let (mut sender, mut receiver) = pair::<u32>(4);
    let begun = Instant::now();
    let timeout = Some(Duration::from_millis(50));
    assert!(matches!(receiver.block_until_readable(1, timeout), Err(StepError::TimedOut)));
    sender.send_all(&[1, 2, 3, 4]).unwrap().unwrap();
    assert!(matches!(sender.block_until_writable(1, timeout), Err(StepError::TimedOut)));
    assert!(begun.elapsed() >= Duration::from_millis(100));

    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut sender = Sender::<u32>::new(4, Signals::socket(ours.into())).unwrap();
    let memory = sender.memory().try_clone_to_owned().unwrap();
    let mut receiver = Receiver::<u32>::open(4, memory, Signals::socket(theirs.into())).unwrap();
    sender.send_all(&[7, 8]).unwrap();
    drop(sender);
    // The elements sent before can be received; then the end is reported at once.
    let mut values = [0; 2];
    assert_eq!(receiver.block_until_readable(2, LONG).unwrap(), 2);
    receiver.recv_all(&mut values).unwrap();
    assert_eq!(values, [7, 8]);
    let begun = Instant::now();
    assert!(matches!(receiver.block_until_readable(1, LONG), Err(StepError::PeerGone)));
    assert!(begun.elapsed() < LONG.unwrap() / 4);
}

#[test]
fn a_killed_process_is_noticed_soon() {
    for by_socket in [true, false] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // Only the child has the other end of the socket, as its standard input.
        let mut child = {
            let mut sleep = std::process::Command::new("sleep");
            sleep.arg("60").stdin(OwnedFd::from(theirs)).spawn().unwrap()
        };
        let signals = match by_socket {
            true => Signals::socket(ours.into()),
            false => signals().watch(ours.into()),
        };
        let mut receiver =
            Receiver::<u8>::open(10, memory(4096, SealFlags::SHRINK | SealFlags::GROW), signals).unwrap();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            child.kill().unwrap();
            child.wait().unwrap();
            Instant::now()
        });
        assert!(matches!(receiver.block_until_readable(1, LONG), Err(StepError::PeerGone)));
        let noticed = Instant::now();
        assert!(noticed.saturating_duration_since(killer.join().unwrap()) < LONG.unwrap() / 4);
    }
}

#[test]
fn pipes_carry_signals_and_a_full_pipe_blocks_no_side() {
    let pipe =
        || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK | rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let ((a_read, a_write), (b_read, b_write)) = (pipe(), pipe());
    let mut sender = Sender::<u8>::new(8, Signals::pipes(a_read, b_write)).unwrap();
    let memory = sender.memory().try_clone_to_owned().unwrap();
    let mut receiver = Receiver::<u8>::open(8, memory, Signals::pipes(b_read, a_write)).unwrap();
    for round in 0..100_000u32 {
        // The sender signals each time and the receiver takes no signal: the pipe fills, and no call blocks.
        assert!(receiver.recv_all(&mut [0]).unwrap().is_none());
        assert!(sender.send_all(&[round as u8]).unwrap().unwrap().signal);
        receiver.recv_all(&mut [0]).unwrap().unwrap();
    }
    let (fd, there) = receiver.wait_status().unwrap();
    assert_eq!((there, fd.as_fd().try_clone_to_owned().is_ok()), (0, true));
    receiver.wait_clear().unwrap();
    sender.send_slots(5, |slots| slots.write(0, b"slots")).unwrap();
    let mut seen = Vec::new();
    receiver.recv_items(5, |items| (0..5).map(|i| seen.extend(items.get(i))).count()).unwrap();
    assert_eq!(seen, b"slots");
}

#[test]
fn a_blob_cannot_be_changed_and_is_checked_before_it_is_mapped() {
    let memory = write_once("shm2-test", 100_000, |bytes| bytes.fill(7)).unwrap();
    assert_eq!(rustix::io::write(&memory, b"x"), Err(rustix::io::Errno::PERM));
    assert_eq!(ftruncate(&memory, 5), Err(rustix::io::Errno::PERM));
    let copy = memory.try_clone().unwrap();
    let blob = Blob::open(copy).unwrap();
    assert!(blob.len() == 100_000 && blob.iter().all(|byte| *byte == 7));
    assert!(Blob::open(write_once("shm2-test", 0, |_| ()).unwrap()).unwrap().is_empty());
    let again = blob.memory().try_clone_to_owned().unwrap();
    assert!(matches!(Blob::open_at_most(again, 99_999), Err(MemoryError::TooLarge { bytes: 100_000 })));
    let sized = self::memory(100, SealFlags::SHRINK | SealFlags::GROW);
    assert!(matches!(Blob::open(sized), Err(MemoryError::NotSealed { missing }) if missing == "WRITE"));
}

#[test]
fn a_blob_of_a_gigabyte_passes_without_a_copy() {
    let bytes = 1 << 30;
    // Sparse: only touched pages are allocated.
    let memory = write_once("shm2-test", bytes, |all| {
        for (number, page) in all.chunks_mut(1 << 20).enumerate() {
            page[0] = number as u8;
        }
    });
    let begun = Instant::now();
    let blob = Blob::open(memory.unwrap()).unwrap();
    let took = begun.elapsed();
    assert!(blob.len() == bytes && (0..1024usize).all(|number| blob[number << 20] == number as u8));
    println!("a blob of 1 GiB opened in {took:?}");
}

#[test]
fn huge_pages_work_or_fail_with_an_error_text() {
    match Sender::<u8>::with_hugetlb(1000, HugePages::Mib2, signals()) {
        Ok(mut sender) => {
            let memory = sender.memory().try_clone_to_owned().unwrap();
            let again = sender.memory().try_clone_to_owned().unwrap();
            let refused = Receiver::<u8>::open(1000, again, signals());
            assert!(matches!(refused, Err(ChannelError::Memory(MemoryError::HugePages))));
            let mut receiver = Receiver::<u8>::open_hugetlb(1000, memory, signals()).unwrap();
            sender.send_all(b"huge").unwrap().unwrap();
            let mut bytes = [0; 4];
            receiver.recv_all(&mut bytes).unwrap().unwrap();
            assert_eq!(&bytes, b"huge");
            println!("huge pages are available");
        }
        Err(error) => {
            println!("{error}");
            assert!(error.to_string().contains("2097152 bytes"), "{error}");
        }
    }
}

#[test]
fn an_offer_goes_by_any_unix_socket() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut sender, offer) = Sender::<u32>::offer(100).unwrap();
    assert_eq!((offer.role(), offer.capacity()), (Role::Receiver, 100));
    offer.send(&ours).unwrap();
    let mut receiver = Offer::receive(&theirs, LONG).unwrap().into_receiver::<u32>().unwrap();
    sender.send_all(&[1, 2, 3]).unwrap().unwrap();
    assert_eq!(receiver.block_until_readable(3, LONG).unwrap(), 3);
    let begun = Instant::now();
    drop(sender);
    let mut values = [0; 3];
    receiver.recv_all(&mut values).unwrap().unwrap();
    assert!(values == [1, 2, 3] && matches!(receiver.block_until_readable(1, LONG), Err(StepError::PeerGone)));
    assert!(begun.elapsed() < LONG.unwrap() / 4);

    let timeout = Some(Duration::from_millis(20));
    assert!(matches!(Offer::receive(&theirs, timeout), Err(ChannelError::NoOfferInTime)));
    drop(ours);
    assert!(matches!(Offer::receive(&theirs, LONG), Err(ChannelError::PeerGone)));
}

#[test]
fn an_invalid_offer_is_refused_with_an_error_text() {
    let parts = || Receiver::<u64>::offer(10).unwrap().1.into_parts();
    let reads = |change: &dyn Fn(&mut [u8; 40], &mut Vec<OwnedFd>)| {
        let (mut bytes, fds) = parts();
        let mut fds = Vec::from(fds);
        change(&mut bytes, &mut fds);
        Offer::from_parts(&bytes, fds).and_then(|offer| offer.into_sender::<u64>()).map(|_| ())
    };
    reads(&|_, _| ()).unwrap();
    let text = |change: &dyn Fn(&mut [u8; 40], &mut Vec<OwnedFd>)| reads(change).unwrap_err().to_string();
    assert_eq!(text(&|bytes, _| bytes[0] = 0), "40 bytes and 2 descriptors are no offer of a channel");
    assert_eq!(text(&|_, fds| drop(fds.pop())), "40 bytes and 1 descriptors are no offer of a channel");
    assert_eq!(text(&|bytes, _| bytes[8] = 7), "the channel is of version 7, this side of version 1");
    assert_eq!(text(&|bytes, _| bytes[12] = 1), "the channel was offered to a receiver: take it by into_receiver");
    assert_eq!(text(&|bytes, _| bytes[12] = 2), "40 bytes and 2 descriptors are no offer of a channel");
    assert_eq!(
        text(&|bytes, _| bytes[16] = 4),
        "the channel's elements have 4 bytes aligned to 8; elements of 8 bytes were expected"
    );
    assert_eq!(text(&|bytes, _| bytes[24] = 11), "a channel of 11 elements needs 600 bytes, its memory has 592");
    assert!(text(&|bytes, _| bytes[24..32].fill(255)).contains("cannot have 18446744073709551615 elements"));
    let unsealed = |_: &mut [u8; 40], fds: &mut Vec<OwnedFd>| fds[0] = memory(4096, SealFlags::empty());
    assert!(text(&unsealed).contains("SHRINK, GROW"), "{}", text(&unsealed));
    assert!(Offer::from_parts(&[], Vec::new()).is_err());
    // The descriptor for signals is not a SOCK_SEQPACKET socket.
    let datagrams: OwnedFd = std::os::unix::net::UnixDatagram::pair().unwrap().0.into();
    let file: OwnedFd = std::fs::File::open("/proc/self/exe").unwrap().into();
    for other in [datagrams, file] {
        let (bytes, [memory, _]) = parts();
        let error = Offer::from_parts(&bytes, vec![memory, other]).unwrap_err();
        assert!(matches!(error, ChannelError::NoOffer { .. }), "{error}");
    }
}

#[test]
fn an_edge_triggered_loop_is_notified_of_the_end() {
    use rustix::event::epoll::{CreateFlags, EventData, EventFlags, add, create, wait};
    use rustix::event::{PollFd, PollFlags, poll};
    let (mut receiver, offer) = Receiver::<u8>::offer(8).unwrap();
    let mut sender = offer.into_sender::<u8>().unwrap();
    let epoll = create(CreateFlags::CLOEXEC).unwrap();
    add(&epoll, receiver.signals().wait_on(), EventData::new_u64(0), EventFlags::IN | EventFlags::ET).unwrap();
    sender.send_all(&[5]).unwrap().unwrap();
    drop(sender);
    // A child process that another test starts may have a copy of the sender's end until its exec.
    let mut end = [PollFd::from_borrowed_fd(receiver.signals().wait_on(), PollFlags::empty())];
    poll(&mut end, None).unwrap();
    assert!(end[0].revents().contains(PollFlags::HUP));
    // The signal and the end came as one event.
    let mut events = Vec::with_capacity(4);
    wait(&epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
    assert!(matches!(receiver.wait_clear(), Err(StepError::PeerGone)));
    assert_eq!(receiver.wait_status().unwrap().1, 1);
}
