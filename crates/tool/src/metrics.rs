//! `shm2 metrics`.

use super::{Failure, web};
use crate::folders;
use crate::output;
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_text::{CONTENT_TYPE, encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use shm2::Overview;
use shm2_cli::seconds;
use shm2_cli::stop::Stop;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    /// Folders whose regions are measured
    #[arg(default_value = "/dev/shm")]
    folders: Vec<PathBuf>,
    /// Serve the metrics over HTTP, at /metrics of this address; a port alone is one of the loopback address
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = web::address, conflicts_with = "textfile")]
    listen: Option<SocketAddr>,
    /// Token that a scraper has to send as `Authorization: Bearer`, or behind `?token=`; none if not given
    #[arg(long, requires = "listen", value_parser = web::token)]
    token: Option<String>,
    /// Write the metrics to a file NAME.prom for the textfile collector of node_exporter
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
    /// Write the file again after each interval, in seconds or as 500ms, until Ctrl+C
    #[arg(long, value_parser = seconds, requires = "textfile")]
    interval: Option<Duration>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    folders::check(&arguments.folders)?;
    if let Some(address) = arguments.listen {
        return listen(address, arguments);
    }
    let Some(file) = &arguments.textfile else { return output::print(text(&arguments.folders).trim_end()) };
    let Some(interval) = arguments.interval else { return write(file, &text(&arguments.folders)) };
    let stop = Stop::on_signal(|| {})?;
    while !stop.is_set() {
        write(file, &text(&arguments.folders))?;
        stop.pause(interval.max(Duration::from_millis(10)));
    }
    Ok(())
}

/// The metrics of all regions in `folders`, in the text format of Prometheus.
pub fn text(folders: &[PathBuf]) -> String {
    let metrics = Metrics::default();
    folders::regions(folders).iter().for_each(|region| metrics.add(region));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &metrics.registry());
    text
}

/// The metrics as an answer over HTTP.
pub async fn answer(folders: Vec<PathBuf>) -> impl IntoResponse {
    // Folders may be large: other connections go on meanwhile.
    let text = tokio::task::spawn_blocking(move || text(&folders)).await.unwrap_or_default();
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)
}

fn listen(address: SocketAddr, arguments: &Arguments) -> Result<(), Failure> {
    let folders = arguments.folders.clone();
    let server = web::Server::bind(address)?;
    let address = server.address();
    output::print(&format!("http://{address}/metrics"))?;
    let routes = Router::new().route("/metrics", get(move || answer(folders)));
    // Machines that scrape may know this one by any name.
    let guard = web::Guard::new(address).any_host(!address.ip().is_loopback()).token(arguments.token.clone(), &[]);
    server.run(routes, guard, async {})
}

/// Written beside and renamed: a collector reads all or nothing.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let written = output::replace(file, |mut file| Ok(file.write_all(text.as_bytes())?));
    Ok(written.map_err(|error| format!("cannot write {}: {error}", file.display()))?)
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfRegion {
    region: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfProducer {
    region: String,
    pid: u32,
    generation: String,
    policy: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfConsumer {
    region: String,
    page: u64,
    pid: u32,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfReason {
    region: String,
    reason: &'static str,
}

type Real = Gauge<f64, AtomicU64>;

#[derive(Default)]
struct Metrics {
    region_bytes: Family<OfRegion, Gauge>,
    frame_bytes: Family<OfRegion, Gauge>,
    age: Family<OfRegion, Real>,
    frames: Family<OfRegion, Counter>,
    dropped: Family<OfReason, Counter>,
    producer: Family<OfProducer, Gauge>,
    consumers: Family<OfRegion, Gauge>,
    lag: Family<OfConsumer, Gauge>,
    held: Family<OfConsumer, Gauge>,
    missed: Family<OfConsumer, Counter>,
}

impl Metrics {
    fn add(&self, region: &Overview) {
        let of_region = OfRegion { region: region.uri() };
        let name = || of_region.region.clone();
        self.region_bytes.get_or_create(&of_region).set(region.bytes as i64);
        self.frames.get_or_create(&of_region).inc_by(region.newest);
        self.consumers.get_or_create(&of_region).set(region.consumers.len() as i64);
        if let Some(bytes) = region.frame_bytes {
            self.frame_bytes.get_or_create(&of_region).set(bytes as i64);
        }
        if let Some(age) = region.age {
            self.age.get_or_create(&of_region).set(age.as_secs_f64());
        }
        let &Overview { dropped_oldest, dropped_newest, dropped_too_large, producer_pid: pid, .. } = region;
        for (reason, count) in
            [("oldest", dropped_oldest), ("newest", dropped_newest), ("too-large", dropped_too_large)]
        {
            self.dropped.get_or_create(&OfReason { region: name(), reason }).inc_by(count);
        }
        let policy = region.full_policy.map(|policy| policy.to_string()).unwrap_or_default();
        let generation = format!("{:016x}", region.generation);
        self.producer.get_or_create(&OfProducer { region: name(), pid, generation, policy }).set(1);
        for consumer in &region.consumers {
            let labels = OfConsumer { region: name(), page: consumer.page as u64, pid: consumer.pid };
            self.lag.get_or_create(&labels).set(consumer.lag as i64);
            self.held.get_or_create(&labels).set(consumer.held.into());
            self.missed.get_or_create(&labels).inc_by(consumer.missed);
        }
    }

    fn registry(self) -> Registry {
        let mut registry = Registry::with_prefix("shm2");
        registry.register("region_bytes", "Size of the region", self.region_bytes);
        registry.register("frame_bytes", "Size of the newest frame", self.frame_bytes);
        registry.register("age_seconds", "Time since the newest frame was published", self.age);
        registry.register("frames", "Frames and events of this generation, its newest sequence", self.frames);
        registry.register("dropped", "Frames that were dropped", self.dropped);
        registry.register("producer_info", "The region's producer, always 1", self.producer);
        registry.register("consumers", "Leasing consumers", self.consumers);
        registry.register("consumer_lag", "Frames and events that the consumer has not taken yet", self.lag);
        registry.register("consumer_held", "Frames that the consumer holds in place", self.held);
        registry.register("consumer_missed", "Frames and events that the consumer lost", self.missed);
        registry
    }
}
