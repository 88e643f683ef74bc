//! One side of a channel, for tests that need a process: its standard input is a socket to the other side.
//!
//! `send COUNT` takes an offer and sends 0, 1, 2 and so on in pieces of many sizes. `pass COUNT` takes a sender's offer
//! and then a receiver's, and passes on what comes. `steady-send COUNT` and `steady-receive COUNT` keep a ring that is
//! neither full nor empty busy, between two writes of a line.

use rustix::fs::fcntl_setfl;
use shm2_channel::{Offer, Receiver, Sender};
use shm2_e2e::checksum;
use shm2_testing::Rng;
use std::error::Error;
use std::io::stdin;
use std::thread::sleep;
use std::time::Duration;

const LONG: Option<Duration> = Some(Duration::from_secs(60));
/// Elements that stay in a steady ring, and slots that stay free.
const MARGIN: usize = 1000;
const STEADY: usize = 1 << 20;
const PAUSE: Duration = Duration::from_millis(1);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let count = arguments.get(1).and_then(|count| count.parse::<u64>().ok()).ok_or("a role and a count are needed")?;
    match arguments[0].as_str() {
        "send" => send(count),
        "pass" => pass(count),
        "steady-send" => steady_send(count),
        "steady-receive" => steady_receive(count),
        role => Err(format!("{role:?} is no role").into()),
    }
}

fn sender() -> Result<Sender<u64>, Box<dyn Error>> {
    Ok(Offer::receive(stdin(), LONG)?.into_sender::<u64>()?)
}

fn send(count: u64) -> Result<(), Box<dyn Error>> {
    let mut sender = sender()?;
    let mut rng = Rng::with_seed(count);
    let (mut next, mut sum) = (0, 0);
    while next < count {
        sender.block_until_writable(1, LONG)?;
        let piece = rng.u64(..700).min(count - next) as usize;
        sender.send_foreach(piece, |_| {
            sum = checksum(sum, next);
            next += 1;
            next - 1
        })?;
    }
    println!("{sum}");
    Ok(())
}

fn pass(count: u64) -> Result<(), Box<dyn Error>> {
    let mut to = sender()?;
    let mut from = Offer::receive(stdin(), LONG)?.into_receiver::<u64>()?;
    for _ in 0..count {
        from.block_until_readable(1, LONG)?;
        let mut value = [0];
        from.recv_all(&mut value)?;
        to.block_until_writable(1, LONG)?;
        to.send_all(&value)?;
    }
    Ok(())
}

fn steady_send(count: u64) -> Result<(), Box<dyn Error>> {
    let mut sender = sender()?;
    sender.send_foreach(STEADY / 2, |_| 0)?;
    let mark = || rustix::io::write(std::io::stdout(), b"mark\n");
    mark()?;
    for value in 0..count {
        while sender.writable()? < MARGIN {
            std::hint::spin_loop();
        }
        sender.send_all(&[value])?;
    }
    mark()?;
    // Waits for the receiver without asking for a signal: its system calls are still counted.
    while sender.writable()? < STEADY {
        sleep(PAUSE);
    }
    Ok(())
}

fn steady_receive(count: u64) -> Result<(), Box<dyn Error>> {
    // Only this process uses this end of the socket.
    fcntl_setfl(stdin(), rustix::fs::OFlags::NONBLOCK)?;
    let (mut receiver, offer) = Receiver::<u64>::offer(STEADY)?;
    offer.send(stdin())?;
    receiver.block_until_readable(STEADY / 2, LONG)?;
    let mark = || rustix::io::write(std::io::stdout(), b"mark\n");
    mark()?;
    for _ in 0..count {
        while receiver.readable()? < MARGIN {
            std::hint::spin_loop();
        }
        receiver.recv_all(&mut [0])?;
    }
    mark()?;
    // Waits for the rest before taking any of it: an empty ring would ask for a signal while the sender's system calls
    // are still counted.
    while receiver.read_count() + (receiver.readable()? as u64) < (STEADY / 2) as u64 + count {
        sleep(PAUSE);
    }
    receiver.recv_foreach(STEADY, |_, _| ())?;
    Ok(())
}
