//! Compiles and runs programs in C and C++ against the library that cargo has built for this test.

#![cfg(target_os = "linux")]
#![expect(dead_code, reason = "each test uses a part of it")]

use shm2_testing::{ChildGuard, TempPath, skip};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// An installed library: `include`, `lib` and `lib/pkgconfig`.
pub struct Prefix {
    directory: PathBuf,
    made: Option<Arc<TempPath>>,
}

/// Languages with their standard and their compilers.
#[derive(Clone, Copy, PartialEq)]
pub enum Language {
    C,
    Cpp,
}

impl Language {
    pub fn of(source: &Path) -> Self {
        if source.extension().is_some_and(|extension| extension == "cpp") { Self::Cpp } else { Self::C }
    }

    fn standard(self) -> &'static str {
        match self {
            Self::C => "-std=c11",
            Self::Cpp => "-std=c++17",
        }
    }

    fn gcc(self) -> &'static str {
        if self == Self::C { "gcc" } else { "g++" }
    }

    /// The compilers that are here. Prints which are not.
    pub fn compilers(self) -> impl Iterator<Item = &'static str> {
        let clang = if self == Self::C { "clang" } else { "clang++" };
        [self.gcc(), clang].into_iter().filter(|compiler| is_here_or_skipped(compiler))
    }
}

/// Whether a program can be run.
pub fn is_here(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether a compiler can be run; else prints that its tests do not run.
fn is_here_or_skipped(compiler: &str) -> bool {
    let is_here = is_here(compiler);
    if !is_here {
        skip(&format!("C and C++ with {compiler}, which is not installed"));
    }
    is_here
}

/// The directory of this crate.
pub fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Prefix {
    /// That of the environment variable `SHM2_PREFIX`, else a new one with links to what cargo has built.
    pub fn new() -> Self {
        if let Some(directory) = std::env::var_os("SHM2_PREFIX") {
            return Self { directory: directory.into(), made: None };
        }
        let made = TempPath::new("prefix");
        let directory = made.to_path_buf();
        std::fs::create_dir_all(directory.join("lib/pkgconfig")).unwrap();
        let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, directory.join(to)).unwrap();
        link(&here().join("include"), "include");
        let built = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
        for name in ["lib/libshm2.so.0", "lib/libshm2.so"] {
            link(&built.join("libshm2_c.so"), name);
        }
        if let Some(archive) = newest_archive(&built) {
            link(&archive, "lib/libshm2.a");
        }
        let prefix = directory.display();
        let description = format!(
            "prefix={prefix}\nincludedir=${{prefix}}/include\nlibdir=${{prefix}}/lib\n\nName: shm2\n\
             Description: test\nVersion: {}\nCflags: -I${{includedir}}\nLibs: -L${{libdir}} -lshm2\n\
             Libs.private: -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc\n",
            env!("CARGO_PKG_VERSION")
        );
        std::fs::write(directory.join("lib/pkgconfig/shm2.pc"), description).unwrap();
        Self { directory, made: Some(Arc::new(made)) }
    }

    pub fn path(&self, inner: &str) -> PathBuf {
        self.directory.join(inner)
    }

    /// What pkg-config prints, in words.
    pub fn pkg_config(&self, options: &[&str]) -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.args(options).arg("shm2").env("PKG_CONFIG_PATH", self.library_directory().join("pkgconfig"));
        let text = text_of(&succeeded(&mut command));
        text.split_whitespace().map(String::from).collect()
    }

    /// `lib`, or `lib/x86_64-linux-gnu` where a prefix was given that has it.
    pub fn library_directory(&self) -> PathBuf {
        let lib = self.path("lib");
        let inner = std::fs::read_dir(&lib).into_iter().flatten().flatten().map(|entry| entry.path());
        inner.into_iter().find(|path| path.join("libshm2.so.0").exists()).unwrap_or(lib)
    }

    /// Compiles a program with all warnings as errors, and returns its path.
    pub fn compile(&self, source: &str, compiler: &str, options: &[&str]) -> Program {
        let source = here().join(source);
        let name = format!("{}-{compiler}", source.file_stem().unwrap().to_string_lossy());
        let program = TempPath::new(&name);
        let mut command = Command::new(compiler);
        command.args([Language::of(&source).standard(), "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-pthread"]);
        command.args(options).arg("-o").arg(&program).arg(&source).args(self.pkg_config(&["--cflags", "--libs"]));
        succeeded(&mut command);
        Program { program, libraries: self.library_directory(), _prefix: self.made.clone() }
    }

    /// Compiles with GCC; `None` and a note where it is not installed.
    pub fn compile_by_gcc(&self, source: &str) -> Option<Program> {
        let compiler = Language::of(Path::new(source)).gcc();
        is_here_or_skipped(compiler).then(|| self.compile(source, compiler, &[]))
    }
}

/// A program that was compiled.
pub struct Program {
    program: TempPath,
    libraries: PathBuf,
    _prefix: Option<Arc<TempPath>>,
}

impl Program {
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(&[], arguments)
    }

    /// A command that another program runs, such as valgrind.
    pub fn wrapped(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let mut command = match wrapper {
            [] => Command::new(&self.program),
            [first, options @ ..] => {
                let mut command = Command::new(first);
                command.args(options).arg(&self.program);
                command
            }
        };
        command.args(arguments).env("LD_LIBRARY_PATH", &self.libraries);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn start(&self, arguments: &[&str]) -> ChildGuard {
        ChildGuard::spawn(&mut self.command(arguments)).unwrap()
    }
}

/// Archives have a hash in their names, and those of older builds stay.
fn newest_archive(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    let is_archive = |name: &str| name.starts_with("libshm2_c") && name.ends_with(".a");
    let archives = entries.filter(|entry| is_archive(&entry.file_name().to_string_lossy()));
    archives.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok()).map(|entry| entry.path())
}

/// Runs a command that must succeed.
#[track_caller]
pub fn succeeded(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ChildGuard::spawn(command).unwrap_or_else(|error| panic!("cannot run {command:?}: {error}")).output();
    assert!(output.status.success(), "{command:?}: {}\n{}\n{}", output.status, text_of(&output), errors_of(&output));
    output
}

pub fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn errors_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The text of a file of this crate.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(here().join(path)).unwrap()
}
