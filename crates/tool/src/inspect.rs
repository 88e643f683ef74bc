//! `shm2 inspect`.

use super::{Failure, output, show};
use comfy_table::{Table, presets};
use shm2::Overview;

#[derive(clap::Args)]
pub struct Arguments {
    /// Region, for example shm:///dev/shm/camera
    #[arg(value_parser = shm2_cli::region())]
    region: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let region = Overview::of(&arguments.region)?;
    if arguments.json {
        return output::print(&serde_json::to_string(&show::RegionJson::from(&region))?);
    }
    let text = lines(&region).iter().map(|(name, value)| format!("{name:<12} {value}")).collect::<Vec<_>>();
    output::print(&format!("{}\n\n{}", text.join("\n"), consumers(&region)))
}

fn lines(region: &Overview) -> Vec<(&'static str, String)> {
    let dash = || "-".to_owned();
    let Overview { oldest, newest, dropped_oldest, dropped_newest, dropped_too_large, .. } = *region;
    let in_ring = newest.saturating_add(1).saturating_sub(oldest);
    vec![
        ("region", region.uri()),
        (
            "producer",
            format!(
                "process {} ({}){}",
                region.producer_pid,
                show::process(region.producer_pid),
                if region.is_kept { ", kept region" } else { "" }
            ),
        ),
        ("generation", format!("{:016x}", region.generation)),
        ("size", format!("{}, arena {}", show::bytes(region.bytes), show::bytes(region.arena_bytes))),
        ("policy", region.full_policy.map_or_else(dash, |policy| policy.to_string())),
        ("limits", format!("history {}, {} leases for each consumer", region.history, region.max_leases)),
        ("frames", format!("newest {newest}, {in_ring} in the ring")),
        ("frame size", region.frame_bytes.map_or_else(dash, show::bytes)),
        ("age", region.age.map_or_else(dash, show::time)),
        ("dropped", format!("oldest {dropped_oldest}, newest {dropped_newest}, too large {dropped_too_large}")),
        ("stream", show::media(region).map_or_else(dash, |media| media.to_string())),
        ("caps", show::caps(region).unwrap_or_else(dash)),
    ]
}

fn consumers(region: &Overview) -> Table {
    let mut table = Table::new();
    let header = ["PAGE", "PID", "PROCESS", "LAG", "HELD", "HELD BYTES", "RECEIVED", "MISSED", "SKIPPED", "COPIED"];
    table.load_preset(presets::NOTHING).set_header(header);
    for consumer in &region.consumers {
        let lag = if consumer.next.is_some() { consumer.lag.to_string() } else { "ended".into() };
        table.add_row([
            consumer.page.to_string(),
            consumer.pid.to_string(),
            show::process(consumer.pid),
            lag,
            consumer.held.to_string(),
            show::bytes(consumer.held_bytes),
            consumer.received.to_string(),
            consumer.missed.to_string(),
            consumer.skipped.to_string(),
            consumer.copied.to_string(),
        ]);
    }
    table
}
