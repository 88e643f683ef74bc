//! Channels and connections in a tokio runtime.

#![cfg(target_os = "linux")]

use shm2_channel::duplex::tokio::{Interface, Listener};
use shm2_channel::duplex::{Listener as Blocking, Options};
use shm2_channel::{Receiver, StepError, tokio as channel};
use shm2_testing::TempPath;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(20);
const CAPACITY: usize = 64;

type Packet = [u8; 1500];

fn packet(client: u8, number: u32) -> Packet {
    let mut packet = [client; 1500];
    packet[..4].copy_from_slice(&number.to_le_bytes());
    packet
}

async fn echo(mut client: Interface<Packet>) {
    while let Ok(packets) = client.recv_vectored(CAPACITY).await {
        for packet in packets {
            if client.xmit(packet).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_task_for_each_client_and_cancelled_waits_lose_nothing() {
    let place = TempPath::new("tasks");
    let mut listener = Listener::new(Blocking::<Packet>::bind(&place, Options::new(CAPACITY)).unwrap()).unwrap();
    let serving = tokio::spawn(async move {
        loop {
            tokio::spawn(echo(listener.accept().await.unwrap()));
        }
    });
    let clients = (0..20).map(|name| {
        let path = place.to_path_buf();
        tokio::spawn(async move {
            let mut client = Interface::<Packet>::connect(path, Options::new(CAPACITY)).await.unwrap();
            assert_eq!(client.credentials().unwrap().pid as u32, std::process::id());
            for number in 0..2000 {
                client.xmit(packet(name, number)).await.unwrap();
                let back = loop {
                    // Some of these end before the packet is there.
                    if let Ok(back) = timeout(Duration::from_micros(number as u64 % 50), client.recv()).await {
                        break back.unwrap();
                    }
                };
                assert!(back == packet(name, number), "client {name}: packet {number}");
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    for client in clients {
        timeout(LONG, client).await.unwrap().unwrap();
    }
    serving.abort();
}

#[tokio::test]
async fn the_end_is_reported_after_all_earlier_elements() {
    let (receiver, offer) = Receiver::<u64>::offer(8).unwrap();
    let mut receiver = channel::Receiver::new(receiver).unwrap();
    let mut sender = channel::Sender::new(offer.into_sender::<u64>().unwrap()).unwrap();
    let sending = tokio::spawn(async move {
        for value in 0..1000 {
            sender.send_all(&[value, value]).await.unwrap();
        }
    });
    for value in 0..1000 {
        let mut values = [0; 2];
        timeout(LONG, receiver.recv_all(&mut values)).await.unwrap().unwrap();
        assert_eq!(values, [value, value]);
    }
    sending.await.unwrap();
    for _ in 0..2 {
        let end = timeout(LONG, receiver.readable(1)).await.unwrap();
        assert!(matches!(end, Err(StepError::PeerGone)), "{end:?}");
    }
    let (sender, offer) = shm2_channel::Sender::<u64>::offer(2).unwrap();
    let mut sender = channel::Sender::new(sender).unwrap();
    sender.send_all(&[1, 2]).await.unwrap();
    drop(offer);
    let end = timeout(LONG, sender.writable(1)).await.unwrap();
    assert!(matches!(end, Err(StepError::PeerGone)), "{end:?}");
}

#[tokio::test]
async fn messages_and_descriptors_pass() {
    let place = TempPath::new("messages");
    let options = Options::new(CAPACITY).descriptors(true);
    let mut listener = Listener::new(Blocking::<u8>::bind(&place, options).unwrap()).unwrap();
    let (server, client) = tokio::join!(listener.accept(), Interface::<u8>::connect(&place, Options::new(CAPACITY)));
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    let sending = async {
        for number in 0..1000usize {
            client.xmit_message(&vec![number as u8; number % 50]).await.unwrap();
        }
        let blob = shm2_channel::blob::write_once("shm2-test", 1, |bytes| bytes[0] = 9).unwrap();
        assert!(client.get_mut().pass(5, &[blob.as_fd()]).unwrap());
    };
    let receiving = async {
        let mut message = Vec::new();
        for number in 0..1000usize {
            server.recv_message(&mut message).await.unwrap();
            assert_eq!(message, vec![number as u8; number % 50]);
        }
        assert_eq!(server.passed().await.unwrap().number, 5);
    };
    timeout(LONG, async { tokio::join!(sending, receiving) }).await.unwrap();
    drop(client);
    assert!(matches!(timeout(LONG, server.recv()).await.unwrap(), Err(StepError::PeerGone)));
}

#[tokio::test]
async fn every_operation_on_a_full_ring_reports_that_the_other_side_is_gone() {
    // Channels, with each kind of operation: one that waits, one that does not.
    let (sender, offer) = shm2_channel::Sender::<u64>::offer(2).unwrap();
    let mut sender = channel::Sender::new(sender).unwrap();
    sender.send_all(&[1, 2]).await.unwrap();
    drop(offer);
    assert!(matches!(sender.get_mut().send_all(&[3]), Err(StepError::PeerGone)));
    assert!(matches!(timeout(LONG, sender.send_all(&[3])).await.unwrap(), Err(StepError::PeerGone)));

    let place = TempPath::new("gone");
    let mut listener = Listener::new(Blocking::<u8>::bind(&place, Options::new(CAPACITY)).unwrap()).unwrap();
    let (server, client) = tokio::join!(listener.accept(), Interface::<u8>::connect(&place, Options::new(CAPACITY)));
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    client.xmit(5).await.unwrap();
    while server.get_mut().xmit(1).unwrap() {}
    // An operation that waits already ends, too.
    let waiting = async { timeout(LONG, server.xmit(1)).await.unwrap() };
    let ending = async { drop(client) };
    assert!(matches!(tokio::join!(waiting, ending).0, Err(StepError::PeerGone)));
    assert_eq!(server.recv().await.unwrap(), 5);
    assert!(matches!(timeout(LONG, server.xmit_all(&[1, 2])).await.unwrap(), Err(StepError::PeerGone)));
    assert!(matches!(timeout(LONG, server.xmit_message(b"x")).await.unwrap(), Err(StepError::PeerGone)));
    assert!(matches!(timeout(LONG, server.recv_vectored(9)).await.unwrap(), Err(StepError::PeerGone)));
    assert!(matches!(timeout(LONG, server.recv_message(&mut Vec::new())).await.unwrap(), Err(StepError::PeerGone)));
}
