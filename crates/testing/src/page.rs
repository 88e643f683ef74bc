//! Runs the `sh` blocks of a page, as a reader does who types them into one shell.
//!
//! The shell starts in the project's root. It has a `/dev/shm`, a network with only loopback, and process numbers of its
//! own: pages run at the same time with the same names and ports, and nothing that a block starts outlives its page.
//! `mktemp` makes files below a directory that is removed.
//!
//! Each block has to come to its end; one that ends the shell before has to print a line `skipped: why`.

use crate::fences::{Block, blocks};
use crate::{ChildGuard, TempPath, skip};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time of one block.
pub const BLOCK_LIMIT: Duration = Duration::from_secs(60);

/// The blocks of a page may print so much together; a block that prints without end fills no disk.
const LOG_LIMIT: u64 = 4 << 20;
/// So much of it is in the message of a failure, from its end.
const TAIL: u64 = 16 << 10;

/// Before each block, whatever the one before has set: the shell fails at the first command that fails, also within a
/// pipe, and says which.
const BEGIN: &str = r#"set -eE -o pipefail
trap 'echo "$PAGE:$LINENO: code $? of: $BASH_COMMAND"' ERR
"#;
/// Programs that log critical messages of GLib by themselves, so that `G_DEBUG=fatal-criticals` would end them.
const CRITICAL: &[&str] = &["obs"];
/// The first process of the namespaces; its end is the end of all others.
const INIT: &str = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm && ip link set lo up || exit 99
bash \"$1\"
exit $?";

/// What a page needs: the words of its comments `<!-- needs: … -->`. A word is `root`, a program, or a module of a
/// Python, as in `python3:numpy`.
pub fn needs(page: &str) -> Vec<&str> {
    let comments = page.split("<!-- needs:").skip(1).filter_map(|rest| rest.split_once("-->"));
    comments.flat_map(|(words, _)| words.split_whitespace()).collect()
}

/// Runs the blocks of `page`, a path below `root`, with the programs and the plugin of the folder `built`.
///
/// # Panics
/// When a fence of the page cannot be read, a command of a block fails, a block ends the shell before its own end, does
/// not end within `limit`, or prints too much: with the page, the line, the command, and what the blocks printed last.
pub fn run(root: &Path, page: &str, built: &Path, limit: Duration) {
    let text = fs::read_to_string(root.join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
    let blocks = blocks(&text).unwrap_or_else(|e| panic!("{page}: {e}"));
    assert!(!blocks.is_empty(), "{page} has no sh block");
    let needs = needs(&text);
    let may_be_critical = needs.iter().any(|need| CRITICAL.contains(need));
    let shell = Shell { may_be_critical, ..Shell::new(root, page, built) };
    if let Some(missing) = needs.into_iter().find(|need| !shell.has(need)) {
        return skip(&format!("the blocks of {page}: there is no {missing}"));
    }
    if !shell.namespaces() {
        return skip(&format!("the blocks of {page}: neither root nor a user may make namespaces here (unshare)"));
    }
    shell.run(&blocks, limit);
    for line in shell.output(LOG_LIMIT).lines().filter_map(|line| line.strip_prefix("skipped: ")) {
        skip(&format!("{page}: {line}"));
    }
}

struct Shell<'a> {
    root: &'a Path,
    page: &'a str,
    built: &'a Path,
    /// Critical messages of GLib do not end its programs.
    may_be_critical: bool,
    /// What is written goes here; removed at the end.
    place: TempPath,
}

impl<'a> Shell<'a> {
    fn new(root: &'a Path, page: &'a str, built: &'a Path) -> Self {
        let place = TempPath::new("page");
        fs::create_dir_all(place.join("run")).expect("a temporary directory");
        Self { root, page, built, may_be_critical: false, place }
    }

