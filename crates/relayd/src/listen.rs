//! Addresses that clients connect to: `tcp://HOST:PORT`, `unix:///PATH`, `vsock://CID:PORT`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// Any CID of this machine (`VMADDR_CID_ANY` of linux/vm_sockets.h).
const CID_ANY: u32 = u32::MAX;
/// This machine itself (`VMADDR_CID_LOCAL`).
const CID_LOCAL: u32 = 1;
/// The host (`VMADDR_CID_HOST`).
const CID_HOST: u32 = 2;

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address and port.
    Tcp(SocketAddr),
    /// A socket's path.
    Unix(PathBuf),
    /// Context and port of a virtual machine's socket.
    Vsock(u32, u32),
}

impl Address {
    /// Whether other machines can connect.
    pub fn is_wide(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().is_loopback(),
            Self::Unix(_) => false,
            Self::Vsock(cid, _) => *cid != CID_LOCAL,
        }
    }
}

/// An address as given. A path in it may have any bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(from = "String")]
pub struct AddressText(pub OsString);

impl From<String> for AddressText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<OsString> for AddressText {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

impl AddressText {
    /// The address.
    ///
    /// # Errors
    /// When it is not an address.
    pub fn address(&self) -> Result<Address, AddressError> {
        match self.0.to_str() {
            Some(text) => text.parse(),
            None => path_of(&self.0).map(Address::Unix).ok_or_else(|| AddressError {
                text: self.0.to_string_lossy().into(),
                why: "it is not UTF-8, and only a path of a Unix socket may be that".into(),
            }),
        }
    }
}

#[cfg(unix)]
fn path_of(text: &OsStr) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let path = text.as_bytes().strip_prefix(b"unix://").filter(|path| path.starts_with(b"/"))?;
    Some(OsStr::from_bytes(path).into())
}

#[cfg(not(unix))]
fn path_of(_: &OsStr) -> Option<PathBuf> {
    None
}

/// An invalid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address to listen at: {why} (tcp://HOST:PORT, unix:///PATH, vsock://CID:PORT)")]
pub struct AddressError {
    text: String,
    why: String,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |why: &str| AddressError { text: text.into(), why: why.into() };
        match text.split_once("://") {
            Some(("tcp", place)) => {
                let mut found = place.to_socket_addrs().map_err(|e| error(&e.to_string()))?;
                found.next().map(Self::Tcp).ok_or_else(|| error("the name has no address"))
            }
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => Err(error("the path must begin with a slash, so there are three")),
            Some(("vsock", place)) => {
                let (cid, port) = place.split_once(':').ok_or_else(|| error("the port is missing"))?;
                let cid = match cid {
                    "any" => CID_ANY,
                    "local" => CID_LOCAL,
                    "host" => CID_HOST,
                    number => number.parse().map_err(|_| error("the CID is a number, any, local or host"))?,
                };
                let port = port.parse().map_err(|_| error("the port is not a number"))?;
                Ok(Self::Vsock(cid, port))
            }
            Some((scheme, _)) => Err(error(&format!("{scheme} is not known"))),
            None => Err(error("it has no scheme")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Vsock(CID_ANY, port) => write!(f, "vsock://any:{port}"),
            Self::Vsock(cid, port) => write!(f, "vsock://{cid}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown, is_wide) in [
            ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555", false),
            ("tcp://0.0.0.0:5555", "tcp://0.0.0.0:5555", true),
            ("tcp://[::1]:1", "tcp://[::1]:1", false),
            ("unix:///run/x.sock", "unix:///run/x.sock", false),
            ("vsock://3:99", "vsock://3:99", true),
            ("vsock://any:99", "vsock://any:99", true),
            ("vsock://4294967295:99", "vsock://any:99", true),
            ("vsock://local:5", "vsock://1:5", false),
            ("vsock://host:5", "vsock://2:5", true),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_wide()), (shown, is_wide));
        }
    }

    #[test]
    fn an_invalid_address_is_an_error_with_the_reason() {
        for (text, why) in [
            ("5555", "it has no scheme"),
            ("udp://1:2", "udp is not known"),
            ("tcp://nonsense", "invalid socket address"),
            ("tcp://127.0.0.1:70000", "invalid port value"),
            ("unix://x", "three"),
            ("vsock://3", "the port is missing"),
            ("vsock://me:3", "number, any, local or host"),
            ("vsock://3:x", "the port is not a number"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
    }
}
