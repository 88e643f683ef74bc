//! The zenoh session: its configuration from a file and from options.

use std::path::PathBuf;
use std::time::Duration;
use zenoh::config::EndPoint;
use zenoh::{Config, Session, Wait};

/// Times in microseconds for which a message that may be dropped waits for the network: key, zenoh's own default, and this
/// program's. A raw picture takes longer than zenoh's default on any link below 500 Mbit/s, so none would ever arrive. A
/// wait costs only newer frames of the same region.
const WAITS: [(&str, u64, u64); 2] = [
    ("transport/link/tx/queue/congestion_control/drop/wait_before_drop", 1_000, 100_000),
    ("transport/link/tx/queue/congestion_control/drop/max_wait_before_drop_fragments", 50_000, 2_000_000),
];

/// As [`WAITS`], for a message that must arrive, in this program and in the router between. zenoh closes a connection on
/// which one message takes longer than this, and sends it never again: with zenoh's 5 s none of 30 MB would ever arrive on
/// a link of 40 Mbit/s. A host that stands still is given up after this time, too.
const LOSSLESS_WAIT: (&str, u64, u64) =
    ("transport/link/tx/queue/congestion_control/block/wait_before_close", 5_000_000, 30_000_000);

fn set_by(config: &Config, key: &str) -> Option<u64> {
    config.get_json(key).ok()?.trim().parse().ok()
}

/// An error of zenoh without the places in zenoh's source, which it names.
pub fn plain(error: &zenoh::Error) -> String {
    without_places(&error.to_string())
}

/// Longest wait for the others when a session ends.
const CLOSING: Duration = Duration::from_secs(1);

/// Tells the others that this program leaves. A host that takes nothing any more is not waited for: the end of the
/// process closes the connection.
pub fn close(session: Session) {
    let (done, closed) = std::sync::mpsc::channel();
    let leave = move || {
        // One that failed is closed, too.
        let _ = session.close().wait();
        let _ = done.send(());
    };
    // Without a thread the session ends with the process.
    if std::thread::Builder::new().name("close".into()).spawn(leave).is_ok() {
        let _ = closed.recv_timeout(CLOSING);
    }
}

fn without_places(text: &str) -> String {
    let mut plain = String::new();
    for word in text.split(' ') {
        match (word.split_once(".rs:"), plain.strip_suffix(" at")) {
            (Some((_, line)), Some(before)) => {
                let rest = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches('.');
                plain = format!("{before}{rest}");
            }
            _ if plain.is_empty() => plain = word.into(),
            _ => plain = format!("{plain} {word}"),
        }
    }
    plain
}

/// Transports that are built in.
const PROTOCOLS: &[&str] = if cfg!(feature = "quic") { &["tcp", "tls", "udp", "quic"] } else { &["tcp", "tls", "udp"] };

fn check_endpoint(text: &str) -> Result<(), String> {
    let parsed: EndPoint = text.parse().map_err(|_| "it has no form PROTOCOL/ADDRESS".to_string())?;
    let (protocol, address) = (parsed.protocol(), parsed.address());
    if !PROTOCOLS.contains(&protocol.as_str()) {
        return Err(format!("its protocol is none of {}", PROTOCOLS.join(", ")));
    }
    let (host, port) = address.as_str().rsplit_once(':').unwrap_or((address.as_str(), ""));
    let is_address = !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok();
    if is_address { Ok(()) } else { Err("its address has no form HOST:PORT".into()) }
}

/// How this program takes part in the zenoh network.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Configuration of zenoh (JSON5): TLS, users, access control and everything else that zenoh has
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Router or peer to connect to, for example tcp/192.168.1.10:7447; may be repeated
    #[arg(long, value_name = "ENDPOINT", global = true)]
    connect: Vec<String>,
    /// Address on which others connect to this program, for example tcp/0.0.0.0:7447; may be repeated
    #[arg(long, value_name = "ENDPOINT", global = true)]
    listen: Vec<String>,
    /// Connect to routers alone, never to other bridges directly: where hosts cannot reach each other, or thousands would
    #[arg(long, global = true)]
    client: bool,
    /// Do not look for others by multicast: use only the endpoints that are given
    #[arg(long, global = true)]
    no_multicast: bool,
}

impl Options {
    /// Opens the session. It goes on trying to connect while it is open.
    ///
    /// # Errors
    /// A sentence with the value that does not work.
    pub fn open(&self, mode: Option<&str>) -> Result<Session, String> {
        self.join(mode, mode.is_some())
    }

