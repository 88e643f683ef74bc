//! `shm2_zenoh list`: the regions that hosts publish now.

use crate::message::{self, Message};
use crate::names::{Address, PREFIX};
use crate::session::{Options, plain};
use shm2_cli::{print_result, seconds};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

/// Regions that are listed; a network that declares more is not a reasonable one.
const MOST: usize = 100_000;

#[derive(clap::Args)]
pub struct Arguments {
    /// Print JSON: an array of objects with host, region, arena_bytes and caps
    #[arg(long)]
    json: bool,
    /// Time to look for hosts and to wait for their answers, in seconds or as 500ms
    #[arg(long, value_parser = seconds, default_value = "1.5")]
    wait: Duration,
}

/// What a region's publisher says of it.
#[derive(Default)]
struct Description {
    arena_bytes: Option<u64>,
    caps: Option<String>,
}

/// Lists what is found in the time given.
///
/// # Errors
/// A sentence, when the network cannot be joined.
pub fn run(arguments: &Arguments, options: &Options) -> Result<(), String> {
    let session = options.open(None)?;
    let found = find(&session, arguments.wait);
    let regions = found.map_err(|error| format!("cannot list the regions: {}", plain(&error)))?;
    if let Some(why) = options.unreached(&session) {
        return Err(why);
    }
    if arguments.json {
        let all: Vec<_> = regions.iter().map(|(address, description)| json(address, description)).collect();
        return print_result(&serde_json::Value::Array(all).to_string());
    }
    if regions.is_empty() {
        shm2_cli::complain!("shm2_zenoh: no host publishes a region that this program can reach");
    }
    for (address, Description { caps, .. }) in &regions {
        print_result(&format!("{address}  {}", caps.as_deref().unwrap_or("(no caps yet)").escape_debug()))?;
    }
    Ok(())
}

fn json(address: &Address, description: &Description) -> serde_json::Value {
    serde_json::json!({
        "host": address.host, "region": address.region,
        "arena_bytes": description.arena_bytes, "caps": description.caps,
    })
}

/// Tokens of the regions that are there, then what their publishers answer.
fn find(session: &Session, time: Duration) -> zenoh::Result<BTreeMap<Address, Description>> {
    let all = format!("{PREFIX}/*/**");
    let until = Instant::now() + time;
    let left = || until.saturating_duration_since(Instant::now());
    let mut regions = BTreeMap::new();
    let tokens = session.liveliness().declare_subscriber(&all).history(true).wait()?;
    while let Ok(Some(token)) = tokens.recv_timeout(left()) {
        let Some(address) = Address::of_key(token.key_expr().as_str()) else { continue };
        match token.kind() {
            SampleKind::Put if regions.len() < MOST => drop(regions.insert(address, Description::default())),
            SampleKind::Put => break,
            SampleKind::Delete => drop(regions.remove(&address)),
        }
    }
    if regions.is_empty() {
        return Ok(regions);
    }
    let answers = session.get(&all).timeout(time.max(Duration::from_millis(500))).wait()?;
    while let Ok(answer) = answers.recv() {
        let Ok(sample) = answer.into_result() else { continue };
        let known = Address::of_key(sample.key_expr().as_str()).and_then(|address| regions.get_mut(&address));
        let Some(description) = known else { continue };
        let attachment = sample.attachment().map(|bytes| bytes.to_bytes()).unwrap_or_default();
        if let Ok(Message { header, description: stream, .. }) = message::decode(&attachment, 0, 0) {
            let text = stream.map(|stream| String::from_utf8_lossy(stream.caps).into_owned());
            *description = Description { arena_bytes: Some(header.size), caps: text.filter(|text| !text.is_empty()) };
        }
    }
    Ok(regions)
}
