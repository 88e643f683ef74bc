//! `shm2 man`.

use super::Failure;
use clap::Command;
use clap_mangen::Man;
use std::io::{self, Write};
use std::path::PathBuf;

/// The same for all commands.
const EXIT_STATUS: &str = r#".SH "EXIT STATUS"
.TP
0
All is well.
.TP
1
The command failed. One line on standard error says why.
.TP
2
Wrong options.
"#;

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder to write a page for each command to, as shm2-COMMAND.1; without it shm2(1) goes to standard output
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Writes manual pages.
pub fn run(arguments: &Arguments, mut command: Command) -> Result<(), Failure> {
    // Sub-commands get their whole names.
    command.build();
    let Some(folder) = &arguments.output else {
        return match io::stdout().write_all(&page(&command)?) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        };
    };
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let commands = command.get_subcommands().filter(|command| command.get_name() != "help");
    for command in std::iter::once(&command).chain(commands) {
        let path = folder.join(format!("{}.1", command.get_display_name().unwrap_or("shm2")));
        let written = page(command).and_then(|page| std::fs::write(&path, page));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone().version(env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(EXIT_STATUS.as_bytes());
    man.render_version_section(&mut page)?;
    Ok(page)
}
