//! The elements that are compared.

use crate::Result;
use crate::case::Case;
use gst::prelude::*;

/// A sink and the source that belongs to it.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    sink: &'static str,
    src: &'static str,
    /// Where the sink can be reached, below the path of a run.
    property: &'static str,
}

/// shm2 with a source that wakes ahead of time; measured only if it is asked for.
pub(crate) const AHEAD: &str = "shm2-ahead";

pub(crate) const PEERS: [Peer; 4] = [
    Peer { name: "shm2", sink: "shm2sink", src: "shm2src", property: "shm-path" },
    Peer { name: AHEAD, sink: "shm2sink", src: "shm2src", property: "shm-path" },
    Peer { name: "shmsink", sink: "shmsink", src: "shmsrc", property: "socket-path" },
    Peer { name: "unixfdsink", sink: "unixfdsink", src: "unixfdsrc", property: "socket-path" },
];

/// The first element of a peer that this GStreamer does not have.
pub(crate) fn missing(name: &str) -> Option<&'static str> {
    let peer = PEERS.iter().find(|peer| peer.name == name)?;
    [peer.sink, peer.src].into_iter().find(|element| gst::ElementFactory::find(element).is_none())
}

fn peer(name: &str) -> Result<&'static Peer> {
    Ok(PEERS.iter().find(|peer| peer.name == name).ok_or("no such way")?)
}

/// The sink of a way, which does not wait for the buffers' times.
pub(crate) fn sink(way: &str, case: &Case, path: &str) -> Result<gst::Element> {
    let peer = peer(way)?;
    let sink = gst::ElementFactory::make(peer.sink).property("sync", false).property(peer.property, path).build()?;
    match way {
        "shm2" | AHEAD => {
            sink.set_property("shm-size", case.memory_bytes() as u64);
            if case.rate == 0 {
                // As the others do, it waits for the slowest consumer.
                sink.set_property_from_str("full-policy", "block");
            }
        }
        "shmsink" => sink.set_property("shm-size", case.memory_bytes() as u32),
        _ => {}
    }
    Ok(sink)
}

/// The source of a way.
pub(crate) fn src(way: &str, path: &str) -> Result<gst::Element> {
    let peer = peer(way)?;
    let src = gst::ElementFactory::make(peer.src).property(peer.property, path).build()?;
    match way {
        "shmsink" => src.set_property("is-live", true),
        AHEAD => src.set_property("wake-ahead", true),
        _ => {}
    }
    Ok(src)
}
