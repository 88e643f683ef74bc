//! The tutorials that need a guest: their blocks for the host and for the guest run here as they stand there, in their
//! order. Only the names of the files on the host are those of this rig's devices.

use super::GuestFiles;
use super::guest::Guest;
use super::memory::BackingFiles;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use xtask::Outcome;
use xtask::run::root;

const VIRTUAL_MACHINE: &str = "docs/tutorials/virtual-machine.md";
const V4L2: &str = "docs/tutorials/v4l2.md";
/// Longest time of one block. Programs start slowly in a guest.
const LIMIT: Duration = Duration::from_secs(180);

/// Where a block runs, and its text.
#[derive(Debug, PartialEq)]
enum Block {
    Host(String),
    Guest(String),
}

/// The tutorial of virtual machines.
pub fn virtual_machine(files: &GuestFiles, backing: &BackingFiles, guest: &mut Guest) -> Outcome {
    let page = read(VIRTUAL_MACHINE)?.replace("/dev/shm/camera", &backing.main.display().to_string());
    run(VIRTUAL_MACHINE, &page.replace("/dev/shm/screen", &backing.side.display().to_string()), files, guest)
}

/// The tutorial of V4L2, in a guest with a camera and a device of v4l2loopback.
pub fn v4l2(files: &GuestFiles, guest: &mut Guest) -> Outcome {
    run(V4L2, &read(V4L2)?, files, guest)
}

fn read(page: &str) -> Result<String, String> {
    std::fs::read_to_string(root().join(page)).map_err(|e| format!("{page}: {e}"))
}

/// Runs the blocks of a page with this text.
fn run(page: &str, text: &str, files: &GuestFiles, guest: &mut Guest) -> Outcome {
    let blocks = blocks(text);
    if blocks.len() < 4 {
        return Err(format!("{page} has only {} blocks for host and guest", blocks.len()));
    }
    let mut host = Host::new(files)?;
    for block in &blocks {
        let output = match block {
            Block::Host(text) => host.run(text)?,
            Block::Guest(text) => guest.run(&format!("PATH=$PATH:/tmp/built\ncd /tmp\nset -e\n{text}"), LIMIT)?,
        };
        print!("{}", output.lines().map(|line| format!("vm: tutorial: {line}\n")).collect::<String>());
    }
    guest.run("pkill gst-launch; pkill shm2_relayd; true", LIMIT).map(drop)
}

/// The blocks that are fenced as `sh,host` and `sh,guest`.
fn blocks(page: &str) -> Vec<Block> {
    let fenced = page.split("```sh,").skip(1).filter_map(|rest| rest.split_once("\n```"));
    let block = |(block, _): (&str, &str)| match block.split_once('\n')? {
        ("host", text) => Some(Block::Host(text.to_owned())),
        ("guest", text) => Some(Block::Guest(text.to_owned())),
        _ => None,
    };
    fenced.filter_map(block).collect()
}

/// Runs blocks on the host. What a block leaves in the background runs until this is dropped.
struct Host<'a> {
    files: &'a GuestFiles,
    /// Where they write.
    folder: PathBuf,
    groups: Vec<Child>,
}

impl<'a> Host<'a> {
    fn new(files: &'a GuestFiles) -> Result<Self, String> {
        let folder = files.folder.join("tutorial");
        // Of the last run; there may be none.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Self { files, folder, groups: Vec::new() })
    }

    fn run(&mut self, text: &str) -> Result<String, String> {
        let log = self.folder.join(format!("log-{}", self.groups.len()));
        let failed = |e: std::io::Error| format!("{}: {e}", log.display());
        let file = File::create(&log).map_err(failed)?;
        let built = self.files.built.display();
        let mut bash = Command::new("bash");
        bash.args(["-ec", text]).env("GST_PLUGIN_PATH", &self.files.built).process_group(0);
        bash.current_dir(&self.folder);
        bash.env("PATH", format!("{built}:{}", std::env::var("PATH").unwrap_or_default()));
        bash.stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(file);
        self.groups.push(bash.spawn().map_err(|e| format!("bash: {e}"))?);
        let (begun, mut ended) = (Instant::now(), None);
        while ended.is_none() && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(20));
            ended = self.groups.last_mut().and_then(|child| child.try_wait().ok().flatten());
        }
        let output = std::fs::read_to_string(&log).map_err(failed)?;
        match ended {
            Some(status) if status.success() => Ok(output),
            Some(status) => Err(format!("{text}{status}: {output}")),
            None => Err(format!("{text}no end within {LIMIT:?}: {output}")),
        }
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        for group in &mut self.groups {
            // The group's leader may have ended; what it left in the background has not.
            let _ =
                Command::new("kill").args(["-KILL", "--", &format!("-{}", group.id())]).stderr(Stdio::null()).status();
            let _ = group.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_of_host_and_guest_are_found() {
        let page = "```sh,host\na &\n```\n```sh\nno\n```\n```sh,ignore\nno\n```\n```sh,guest\nb\nc\n```\n";
        assert_eq!(blocks(page), [Block::Host("a &".into()), Block::Guest("b\nc".into())]);
    }
}
