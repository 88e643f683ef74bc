//! `shm2 list`.

use super::{Failure, show};
use comfy_table::{Table, presets};
use shm2::Overview;
use shm2::discovery::{Listing, ListingChange};
use shm2_cli::{print_result, say};
use std::path::PathBuf;
use std::time::Duration;

/// Time between two looks with `--follow`.
const STEP: Duration = Duration::from_millis(250);

#[derive(clap::Args)]
pub struct Arguments {
    /// Folders to look into
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
    if let Some(folder) = arguments.folders.iter().find(|folder| !folder.is_dir()) {
        return Err(format!("{} is no folder: name one with regions, such as /dev/shm", folder.display()).into());
    }
    let regions: Vec<_> = arguments.folders.iter().flat_map(|folder| Overview::all_in(folder)).collect();
    if arguments.json {
        let lines = regions.iter().map(|region| serde_json::to_string(&show::RegionJson::from(region)));
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        return if lines.is_empty() { Ok(()) } else { Ok(print_result(&lines.join("\n"))?) };
    }
    Ok(print_result(&table(&regions).to_string())?)
}

fn table(regions: &[Overview]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["REGION", "SIZE", "FRAME", "AGE", "CONSUMERS", "DROPPED", "CAPS"]);
    for region in regions {
        let dropped = region.dropped_oldest + region.dropped_newest + region.dropped_too_large;
        table.add_row([
            region.uri(),
            show::bytes(region.bytes),
            region.frame_bytes.map_or("-".into(), show::bytes),
            region.age.map_or("-".into(), show::time),
            region.consumers.len().to_string(),
            dropped.to_string(),
            show::caps(region).unwrap_or_else(|| "-".into()),
        ]);
    }
    table
}

fn follow(arguments: &Arguments) -> Result<(), Failure> {
    let mut listings: Vec<_> = arguments.folders.iter().map(Listing::new).collect();
    loop {
        for change in listings.iter_mut().flat_map(Listing::update) {
            report(arguments, &change)?;
        }
        std::thread::sleep(STEP);
    }
}

fn report(arguments: &Arguments, change: &ListingChange) -> Result<(), Failure> {
    let (word, region) = match change {
        ListingChange::Appeared(region) => ("appeared", region),
        ListingChange::Changed(region) => ("changed", region),
        ListingChange::Gone(path) if arguments.json => {
            return Ok(print_result(
                &serde_json::json!({"change": "gone", "path": path.to_string_lossy()}).to_string(),
            )?);
        }
        ListingChange::Gone(path) => {
            say!("gone      {}", path.display());
            return Ok(());
        }
        _ => return Ok(()),
    };
    if arguments.json {
        let line = serde_json::json!({"change": word, "state": show::RegionJson::from(region)});
        return Ok(print_result(&line.to_string())?);
    }
    say!("{word:<9} {}  {}", region.uri(), show::caps(region).unwrap_or_else(|| "-".into()));
    Ok(())
}