    /// As [`open`](Self::open), for a program whose messages must arrive if it `is_lossless`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_to_send(&self, is_lossless: bool) -> Result<Session, String> {
        self.join(None, is_lossless)
    }

    fn join(&self, mode: Option<&str>, is_lossless: bool) -> Result<Session, String> {
        self.check(mode)?;
        let config = self.config(mode, is_lossless)?;
        zenoh::open(config).wait().map_err(|error| match (&self.listen[..], plain(&error)) {
            ([], error) => format!("cannot join the zenoh network: {error}"),
            (listen, error) => format!("cannot join the zenoh network, listening on {}: {error}", listen.join(", ")),
        })
    }

    /// Why nothing of others can be seen: nobody answers at the endpoints given. `None` if somebody does, or none is given.
    pub fn unreached(&self, session: &Session) -> Option<String> {
        let info = session.info();
        let is_alone = info.routers_zid().wait().next().is_none() && info.peers_zid().wait().next().is_none();
        (is_alone && !self.connect.is_empty())
            .then(|| format!("nobody answers at {}: is a bridge or a router listening there?", self.connect.join(", ")))
    }

    /// What zenoh itself would refuse with less of a sentence, or take and never connect.
    fn check(&self, mode: Option<&str>) -> Result<(), String> {
        for (option, endpoints) in [("--connect", &self.connect), ("--listen", &self.listen)] {
            for endpoint in endpoints {
                check_endpoint(endpoint).map_err(|why| {
                    format!("{option} {endpoint:?} is not an endpoint: {why}; write for example tcp/192.168.1.10:7447")
                })?;
            }
        }
        if self.client && mode.is_some() {
            return Err("a router is no client: leave out --client".into());
        }
        if self.client && self.no_multicast && self.connect.is_empty() && self.config.is_none() {
            return Err("--client with --no-multicast finds no router: name one with --connect".into());
        }
        Ok(())
    }

    fn config(&self, mode: Option<&str>, is_lossless: bool) -> Result<Config, String> {
        let mut config = match &self.config {
            Some(file) => Config::from_file(file)
                .map_err(|error| format!("the zenoh configuration {file:?} cannot be used: {}", plain(&error)))?,
            None => Config::default(),
        };
        for (key, zenohs, ours) in WAITS.into_iter().chain(is_lossless.then_some(LOSSLESS_WAIT)) {
            if set_by(&config, key) == Some(zenohs) {
                config.insert_json5(key, &ours.to_string()).map_err(|error| format!("{key} cannot be set: {error}"))?;
            }
        }
        let list = |endpoints: &[String]| serde_json::to_string(endpoints).unwrap_or_default();
        let mut set = |key: &str, value: &str, what: &str| {
            config.insert_json5(key, value).map_err(|error| format!("{what} {value} cannot be used: {error}"))
        };
        if let Some(mode) = mode {
            set("mode", &format!("{mode:?}"), "the mode")?;
        }
        if self.client {
            set("mode", "\"client\"", "--client")?;
            // As other modes do: a router that is away is waited for.
            set("connect/timeout_ms", "-1", "--client")?;
            set("connect/exit_on_failure", "false", "--client")?;
        }
        if !self.connect.is_empty() {
            set("connect/endpoints", &list(&self.connect), "--connect")?;
        }
        if !self.listen.is_empty() {
            set("listen/endpoints", &list(&self.listen), "--listen")?;
        }
        if self.no_multicast {
            set("scouting/multicast/enabled", "false", "--no-multicast")?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_zenoh_name_no_source_files() {
        let text = "bound to tcp/9.9.9.9:1: [9.9.9.9:1: no (os error 99) at /x/tcp.rs:61.] at /x/unicast.rs:338.";
        assert_eq!(without_places(text), "bound to tcp/9.9.9.9:1: [9.9.9.9:1: no (os error 99)]");
        assert_eq!(without_places("look at  this"), "look at  this");
    }

    #[test]
    fn an_endpoint_has_a_protocol_a_host_and_a_port() {
        for good in ["tcp/0.0.0.0:7447", "tls/host:1", "udp/[::1]:0", "tcp/10.0.0.1:7447#so_sndbuf=65000"] {
            assert_eq!(check_endpoint(good), Ok(()), "{good}");
        }
        let bad =
            ["", " ", "x", "tcp/", "tcp/x", "tcp/x:", "tcp/:1", "tcp/x:99999", "tcp/x:-1", "tcp/a b:1", "foo/x:1"];
        for bad in bad {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
    }
}
