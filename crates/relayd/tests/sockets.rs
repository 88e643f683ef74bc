//! Several relays start at the socket that a dead one left: one of them listens there, the others get an error.

#![cfg(unix)]

use shm2_relay::demand::Listener;
use shm2_relay::listen::Address;
use shm2_testing::TempPath;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Barrier;

const ROUNDS: usize = 300;
const CONTENDERS: usize = 4;

#[test]
fn of_several_relays_at_one_dead_socket_exactly_one_listens_and_is_reached() {
    let path = TempPath::new("relay-socket");
    let address = Address::Unix(path.to_path_buf());
    let mut wrong = Vec::new();
    for round in 0..ROUNDS {
        drop(UnixListener::bind(&path).unwrap());
        let start = Barrier::new(CONTENDERS);
        let bind = || {
            start.wait();
            Listener::bind(&address).map_err(|error| error.to_string())
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CONTENDERS).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (listening, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        let others: Vec<_> =
            refused.into_iter().filter_map(Result::err).filter(|e| !e.contains("another pro")).collect();
        if listening.len() != 1 || !others.is_empty() || UnixStream::connect(&path).is_err() {
            wrong.push((round, listening.len(), others));
        }
        drop(listening);
        let _ = std::fs::remove_file(&path);
    }
    assert!(wrong.is_empty(), "{} of {ROUNDS} rounds without exactly one listener: {wrong:?}", wrong.len());
}
