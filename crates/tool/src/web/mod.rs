//! HTTP on one thread: what `metrics --listen` and `serve` have in common.

mod connection;
mod guard;

pub use guard::{Guard, new_token};

use super::Failure;
use axum::Router;
use axum::body::{Body, Bytes};
use connection::Connections;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::unfold;
use shm2_cli::stop::Stop;
use std::convert::Infallible;
use std::future::IntoFuture;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// Bytes that the system keeps for a client that is slow. Without a limit it keeps megabytes, and pictures are old.
const SEND_BYTES: u32 = 128 << 10;
/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 128;

/// A bound address and the thread's loop.
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    pub fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let failed = |error| format!("cannot listen on {address}: {error}; choose another address with --listen");
        let listener = runtime.block_on(async { listen(address) }).map_err(failed)?;
        // The given port may be 0.
        let address = listener.local_addr()?;
        Ok(Self { runtime, listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `routes` until a signal to stop. `background` runs beside, on the same thread.
    pub fn run(
        self,
        routes: Router,
        guard: Guard,
        background: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Failure> {
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let _stop = Stop::on_signal(move || stop.notify_one())?;
        self.runtime.spawn(background);
        let outcome = self.runtime.block_on(async {
            let served = pin!(axum::serve(Connections::new(self.listener), guard.protect(routes)).into_future());
            match select(served, pin!(stopped.notified())).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => Ok(()),
            }
        });
        // Streams have no end of their own: they are cut.
        self.runtime.shutdown_background();
        Ok(outcome?)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Elsewhere it would permit a second server at the same address.
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    // Connections inherit it.
    socket.set_send_buffer_size(SEND_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Parses an address with a port. A port alone is one of the loopback address.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").or(text.strip_prefix(':')).unwrap_or(text);
    let loopback = || port.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let wrong = || format!("{text:?} is not an address with a port: write for example 127.0.0.1:8080 or [::1]:8080");
    text.parse().ok().or_else(loopback).ok_or_else(wrong)
}

/// A body of parts that `next` makes from a state, until there is none.
pub fn parts<T, F>(state: T, next: impl FnMut(T) -> F + Send + 'static) -> Body
where
    T: Send + 'static,
    F: Future<Output = Option<(Bytes, T)>> + Send + 'static,
{
    Body::from_stream(unfold(state, next).map(Ok::<_, Infallible>))
}

/// Parses a token that needs no escape in a URL.
pub fn token(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_good = text.len() >= 8 && text.bytes().all(fits);
    is_good.then(|| text.into()).ok_or_else(|| "give 8 or more letters, digits, -, ., _ or ~".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_the_loopback_address() {
        for (text, expected) in [
            ("8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("localhost:0", "127.0.0.1:0"),
            ("0.0.0.0:9464", "0.0.0.0:9464"),
            ("[::1]:9464", "[::1]:9464"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()).as_deref(), Ok(expected));
        }
        for text in ["", "127.0.0.1", "host:80", "70000", "[::1]"] {
            assert!(address(text).is_err_and(|error| error.contains("is not an address with a port")), "{text}");
        }
    }
}
