//! `shm2-pictures` draws the pictures into `docs/pictures`; with `--check` it only says which are not current.

#![deny(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let only_checks = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            eprintln!("{other:?} is no option; there is --check");
            return ExitCode::from(2);
        }
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("pictures");
    let mut code = ExitCode::SUCCESS;
    for (name, svg) in shm2_pictures::all() {
        let file = folder.join(name);
        let is_current = fs::read_to_string(&file).is_ok_and(|text| text == svg);
        if is_current {
            continue;
        }
        if only_checks {
            eprintln!("docs/pictures/{name} is not what the code draws: cargo xtask book pictures");
            code = ExitCode::FAILURE;
        } else if let Err(error) = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, svg)) {
            eprintln!("{}: {error}", file.display());
            code = ExitCode::FAILURE;
        } else {
            println!("drawn: docs/pictures/{name}");
        }
    }
    code
}
