//! The variables under which cargo builds for Windows and runs what it built.

use super::installation::Installation;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// The target that is built and run.
pub const GNU: &str = "x86_64-pc-windows-gnu";

/// The target that is checked by clippy only: linking for it takes Microsoft's tools.
pub const MSVC: &str = "x86_64-pc-windows-msvc";

pub struct Environment(Vec<(String, OsString)>);

impl Environment {
    /// `built` is where cargo puts what it builds.
    pub fn new(installation: &Installation, built: &Path) -> Self {
        let at = |inner: &str| installation.folder.join(inner);
        let mut variables = Self(Vec::new());
        variables.set("PATH", installation.search_path());
        variables.set("CARGO_BUILD_TARGET", GNU);
        variables.set("CARGO_TARGET_DIR", built);
        variables.set("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", "x86_64-w64-mingw32-gcc-posix");
        variables.set("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", installation.wine());
        variables.set("CC_x86_64_pc_windows_gnu", "x86_64-w64-mingw32-gcc-posix");
        variables.set("AR_x86_64_pc_windows_gnu", "x86_64-w64-mingw32-ar");
        variables.set("PKG_CONFIG_ALLOW_CROSS", "1");
        for target in [GNU, MSVC] {
            let target = target.replace('-', "_");
            variables.set(&format!("PKG_CONFIG_LIBDIR_{target}"), at("imp/pc"));
            // Otherwise the user's variable for this machine would count.
            variables.set(&format!("PKG_CONFIG_PATH_{target}"), "");
        }
        variables.set("GST_PLUGIN_SYSTEM_PATH_1_0", on_drive(&at("gst/lib/gstreamer-1.0")));
        variables.set("GST_PLUGIN_SCANNER_1_0", on_drive(&at("gst/libexec/gstreamer-1.0/gst-plugin-scanner.exe")));
        variables.set("GST_REGISTRY_1_0", on_drive(&at("registry.bin")));
        variables.set("LANG", "C.UTF-8");
        variables.set("LC_ALL", "C.UTF-8");
        variables
    }

    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push((name.to_owned(), value.into()));
    }

    pub fn apply(&self, command: &mut Command) {
        // Rustup and cargo set these for this program. With them the compiler would take itself for the user's, which
        // has no standard library for Windows.
        command.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
    }
}

/// The name under which a Windows program under Wine finds a file of this machine.
pub fn on_drive(path: &Path) -> String {
    format!("Z:{}", path.display().to_string().replace('/', "\\"))
}