    fn command(&self, program: &str) -> Command {
        let target = self.built.parent().unwrap_or(self.built);
        let old = std::env::var_os("PATH").unwrap_or_default();
        let first = [self.built.to_owned(), target.join("python-venv/bin"), target.join("zenoh/debug")];
        let path = std::env::join_paths(first.into_iter().chain(std::env::split_paths(&old))).expect("a PATH");
        let mut command = Command::new(program);
        command.current_dir(self.root).env("PATH", path).env("PAGE", self.page).env_remove("BASH_ENV");
        command.env("GST_PLUGIN_PATH", self.built).env("GST_REGISTRY", target.join("pages-registry.bin"));
        command.env("TMPDIR", &*self.place).env("XDG_RUNTIME_DIR", self.place.join("run"));
        if self.may_be_critical {
            command.env_remove("G_DEBUG");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Whether what the page needs is there.
    fn has(&self, need: &str) -> bool {
        let mut command = self.command("bash");
        match need.split_once(':') {
            Some((python, module)) => command.args(["-c", &format!("exec {python} -c 'import {module}'")]),
            None if need == "root" => command.args(["-c", "test $(id -u) = 0"]),
            None => command.args(["-c", &format!("command -v {need}")]),
        };
        command.status().is_ok_and(|status| status.success())
    }

    /// A command for namespaces of its own. Others than root map themselves to root there.
    fn apart(&self) -> Command {
        let mut command = self.command("unshare");
        command.args(["--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]);
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["bash", "-c", INIT, "init"]);
        command
    }

    fn namespaces(&self) -> bool {
        let empty = self.place.join("empty");
        fs::write(&empty, "").expect("a script");
        self.apart().arg(empty).status().is_ok_and(|status| status.success())
    }

    /// Each block is a file, sourced by one shell; empty lines before it make its line numbers those of the page. Its
    /// last command marks that its end was reached.
    fn script(&self, blocks: &[Block]) -> PathBuf {
        let mut script = String::new();
        let (begun, ended) = (self.place.join("begun"), self.place.join("ended"));
        for Block { line, text } in blocks {
            let file = self.place.join(format!("block-{line}"));
            let end = format!("command echo {line} >>'{}'\n", ended.display());
            fs::write(&file, "\n".repeat(line - 1) + text + &end).expect("a script");
            let (begun, file) = (begun.display(), file.display());
            let _ = writeln!(script, "{BEGIN}echo {line} >'{begun}'; echo \"{}\"; . '{file}'", self.heading(*line));
        }
        let all = self.place.join("script");
        fs::write(&all, script).expect("a script");
        all
    }

    /// The line of the log before what a block prints.
    fn heading(&self, line: usize) -> String {
        format!("--- {}:{line}", self.page)
    }

    fn run(&self, blocks: &[Block], limit: Duration) {
        let script = self.script(blocks);
        let log = fs::File::create(self.place.join("log")).expect("a log");
        let mut command = self.apart();
        command.arg(script).stdout(log.try_clone().expect("a log")).stderr(log);
        let mut child = ChildGuard::spawn(&mut command).expect("unshare");
        let (mut current, mut begun) = (String::new(), Instant::now());
        while child.is_running() {
            let latest = fs::read_to_string(self.place.join("begun")).unwrap_or_default();
            if latest != current {
                (current, begun) = (latest, Instant::now());
            }
            let (is_late, is_long) = (begun.elapsed() > limit, self.printed() > LOG_LIMIT);
            if is_late || is_long {
                child.kill();
                let why = if is_late { format!("did not end within {limit:?}") } else { "printed too much".to_owned() };
                panic!("{}:{}: the block {why}\n{}", self.page, current.trim(), self.output(TAIL));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = child.wait();
        assert!(status.success(), "a block of {} failed, {status}\n{}", self.page, self.output(TAIL));
        assert!(self.printed() <= LOG_LIMIT, "a block of {} printed too much\n{}", self.page, self.output(TAIL));
        self.reached(blocks);
    }

    /// Every block came to its end, or the one that did not said what it skips.
    fn reached(&self, blocks: &[Block]) {
        let ended = fs::read_to_string(self.place.join("ended")).unwrap_or_default();
        let has_ended = |block: &&Block| ended.lines().any(|line| line == block.line.to_string());
        let Some(block) = blocks.iter().find(|block| !has_ended(block)) else { return };
        let log = self.output(LOG_LIMIT);
        let printed = log.split_once(&self.heading(block.line)).map_or("", |(_, printed)| printed);
        let says_so = printed.lines().any(|line| line.starts_with("skipped: "));
        let all = self.output(TAIL);
        assert!(says_so, "{}:{}: the block ended before its last line\n{all}", self.page, block.line);
    }

    /// How much the blocks printed.
    fn printed(&self) -> u64 {
        fs::metadata(self.place.join("log")).map_or(0, |log| log.len())
    }

    /// What the blocks printed: the last bytes of it.
    fn output(&self, most: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut log) = fs::File::open(self.place.join("log")) {
            let _ = log.seek(SeekFrom::Start(self.printed().saturating_sub(most)));
            let _ = log.take(most).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(2);

    /// The message of a run that fails, `None` of one that succeeds. Without namespaces nothing runs.
    fn outcome(text: &str) -> Option<String> {
        let root = TempPath::new("page-root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("page.md"), text).unwrap();
        let failed = std::panic::catch_unwind(|| run(&root, "page.md", &root, SHORT)).err()?;
        Some(failed.downcast_ref::<String>().unwrap().clone())
    }

    fn can_run() -> bool {
        let root = TempPath::new("page-root");
        let can = Shell::new(&root, "page.md", &root);
        fs::create_dir(&root).unwrap();
        can.namespaces() || {
            skip("the runner of pages: no namespaces here");
            false
        }
    }

    #[test]
    fn the_needs_of_a_page_are_found() {
        assert_eq!(needs("<!-- needs: root qemu -->\n<!-- needs: python3:cv2 -->"), ["root", "qemu", "python3:cv2"]);
    }

    #[test]
    fn blocks_run_in_one_shell_apart_from_the_machine() {
        let name = format!("/dev/shm/shm2-test-page-{}", std::process::id());
        let page = format!(
            "```sh\nvalue=7; cat /dev/zero >/dev/null &\necho >{name}\n```\n\n```sh\ntest $value = 7\nkill $!\n```\n"
        );
        assert_eq!(outcome(&page), None);
        assert!(!Path::new(&name).exists());
    }

    #[test]
    fn a_command_that_fails_is_named_with_its_line_and_output() {
        if can_run() {
            let message = outcome("# Title\n\n```sh\necho seen\nls /nowhere-$((1 + 1))\necho unseen\n```\n").unwrap();
            assert!(message.contains("page.md:5: code 2 of: ls /nowhere-$((1 + 1))"), "{message}");
            assert!(message.contains("\nseen\n") && !message.contains("\nunseen"), "{message}");
        }
    }

    #[test]
    fn a_block_that_does_not_end_is_killed_with_all_it_started() {
        if can_run() {
            let mark = format!("{}.5", 7_000_000 + std::process::id());
            let message = outcome(&format!("```sh\nsleep {mark} &\nsleep {mark}\n```\n")).unwrap();
            assert!(message.contains("page.md:2: the block did not end"), "{message}");
            let is_left = || {
                let processes = fs::read_dir("/proc").unwrap().flatten();
                processes.map(|p| fs::read(p.path().join("cmdline")).unwrap_or_default()).any(|line| {
                    String::from_utf8_lossy(&line).starts_with("sleep\0")
                        && String::from_utf8_lossy(&line).contains(&mark)
                })
            };
            crate::until("all is killed", || !is_left());
        }
    }

    #[test]
    fn a_block_that_ends_the_shell_before_its_end_is_an_error() {
        if !can_run() {
            return;
        }
        for (first, line) in [("exit 0", 2), ("exec true", 2), ("return 0\nfalse", 2), ("cat <<END", 2)] {
            let message = outcome(&format!("```sh\n{first}\n```\n```sh\ntrue\n```\n")).unwrap();
            assert!(message.contains(&format!("page.md:{line}: the block ended before")), "{first}: {message}");
        }
        let message = outcome("```sh\ntrap 'exit 0' EXIT\n```\n```sh\nfalse\n```\n").unwrap();
        assert!(message.contains("page.md:5: the block ended before"), "{message}");
        // It says so; and only what the block itself says counts.
        assert_eq!(outcome("```sh\necho 'skipped: no camera'; exit 0\n```\n```sh\nfalse\n```\n"), None);
        let message = outcome("```sh\necho 'skipped: a part'\n```\n```sh\nexit 0\n```\n").unwrap();
        assert!(message.contains("page.md:5: the block ended before"), "{message}");
    }

    #[test]
    fn a_block_does_not_hide_failures_of_those_after_it() {
        if can_run() {
            for (first, second) in
                [("set +e", "false"), ("trap - ERR; set +eE +o pipefail", "false | cat"), ("true", "false | cat")]
            {
                let message = outcome(&format!("```sh\n{first}\n```\n```sh\n{second}\ntrue\n```\n")).unwrap();
                assert!(message.contains("page.md:5: code 1 of: "), "{first}: {message}");
            }
        }
    }

    #[test]
    fn a_block_that_prints_without_end_is_killed_at_once() {
        if can_run() {
            let message = outcome("```sh\nyes\n```\n").unwrap();
            assert!(message.contains("page.md:2: the block printed too much"), "{}", message.len());
            assert!(message.len() < 2 * TAIL as usize, "{}", message.len());
        }
    }

    #[test]
    fn a_page_that_needs_what_is_missing_is_not_run() {
        assert_eq!(outcome("<!-- needs: no-such-program -->\n```sh\nfalse\n```\n"), None);
    }
}
