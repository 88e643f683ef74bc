//! `shm2_zenoh publish`: finds the regions of a folder, and publishes those that fit the names given.

mod demand;
mod encoder;
mod feed;
mod region;

use crate::names::{self, Address, Pattern};
use crate::report::Report;
use crate::session::{self, Options};
use region::Published;
use shm2::Overview;
use shm2::discovery::{ListingChange, Watch};
use shm2_cli::stop::Stop;
use shm2_cli::{complain, say};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zenoh::Session;

#[derive(clap::Args)]
pub struct Arguments {
    /// Names or patterns below the folder, such as camera, 'camera-*' or '*'
    #[arg(required = true, value_name = "REGION")]
    regions: Vec<String>,
    /// Name under which this host publishes; its host name if not given
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Folder of the regions
    #[arg(long, value_name = "FOLDER", default_value = "/dev/shm")]
    folder: PathBuf,
    /// Wait for slow readers instead of dropping messages. The producer never waits: what it overwrites meanwhile is lost
    /// and counted
    #[arg(long)]
    lossless: bool,
    /// Elements of GStreamer that encode, such as 'x264enc tune=zerolatency ! h264parse'. They run while somebody reads
    #[arg(long, value_name = "PIPELINE")]
    encode: Option<String>,
    /// Also publish regions that another bridge of this host has opened
    #[arg(long)]
    republish: bool,
}

/// What all regions have in common.
struct Settings {
    host: String,
    folder: PathBuf,
    lossless: bool,
    encode: Option<String>,
    report: Report,
}

/// Publishes until a signal.
///
/// # Errors
/// A sentence with the value that does not work.
pub fn run(arguments: Arguments, options: &Options) -> Result<(), String> {
    let Arguments { regions, host, folder, lossless, encode, republish } = arguments;
    if !folder.is_dir() {
        return Err(format!("the folder {folder:?} is not there: name one with --folder"));
    }
    // A relative path would be taken for a name below /dev/shm.
    let folder = std::path::absolute(&folder).map_err(|error| format!("{folder:?} cannot be used: {error}"))?;
    let patterns: Vec<_> = regions.iter().map(|text| Pattern::parse(text, &folder)).collect::<Result<_, _>>()?;
    let host = host.map_or_else(names::host_name, |name| names::escape(&name));
    if Address::parse(&format!("{host}/x")).is_err() {
        return Err(format!("the host name {host:?} cannot be used: give a short name with --host"));
    }
    if let Some(pipeline) = &encode {
        encoder::check(pipeline)?;
        encoder::remove_leftovers(&folder);
    }
    let mut watch = Watch::new([folder.clone()]);
    let ender = watch.ender();
    let to_end = ender.clone();
    let _stop = Stop::on_signal(move || to_end.end()).map_err(|error| format!("cannot handle signals: {error}"))?;
    let session = options.open_to_send(lossless)?;
    let settings = Arc::new(Settings { host, folder, lossless, encode, report: Report::default() });
    say!("publishing as {}", settings.host);
    let mut published = HashMap::new();
    // The regions that are there now; then what changes.
    let mut time = Some(Duration::ZERO);
    while !ender.is_set() {
        for change in watch.wait(time) {
            follow(change, &mut published, &session, &settings, |region| {
                let is_wanted = patterns.iter().any(|pattern| pattern.matches(&region.path, &settings.folder));
                is_wanted && !encoder::is_ours(&region.path) && (republish || !is_opened(region))
            });
        }
        if time.take().is_some() {
            say_what_fits_nothing(&patterns, &published, &settings.folder);
        }
    }
    // All at once: each one may wait for the network.
    published.values().for_each(Published::end);
    drop(published);
    session::close(session);
    Ok(())
}

/// A name may be wrong, or its producer may start later.
fn say_what_fits_nothing(patterns: &[Pattern], published: &HashMap<PathBuf, Published>, folder: &Path) {
    let fits_none = |pattern: &&Pattern| !published.keys().any(|path| pattern.matches(path, folder));
    for pattern in patterns.iter().filter(fits_none) {
        complain!("shm2_zenoh: waiting: no region in {folder:?} fits {pattern} yet");
    }
}

/// Begins with a region that appeared, and ends with one that has gone.
fn follow(
    change: ListingChange,
    published: &mut HashMap<PathBuf, Published>,
    session: &Session,
    settings: &Arc<Settings>,
    is_wanted: impl Fn(&Overview) -> bool,
) {
    let region = match change {
        ListingChange::Appeared(region) | ListingChange::Changed(region) => region,
        ListingChange::Gone(path) => {
            if let Some(region) = published.remove(&path) {
                say!("gone: {}", region.address());
            }
            return;
        }
        _ => return,
    };
    // A region that changed is followed by its own consumer.
    if published.contains_key(&region.path) || !is_wanted(&region) {
        return;
    }
    match begin(&region.path, session, settings) {
        Ok(new) => {
            say!("published: {}", new.address());
            published.insert(region.path, new);
        }
        Err(error) => complain!("shm2_zenoh: {error}"),
    }
}

fn begin(path: &Path, session: &Session, settings: &Arc<Settings>) -> Result<Published, String> {
    let cannot = || format!("{path:?} is not published: its name is too long, or not UTF-8");
    let region = names::region_name(path, &settings.folder).ok_or_else(cannot)?;
    let address = Address::parse(&format!("{}/{region}", settings.host)).map_err(|_| cannot())?;
    Published::begin(session, address, path, settings).map_err(|error| format!("{path:?} is not published: {error}"))
}

/// Whether the producer is a bridge that has opened a region of another host: published again, it would go in a circle.
fn is_opened(region: &Overview) -> bool {
    let producer = Path::new("/proc").join(region.producer_pid.to_string());
    let name = std::fs::read_to_string(producer.join("comm")).unwrap_or_default();
    // Under another name it is the same file; that of another user's process cannot be read.
    let is_same = |own: PathBuf| std::fs::read_link(producer.join("exe")).is_ok_and(|file| file == own);
    name.trim() == "shm2_zenoh" || std::env::current_exe().is_ok_and(is_same)
}
