//! The interface between client and server of the example.

#![forbid(unsafe_code)]

use zbus::proxy;
use zbus::wire::OwnedFd;

/// Name on the bus.
pub const NAME: &str = "org.shm2.Example";
/// The object.
pub const PATH: &str = "/org/shm2/Example";

/// The client's view of the server.
#[proxy(interface = "org.shm2.Example1", default_service = "org.shm2.Example", default_path = "/org/shm2/Example")]
pub trait Example {
    /// Makes a channel of `f64` and hands over its sending side: description and descriptors, as
    /// `shm2_channel::Offer::from_parts` takes them.
    async fn setup(&self) -> zbus::Result<(Vec<u8>, Vec<OwnedFd>)>;

    /// Number and sum of the values received since the previous signal.
    #[zbus(signal)]
    async fn sum(&self, count: u64, sum: f64) -> zbus::Result<()>;
}
