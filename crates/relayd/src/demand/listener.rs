//! Sockets that clients connect to.

use crate::listen::Address;
use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
#[cfg(unix)]
use shm2_channel::socket_path::{self, OwnPath};
use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

/// Readiness that listeners and clients are registered for.
const READS: Interest = Interest::READABLE;
/// Keep-alive times after which a silently lost client is detected: 10 s, then three probes 5 s apart.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMES: u32 = 3;

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {source}; choose another address, or end the program that has it")]
pub struct BindError {
    address: Address,
    source: io::Error,
}

/// One listening socket.
pub enum Listener {
    /// By TCP.
    Tcp(TcpListener),
    /// A Unix socket; its path is removed on drop if this process bound it.
    #[cfg(unix)]
    Unix(UnixListener, Option<OwnPath>),
    /// Between a virtual machine and its host.
    #[cfg(target_os = "linux")]
    Vsock(vsock::VsockListener),
}

impl Listener {
    /// Listens at an address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        let failed = |source| BindError { address: address.clone(), source };
        match address {
            Address::Tcp(at) => TcpListener::bind(*at).map(Self::Tcp).map_err(failed),
            #[cfg(unix)]
            Address::Unix(path) => {
                let listening = socket_path::listen(path, |path| UnixListener::bind(path));
                listening.map(|(listener, path)| Self::Unix(listener, Some(path))).map_err(failed)
            }
            #[cfg(target_os = "linux")]
            Address::Vsock(cid, port) => {
                let listener = vsock::VsockListener::bind_with_cid_port(*cid, *port).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Self::Vsock(listener))
            }
            #[cfg(not(target_os = "linux"))]
            _ => Err(failed(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Sockets that the service manager opened for this process (`LISTEN_FDS`).
    ///
    /// # Errors
    /// When a socket is neither TCP nor Unix.
    #[cfg(unix)]
    pub fn from_service_manager() -> io::Result<Vec<Self>> {
        let mut given = listenfd::ListenFd::from_env();
        let mut all = Vec::new();
        for number in 0..given.len() {
            if let Ok(Some(listener)) = given.take_unix_listener(number) {
                listener.set_nonblocking(true)?;
                all.push(Self::Unix(UnixListener::from_std(listener), None));
            } else if let Some(listener) = given.take_tcp_listener(number)? {
                listener.set_nonblocking(true)?;
                all.push(Self::Tcp(TcpListener::from_std(listener)));
            }
        }
        Ok(all)
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, READS),
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.register(registry, token, READS),
            #[cfg(target_os = "linux")]
            Self::Vsock(listener) => register_fd(listener, registry, token),
        }
    }

    /// The next client, and its name for the log.
    pub(super) fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept()?;
                let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE_EVERY);
                let socket = SockRef::from(&stream);
                // Windows before 10 has a fixed number of probes.
                let all = socket.set_tcp_keepalive(&keep_alive.clone().with_retries(KEEP_ALIVE_TIMES));
                all.or_else(|_| socket.set_tcp_keepalive(&keep_alive))?;
                Ok((Stream::Tcp(stream), format!("tcp client {from}")))
            }
            #[cfg(unix)]
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                let name = match uid(&stream) {
                    Some(uid) => format!("unix client of user {uid}"),
                    None => "unix client".into(),
                };
                Ok((Stream::Unix(stream), name))
            }
            #[cfg(target_os = "linux")]
            Self::Vsock(listener) => {
                let (stream, from) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Vsock(stream), format!("vsock client {}:{}", from.cid(), from.port())))
            }
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "tcp://{address}"),
                Err(_) => write!(f, "a TCP socket"),
            },
            #[cfg(unix)]
            Self::Unix(_, Some(path)) => write!(f, "unix://{}", path.path().display()),
            #[cfg(unix)]
            Self::Unix(_, None) => write!(f, "a Unix socket of the service manager"),
            #[cfg(target_os = "linux")]
            Self::Vsock(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{}", Address::Vsock(address.cid(), address.port())),
                Err(_) => write!(f, "a vsock socket"),
            },
        }
    }
}

#[cfg(target_os = "linux")]
fn uid(stream: &UnixStream) -> Option<u32> {
    rustix::net::sockopt::socket_peercred(stream).ok().map(|peer| peer.uid.as_raw())
}

#[cfg(target_os = "linux")]
fn register_fd(fd: &impl std::os::fd::AsRawFd, registry: &Registry, token: Token) -> io::Result<()> {
    mio::unix::SourceFd(&fd.as_raw_fd()).register(registry, token, READS)
}

/// A connection of any kind.
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(target_os = "linux")]
    Vsock(vsock::VsockStream),
}

impl Stream {
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(registry, token, READS),
            #[cfg(unix)]
            Self::Unix(stream) => stream.register(registry, token, READS),
            #[cfg(target_os = "linux")]
            Self::Vsock(stream) => register_fd(stream, registry, token),
        }
    }

    /// The peer's user, where the system reports it.
    pub(super) fn uid(&self) -> Option<u32> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unix(stream) => uid(stream),
            _ => None,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.read(bytes),
            #[cfg(target_os = "linux")]
            Self::Vsock(stream) => stream.read(bytes),
        }
    }
}
