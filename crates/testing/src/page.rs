//! Runs the `sh` blocks of a page, as a reader does who types them into one shell.
//!
//! The shell starts in the project's root. It has a `/dev/shm`, a network with only loopback, and process numbers of its
//! own: pages run at the same time with the same names and ports, and nothing that a block starts outlives its page.
//! `mktemp` makes files below a directory that is removed.

use crate::{ChildGuard, TempPath, skip};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time of one block.
pub const BLOCK_LIMIT: Duration = Duration::from_secs(60);

/// The shell of a page: fails at the first command that fails, and says which.
const BEGIN: &str = r#"set -eE
trap 'echo "$PAGE:$LINENO: code $? of: $BASH_COMMAND"' ERR
"#;
/// The first process of the namespaces; its end is the end of all others.
const INIT: &str = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm && ip link set lo up || exit 99
bash \"$1\"
exit $?";

/// A block that is fenced as `sh`, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Line of the page with its first command.
    pub line: usize,
    /// Its lines, without the indentation that the fence has.
    pub text: String,
}

/// The `sh` blocks of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    // The open fence: how far it is indented, and its block, if that is one of ours.
    let mut open: Option<(usize, Option<Block>)> = None;
    for (number, line) in (1..).zip(page.lines()) {
        let fence = line.trim_start().strip_prefix("```").map(str::trim);
        match (&mut open, fence) {
            (None, Some(kind)) => {
                let block = (kind == "sh").then(|| Block { line: number + 1, text: String::new() });
                open = Some((line.len() - line.trim_start().len(), block));
            }
            (Some((_, block)), Some("")) => {
                found.extend(block.take());
                open = None;
            }
            (Some((indent, Some(block))), _) => {
                let _ = writeln!(block.text, "{}", line.get(*indent..).unwrap_or_default());
            }
            _ => {}
        }
    }
    found
}

/// What a page needs: the words of its comments `<!-- needs: … -->`. A word is `root`, a program, or a module of a
/// Python, as in `python3:numpy`.
pub fn needs(page: &str) -> Vec<&str> {
    let comments = page.split("<!-- needs:").skip(1).filter_map(|rest| rest.split_once("-->"));
    comments.flat_map(|(words, _)| words.split_whitespace()).collect()
}

/// Runs the blocks of `page`, a path below `root`, with the programs and the plugin of the folder `built`.
///
/// # Panics
/// When a command of a block fails, or a block does not end within `limit`: with the page, the line, the command, and
/// all that the blocks printed.
pub fn run(root: &Path, page: &str, built: &Path, limit: Duration) {
    let text = fs::read_to_string(root.join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "{page} has no sh block");
    let shell = Shell::new(root, page, built);
    if let Some(missing) = needs(&text).into_iter().find(|need| !shell.has(need)) {
        return skip(&format!("the blocks of {page}: there is no {missing}"));
    }
    if !shell.namespaces() {
        return skip(&format!("the blocks of {page}: neither root nor a user may make namespaces here (unshare)"));
    }
    shell.run(&blocks, limit);
    for line in shell.output().lines().filter_map(|line| line.strip_prefix("skipped: ")) {
        skip(&format!("{page}: {line}"));
    }
}

struct Shell<'a> {
    root: &'a Path,
    page: &'a str,
    built: &'a Path,
    /// What is written goes here; removed at the end.
    place: TempPath,
}

impl<'a> Shell<'a> {
    fn new(root: &'a Path, page: &'a str, built: &'a Path) -> Self {
        let place = TempPath::new("page");
        fs::create_dir_all(place.join("run")).expect("a temporary directory");
        Self { root, page, built, place }
    }

    fn command(&self, program: &str) -> Command {
        let target = self.built.parent().unwrap_or(self.built);
        let old = std::env::var_os("PATH").unwrap_or_default();
        let first = [self.built.to_owned(), target.join("python-venv/bin")];
        let path = std::env::join_paths(first.into_iter().chain(std::env::split_paths(&old))).expect("a PATH");
        let mut command = Command::new(program);
        command.current_dir(self.root).env("PATH", path).env("PAGE", self.page).env_remove("BASH_ENV");
        command.env("GST_PLUGIN_PATH", self.built).env("GST_REGISTRY", target.join("pages-registry.bin"));
        command.env("TMPDIR", &*self.place).env("XDG_RUNTIME_DIR", self.place.join("run"));
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

    /// Each block is a file, sourced by one shell; empty lines before it make its line numbers those of the page.
    fn script(&self, blocks: &[Block]) -> PathBuf {
        let mut script = BEGIN.to_owned();
        for Block { line, text } in blocks {
            let file = self.place.join(format!("block-{line}"));
            fs::write(&file, "\n".repeat(line - 1) + text).expect("a script");
            let (begun, file) = (self.place.join("begun"), file.display());
            let _ = writeln!(script, "echo {line} >'{}'; echo \"--- $PAGE:{line}\"; . '{file}'", begun.display());
        }
        let all = self.place.join("script");
        fs::write(&all, script).expect("a script");
        all
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
            if begun.elapsed() > limit {
                child.kill();
                let line = current.trim();
                panic!("{}:{line}: the block did not end within {limit:?}\n{}", self.page, self.output());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = child.wait();
        assert!(status.success(), "a block of {} failed, {status}\n{}", self.page, self.output());
    }

    /// What the blocks printed.
    fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.place.join("log")).unwrap_or_default()).into_owned()
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
    fn only_blocks_of_sh_are_found_with_their_lines() {
        let page =
            "a\n```sh\necho 1\n```\n```console\n$ no\n```\n- b\n  ```sh\n  echo 2\n  ```\n```sh,ignore\nno\n```\n";
        let found = [Block { line: 3, text: "echo 1\n".into() }, Block { line: 10, text: "echo 2\n".into() }];
        assert_eq!(blocks(page), found);
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
    fn a_page_that_needs_what_is_missing_is_not_run() {
        assert_eq!(outcome("<!-- needs: no-such-program -->\n```sh\nfalse\n```\n"), None);
    }
}
