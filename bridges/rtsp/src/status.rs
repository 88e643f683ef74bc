//! The state of the daemon, as JSON and as metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

/// What `--status` prints, as JSON.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: &'static str,
    /// Seconds since its start.
    pub uptime: f64,
    /// Connections.
    pub clients: usize,
    /// Sessions: clients that play, or are about to.
    pub sessions: u32,
    /// Connections that were closed because there were too many.
    pub clients_refused: u64,
    /// Requests of a mount that is not there.
    pub not_found: u64,
    /// The mounts.
    pub mounts: Vec<MountStatus>,
}

/// The state of one mount.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MountStatus {
    /// Its path.
    pub path: String,
    /// Its regions.
    pub regions: Vec<String>,
    /// Whether its pipeline runs, and its regions have a consumer.
    pub plays: bool,
    /// Starts of its pipeline.
    pub starts: u64,
    /// Failures of its pipeline.
    pub failures: u64,
    /// Requests that were refused because a region had no producer, or one that RTSP cannot carry.
    pub refused: u64,
    /// Reason of the last failure or refusal.
    pub last_failure: Option<String>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    mount: String,
}

impl Status {
    /// The same in the OpenMetrics text format.
    pub fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("shm2_rtsp");
        let gauges = [
            ("clients", "Connections", self.clients as i64),
            ("sessions", "Clients that play, or are about to", i64::from(self.sessions)),
            ("mounts", "Mounts", self.mounts.len() as i64),
        ];
        for (name, help, value) in gauges {
            registry.register(name, help, ConstGauge::new(value));
        }
        let counters = [
            ("clients_refused", "Connections above the limit", self.clients_refused),
            ("not_found", "Requests of a mount that is not there", self.not_found),
        ];
        for (name, help, value) in counters {
            registry.register(name, help, ConstCounter::new(value));
        }
        self.register_mounts(&mut registry);
        registry.register_with_unit("uptime", "Time since the start", Unit::Seconds, ConstGauge::new(self.uptime));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }

    fn register_mounts(&self, registry: &mut Registry) {
        let plays = Family::<Label, Gauge>::default();
        let [starts, failures, refused] = [(); 3].map(|()| Family::<Label, Counter>::default());
        for mount in &self.mounts {
            let label = Label { mount: mount.path.clone() };
            plays.get_or_create(&label).set(mount.plays.into());
            for (family, count) in [(&starts, mount.starts), (&failures, mount.failures), (&refused, mount.refused)] {
                family.get_or_create(&label).inc_by(count);
            }
        }
        registry.register("mount_plays", "1 while the pipeline of the mount runs", plays);
        registry.register("mount_starts", "Starts of the mount's pipeline", starts);
        registry.register("mount_failures", "Failures of the mount's pipeline", failures);
        registry.register("mount_refused", "Requests without a producer, or of a format without a payload", refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_a_label_for_each_mount() {
        let mount = MountStatus { path: "/a\"b".into(), plays: true, starts: 3, ..MountStatus::default() };
        let text = Status { clients: 2, mounts: vec![mount], ..Status::default() }.metrics();
        for line in [
            "shm2_rtsp_clients 2",
            "shm2_rtsp_mount_plays{mount=\"/a\\\"b\"} 1",
            "shm2_rtsp_mount_starts_total{mount=\"/a\\\"b\"} 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} in\n{text}");
        }
    }
}
