//! Packets of 1,500 bytes to another thread, which sends each of them back.

use crate::RoundTrip;
use shm2_channel::duplex::{Interface, Listener, Options};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

const BYTES: usize = 1500;
/// Packets in flight at most.
const WINDOW: usize = 128;

type Packet = [u8; BYTES];

/// All ways by name, shm2 first.
pub const WAYS: [(&str, RoundTrip); 2] = [("shm2 duplex", shm2_duplex), ("Unix socket", unix_socket)];

fn shm2_duplex(count: usize) -> f64 {
    let path = std::env::temp_dir().join(format!("shm2-bench-duplex-{}", std::process::id()));
    let mut listener = Listener::<Packet>::bind(&path, Options::new(WINDOW)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut server = listener.accept(None).unwrap().unwrap();
            let mut back = 0;
            while back < count {
                server.wait(1, None).unwrap();
                // After the last packet the client may be gone.
                while back < count
                    && let Some(packet) = server.recv().unwrap()
                {
                    while !server.xmit(packet).unwrap() {
                        server.wait_for_space(1, None).unwrap();
                    }
                    back += 1;
                }
            }
        });
        let mut client = Interface::<Packet>::connect(&path, Options::new(WINDOW)).unwrap();
        let begun = Instant::now();
        let (mut sent, mut received) = (0, 0);
        while received < count {
            while sent < count && sent - received < WINDOW && client.xmit([7; BYTES]).unwrap() {
                sent += 1;
            }
            client.wait(1, None).unwrap();
            while client.recv().unwrap().is_some() {
                received += 1;
            }
        }
        begun.elapsed().as_nanos() as f64 / count as f64
    })
}

fn unix_socket(count: usize) -> f64 {
    let (mut client, mut server) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut packet = [0; BYTES];
            for _ in 0..count {
                server.read_exact(&mut packet).unwrap();
                server.write_all(&packet).unwrap();
            }
        });
        let begun = Instant::now();
        let (mut packet, mut sent) = ([7; BYTES], 0);
        for received in 0..count {
            while sent < count && sent - received < WINDOW / 2 {
                client.write_all(&packet).unwrap();
                sent += 1;
            }
            client.read_exact(&mut packet).unwrap();
        }
        begun.elapsed().as_nanos() as f64 / count as f64
    })
}
