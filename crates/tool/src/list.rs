//! `shm2 list`.

use super::{Failure, output, show};
use crate::folders;
use crate::rates;
use comfy_table::{Table, presets};
use shm2::Overview;
use shm2::discovery::{ListingChange, Watch};
use shm2_cli::stop::Stop;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// Folders to look into, with the folders in them
    #[arg(default_value = "/dev/shm")]
    folders: Vec<PathBuf>,
    /// Print regions that appear, change and go, until Ctrl+C
    #[arg(long, short)]
    follow: bool,
    /// Print one JSON object for each region on a line
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.follow { follow(arguments) } else { list(arguments) }
}

fn list(arguments: &Arguments) -> Result<(), Failure> {
    folders::check(&arguments.folders)?;
    let regions: Vec<_> = folders::regions(&arguments.folders);
    tell_of_others(&arguments.folders);
    if arguments.json {
        let lines = regions.iter().map(|region| serde_json::to_string(&show::RegionJson::from(region)));
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        return if lines.is_empty() { Ok(()) } else { output::print(&lines.join("\n")) };
    }
    if regions.is_empty() {
        output::warn("no region has a live producer: shm2 gc lists those of dead ones");
    }
    output::print(&table(&regions).trim_fmt())
}

/// Regions of other users look as if they were absent.
fn tell_of_others(folders: &[PathBuf]) {
    let number: usize = folders.iter().map(|folder| folders::unreadable(folder).len()).sum();
    if number > 0 {
        output::warn(&format!("this user may not read {number} of the files and folders: shm2 doctor names them"));
    }
}

fn table(regions: &[Overview]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["REGION", "SIZE", "FRAME", "AGE", "CONSUMERS", "DROPPED", "MEDIA"]);
    for region in regions {
        let dropped = rates::dropped(region);
        table.add_row([
            region.uri(),
            show::bytes(region.bytes),
            region.frame_bytes.map_or("-".into(), show::bytes),
            region.age.map_or("-".into(), show::time),
            region.consumers.len().to_string(),
            dropped.to_string(),
            show::words(region).unwrap_or_else(|| "-".into()),
        ]);
    }
    table
}

fn follow(arguments: &Arguments) -> Result<(), Failure> {
    folders::check(&arguments.folders)?;
    let mut watch = Watch::new(&arguments.folders);
    let end = watch.ender();
    let _stop = Stop::on_signal({
        let end = end.clone();
        move || end.end()
    })?;
    while !end.is_set() {
        for change in watch.wait(None) {
            report(arguments, &change)?;
        }
    }
    Ok(())
}

fn report(arguments: &Arguments, change: &ListingChange) -> Result<(), Failure> {
    let (word, region) = match change {
        ListingChange::Appeared(region) => ("appeared", region),
        ListingChange::Changed(region) => ("changed", region),
        ListingChange::Gone(path) if arguments.json => {
            return output::print(&serde_json::json!({"change": "gone", "path": path.to_string_lossy()}).to_string());
        }
        ListingChange::Gone(path) => {
            return output::print(&format!("gone      {}", path.display()));
        }
        _ => return Ok(()),
    };
    if arguments.json {
        let line = serde_json::json!({"change": word, "state": show::RegionJson::from(region)});
        return output::print(&line.to_string());
    }
    output::print(&format!("{word:<9} {}  {}", region.uri(), show::words(region).unwrap_or_else(|| "-".into())))
}
