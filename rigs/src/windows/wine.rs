//! Wine's server and the processes that run under it.

use super::installation::Installation;

/// Wine's own processes, which stay as long as its server.
pub const HELPERS: &[&str] = &[
    "wineserver",
    "services.exe",
    "explorer.exe",
    "winedevice.exe",
    "plugplay.exe",
    "svchost.exe",
    "rpcss.exe",
    "conhost.exe",
];

/// Wine's server with its helpers, which runs between the programs, too. It ends when this value is dropped; when
/// this process was killed, it ends by itself ten minutes after the last program.
pub struct Server<'a>(&'a Installation);

impl<'a> Server<'a> {
    pub fn start(installation: &'a Installation) -> Result<Self, String> {
        // An earlier run that was killed may have left one.
        end_server(installation);
        call_server(installation, "-p600");
        let server = Self(installation);
        // The helpers come with the first program and stay in its process group. It must not be that of a test, whose
        // group is killed at its time limit.
        let mut first = installation.program("setsid");
        first.arg(installation.wine()).args(["cmd", "/c", "exit 0"]).env("WINE_LIMIT", "60");
        match first.status() {
            Ok(status) if status.success() => Ok(server),
            Ok(status) => Err(format!("Wine does not start: {status}")),
            Err(e) => Err(format!("setsid: {e}")),
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        end_server(self.0);
    }
}

/// Ends Wine's server, if it runs, with all programs under it.
pub fn end_server(installation: &Installation) {
    if installation.folder.join("prefix").exists() && call_server(installation, "-k") {
        call_server(installation, "-w");
    }
}

/// Calls the server's program; false also when no server runs.
fn call_server(installation: &Installation, option: &str) -> bool {
    let mut server = installation.program("timeout");
    server.arg("20").arg(installation.folder.join("sys/usr/lib/wine/wineserver")).arg(option);
    server.env("WINEPREFIX", installation.folder.join("prefix"));
    server.env("LD_LIBRARY_PATH", installation.folder.join("sys/usr/lib/x86_64-linux-gnu"));
    server.status().is_ok_and(|status| status.success())
}

/// Names and ids of the processes that run under this Wine, without those named `except`.
pub fn processes(installation: &Installation, except: &[&str]) -> Vec<String> {
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let named = ids.filter_map(|id| Some((id, program_name(installation, id)?)));
    named.filter(|(_, name)| !except.contains(&name.as_str())).map(|(id, name)| format!("{name} ({id})")).collect()
}

/// The name of the program in a process, if files of this Wine are mapped there.
fn program_name(installation: &Installation, id: u32) -> Option<String> {
    let wine = installation.folder.join("sys/usr/lib").display().to_string();
    let maps = std::fs::read_to_string(format!("/proc/{id}/maps")).ok()?;
    if !maps.lines().any(|line| line.contains(&wine) && line.contains("/wine/")) {
        return None;
    }
    let line = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let program = String::from_utf8_lossy(line.split(|byte| *byte == 0).next()?).into_owned();
    Some(program.rsplit(['/', '\\']).next()?.to_owned())
}
