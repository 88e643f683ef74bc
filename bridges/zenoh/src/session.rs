//! The zenoh session: its configuration from a file and from options.

use std::path::PathBuf;
use zenoh::{Config, Session, Wait};

/// Times in microseconds for which a message that may be dropped waits for the network: key, zenoh's own default, and this
/// program's. A raw picture takes longer than zenoh's default on any link below 500 Mbit/s, so none would ever arrive. A
/// wait costs only newer frames of the same region.
const WAITS: [(&str, u64, u64); 2] = [
    ("transport/link/tx/queue/congestion_control/drop/wait_before_drop", 1_000, 100_000),
    ("transport/link/tx/queue/congestion_control/drop/max_wait_before_drop_fragments", 50_000, 2_000_000),
];

fn set_by(config: &Config, key: &str) -> Option<u64> {
    config.get_json(key).ok()?.trim().parse().ok()
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
        let config = self.config(mode)?;
        zenoh::open(config).wait().map_err(|error| match &self.listen[..] {
            [] => format!("cannot join the zenoh network: {error}"),
            listen => format!("cannot join the zenoh network, listening on {}: {error}", listen.join(", ")),
        })
    }

    fn config(&self, mode: Option<&str>) -> Result<Config, String> {
        let mut config = match &self.config {
            Some(file) => Config::from_file(file)
                .map_err(|error| format!("the zenoh configuration {file:?} cannot be used: {error}"))?,
            None => Config::default(),
        };
        for (key, zenohs, ours) in WAITS {
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
