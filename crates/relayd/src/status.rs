//! The state of the daemon, as JSON and as metrics.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

/// What `--status` prints, as JSON.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: &'static str,
    /// Seconds since its start.
    pub uptime: f64,
    /// Accepted clients.
    pub clients: usize,
    /// Consumers of the output's region.
    pub consumers: u32,
    /// Devices of `--activate video-device:` that are read.
    pub video_devices: usize,
    /// `off`, `waiting`, `starting`, `on`, or `cooling`.
    pub input: &'static str,
    /// Whether buffers of the input pass: false while it starts, and after a failure.
    #[serde(skip)]
    pub input_delivers: bool,
    /// Starts of the input.
    pub input_starts: u64,
    /// Failures of the input.
    pub input_failures: u64,
    /// Reason of the last failure.
    pub last_failure: Option<String>,
    /// Whether the splash runs.
    pub splash: bool,
    /// Buffers of the input.
    pub input_buffers: u64,
    /// Buffers of the splash.
    pub splash_buffers: u64,
    /// Buffers dropped because their time was not after the last one's, or too far ahead.
    pub late_buffers: u64,
    /// Switches between input and splash.
    pub switches: u64,
    /// Caps of the output.
    pub caps: Option<String>,
}

impl Status {
    /// The same in the OpenMetrics text format.
    pub fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("shm2_relay");
        let gauges = [
            ("clients", "Accepted clients", self.clients as i64),
            ("consumers", "Consumers of the output's region", i64::from(self.consumers)),
            ("video_devices", "Devices of --activate that are read", self.video_devices as i64),
            ("input_on", "1 from the input's first buffer until it stops or fails", i64::from(self.input_delivers)),
            ("splash_on", "1 while the splash runs", i64::from(self.splash)),
        ];
        for (name, help, value) in gauges {
            registry.register(name, help, ConstGauge::new(value));
        }
        let counters = [
            ("input_starts", "Starts of the input", self.input_starts),
            ("input_failures", "Failures of the input", self.input_failures),
            ("input_buffers", "Buffers of the input", self.input_buffers),
            ("splash_buffers", "Buffers of the splash", self.splash_buffers),
            ("late_buffers", "Buffers dropped because of their time", self.late_buffers),
            ("switches", "Switches between input and splash", self.switches),
        ];
        for (name, help, value) in counters {
            registry.register(name, help, ConstCounter::new(value));
        }
        registry.register_with_unit("uptime", "Time since the start", Unit::Seconds, ConstGauge::new(self.uptime));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_names_types_and_values() {
        let text =
            Status { clients: 3, input_delivers: true, input_starts: 2, uptime: 1.5, ..Status::default() }.metrics();
        for line in [
            "# TYPE shm2_relay_clients gauge",
            "shm2_relay_clients 3",
            "shm2_relay_input_on 1",
            "# TYPE shm2_relay_input_starts counter",
            "shm2_relay_input_starts_total 2",
            "shm2_relay_uptime_seconds 1.5",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} in\n{text}");
        }
    }
}
