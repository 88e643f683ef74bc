//! Calls by D-Bus, through a private daemon.

use shm2_testing::ChildGuard;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;
use zbus::{Connection, connection, interface};

/// A D-Bus daemon, ended on drop.
pub struct Bus {
    _daemon: ChildGuard,
    address: String,
}

struct Sink;

#[interface(name = "org.shm2.Bench1")]
impl Sink {
    fn take(&self, bytes: Vec<u8>) {
        std::hint::black_box(bytes);
    }
}

impl Bus {
    /// `None` without `dbus-daemon`.
    pub fn start() -> Option<Self> {
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--print-address"]).stdout(Stdio::piped());
        let mut daemon = ChildGuard::spawn(&mut command).ok()?;
        let mut address = String::new();
        BufReader::new(daemon.take_stdout()?).read_line(&mut address).ok()?;
        Some(Self { _daemon: daemon, address: address.trim().into() })
    }

    async fn connect(&self) -> zbus::Result<Connection> {
        connection::Builder::address(self.address.as_str()).build().await
    }

    /// Makes `count` calls with `size` bytes, one after the other; returns nanoseconds per call.
    pub fn calls(&self, size: usize, count: usize) -> f64 {
        let message = vec![7u8; size];
        let took = zbus::block_on(async {
            let server = self.connect().await?;
            server.object_server().at("/bench", Sink).await?;
            let to = server.unique_name().map(|name| name.to_string());
            let client = self.connect().await?;
            let begun = Instant::now();
            for _ in 0..count {
                client.call_method(to.as_deref(), "/bench", Some("org.shm2.Bench1"), "Take", &(&message,)).await?;
            }
            zbus::Result::Ok(begun.elapsed())
        });
        took.unwrap().as_nanos() as f64 / count as f64
    }
}
