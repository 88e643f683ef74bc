//! A running guest: scripts are run in it through a shared folder, and QEMU pauses and resets it.

use super::Place;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Without KVM a start takes some ten seconds, and more on a busy machine.
const START: Duration = Duration::from_secs(180);

/// Memory that the guest shares: an ivshmem device.
#[derive(Clone)]
pub struct Memory {
    pub file: PathBuf,
    pub mib: u32,
    pub readonly: bool,
}

/// Ended when dropped.
pub struct Guest {
    name: &'static str,
    child: Child,
    /// Where scripts go in and outputs come out.
    talk: PathBuf,
    next: u32,
}

/// A script that the guest runs.
pub struct Running {
    number: u32,
}

impl Guest {
    /// Starts a guest. An error is what QEMU, or the guest's console, said.
    pub fn boot(place: &Place, name: &'static str, memories: &[Memory]) -> Result<Self, String> {
        let talk = place.folder.join(format!("talk-{}", name.replace(' ', "-")));
        let failed = |e: std::io::Error| format!("{}: {e}", talk.display());
        let _ = fs::remove_dir_all(&talk);
        fs::create_dir_all(&talk).map_err(failed)?;
        let console = fs::File::create(talk.join("console")).map_err(failed)?;
        let errors = console.try_clone().map_err(failed)?;
        let mut qemu = command(place, &talk, memories);
        let child = qemu.stdin(Stdio::null()).stdout(console).stderr(errors).spawn();
        let child = child.map_err(|e| format!("qemu: {e}"))?;
        let mut guest = Self { name, child, talk, next: 1 };
        guest.wait_up()?;
        Ok(guest)
    }

    fn wait_up(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while !self.talk.join("up").exists() {
            if begun.elapsed() > START || self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                let console = fs::read_to_string(self.talk.join("console")).unwrap_or_default();
                return Err(format!("the guest does not start: {console}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("vm: {} is up after {:.1} s", self.name, begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Runs a script, and returns what it printed. An exit code other than 0 is an error.
    pub fn run(&mut self, script: &str, limit: Duration) -> Result<String, String> {
        let running = self.start(script)?;
        self.finish(&running, limit)
    }

    /// Puts a kernel module in, before the next script.
    pub fn insert(&mut self, module: &Path) -> Result<(), String> {
        let copied = fs::copy(module, self.talk.join(format!("{}.ko", self.next)));
        copied.map(drop).map_err(|e| format!("{}: {e}", module.display()))
    }

    /// Begins to run a script; the next one begins after it.
    pub fn start(&mut self, script: &str) -> Result<Running, String> {
        let number = self.next;
        self.next += 1;
        let file = self.talk.join(format!("{number}.sh"));
        let new = file.with_extension("new");
        let text = format!("{PRELUDE}\n{script}");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
        written.map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(Running { number })
    }

    /// Waits for the end of a script.
    pub fn finish(&mut self, running: &Running, limit: Duration) -> Result<String, String> {
        let file = |kind: &str| self.talk.join(format!("{}.{kind}", running.number));
        let output = || fs::read_to_string(file("out")).unwrap_or_default();
        let begun = Instant::now();
        loop {
            match fs::read_to_string(file("rc")).ok().as_deref().map(str::trim) {
                Some("0") => return Ok(output()),
                Some(code) => return Err(format!("{}: exit code {code}: {}", self.name, output())),
                None if begun.elapsed() > limit => {
                    return Err(format!("{}: no end within {limit:?}: {}", self.name, output()));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Stops its processors.
    pub fn pause(&self) -> Result<(), String> {
        self.monitor("stop")
    }

    /// Lets them go on.
    pub fn resume(&self) -> Result<(), String> {
        self.monitor("cont")
    }

    /// Presses the reset button, and waits until it is up again. A script that was under way is gone.
    pub fn reset(&mut self) -> Result<(), String> {
        let _ = fs::remove_file(self.talk.join("up"));
        for number in 1..self.next {
            let code = self.talk.join(format!("{number}.rc"));
            if !code.exists() {
                fs::write(&code, "reset").map_err(|e| format!("{}: {e}", code.display()))?;
            }
        }
        self.monitor("system_reset")?;
        self.wait_up()
    }

    /// One command for QEMU's monitor, in its JSON protocol.
    fn monitor(&self, what: &str) -> Result<(), String> {
        let failed = |e: std::io::Error| format!("QEMU's monitor: {e}");
        let mut socket = UnixStream::connect(self.talk.join("qmp")).map_err(failed)?;
        socket.set_read_timeout(Some(Duration::from_secs(20))).map_err(failed)?;
        let mut lines = BufReader::new(socket.try_clone().map_err(failed)?).lines();
        // The greeting, then an answer to each command; events come in between.
        lines.next().transpose().map_err(failed)?;
        for command in ["qmp_capabilities", what] {
            writeln!(socket, "{{\"execute\":\"{command}\"}}").map_err(failed)?;
            let answer = lines.by_ref().map_while(Result::ok).find(|line| !line.contains("\"event\""));
            match answer {
                Some(line) if line.contains("\"return\"") => {}
                other => return Err(format!("QEMU's monitor on {command}: {other:?}")),
            }
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // `timeout`, which passes this signal on; one that cannot be caught would leave QEMU behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// What every script finds.
const PRELUDE: &str = r#"export PATH=/usr/bin:/bin HOME=/tmp GST_PLUGIN_PATH=/tmp/plugins GST_REGISTRY=/tmp/registry
cd /tmp/built
if [ ! -e /tmp/registry ]; then
  mkdir -p /tmp/plugins; ln -s /tmp/built/libgstshm2.so /tmp/plugins; cp /var/cache/shm2-registry /tmp/registry
  gst-inspect-1.0 shm2src > /dev/null
fi
export GST_REGISTRY_UPDATE=no"#;

fn command(place: &Place, talk: &Path, memories: &[Memory]) -> Command {
    let share = |path: &Path, tag: &str, mode: &str| {
        format!("local,path={},mount_tag={tag},security_model=none{mode},multidevs=remap", path.display())
    };
    let mut qemu = Command::new("timeout");
    qemu.args(["900", "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1024"]);
    qemu.args(["-nodefaults", "-display", "none", "-serial", "stdio"]);
    qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", talk.join("qmp").display()));
    qemu.arg("-kernel").arg(&place.kernel).arg("-initrd").arg(place.folder.join("initrd"));
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 vivid.n_devs=1"]);
    qemu.args(["-virtfs", &share(&place.tree, "tree", ",readonly=on")]);
    qemu.args(["-virtfs", &share(&place.built, "built", ",readonly=on"), "-virtfs", &share(talk, "talk", "")]);
    for (index, Memory { file, mib, readonly }) in memories.iter().enumerate() {
        let readonly = if *readonly { ",readonly=on" } else { "" };
        let file = file.display();
        qemu.arg("-object")
            .arg(format!("memory-backend-file,id=shm{index},share=on{readonly},mem-path={file},size={mib}M"));
        qemu.arg("-device").arg(format!("ivshmem-plain,memdev=shm{index}"));
    }
    qemu
}
