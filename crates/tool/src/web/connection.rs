//! Connections in a limited number, which end when they make no progress.
//!
//! A client that takes no bytes, or sends no request, would otherwise keep its connection, and the stream that it
//! asked for, for ever.

use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at a time. More of them wait until one ends.
const MOST: usize = 128;
/// Time without a byte in either direction after which a connection ends. Streams send something more often.
pub const IDLE: Duration = Duration::from_secs(30);
/// Time in which a request has to be there whole, from the connection's beginning or the request's first byte.
const REQUEST: Duration = Duration::from_secs(10);
/// Time until the next try when a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections of a listener.
pub struct Connections {
    listener: TcpListener,
    free: Arc<Semaphore>,
}

impl Connections {
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(MOST)) }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let permit = self.free.clone().acquire_owned().await;
            if let (Ok(permit), Ok((stream, address))) = (permit, self.listener.accept().await) {
                // Without it events are late, no more.
                let _ = stream.set_nodelay(true);
                return (Connection::new(stream, permit), address);
            }
            sleep(PAUSE).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails with [`io::ErrorKind::TimedOut`] after [`IDLE`] without progress, and when a request takes
/// longer than [`REQUEST`] to come.
pub struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    /// When the request began that is not answered yet.
    request: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Self {
        Self { stream, idle: Box::pin(sleep(IDLE)), request: Some(Instant::now()), _permit: permit }
    }

    fn observe<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return outcome;
        }
        self.idle.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.request.is_some_and(|begun| begun.elapsed() > REQUEST) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let outcome = Pin::new(&mut self.stream).poll_read(context, to);
        if outcome.is_ready() {
            self.request.get_or_insert_with(Instant::now);
        }
        self.observe(context, outcome)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.request = None;
        let outcome = Pin::new(&mut self.stream).poll_write(context, from);
        self.observe(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
