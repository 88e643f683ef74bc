//! A running guest: the host runs commands in it through a shared folder, and QEMU pauses and resets it.

use super::GuestFiles;
use crate::commands::{bounded, rig_file};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use xtask::Outcome;

/// Without KVM a start takes some ten seconds, and more on a busy machine.
const START: Duration = Duration::from_secs(180);

/// An ivshmem device of a guest.
#[derive(Clone)]
pub struct Device {
    /// Its backing file on the host.
    pub file: PathBuf,
    pub mib: u32,
    pub readonly: bool,
}

/// A guest; ended when dropped.
pub struct Guest {
    name: &'static str,
    child: Child,
    /// The folder that host and guest share: commands go in, outputs and exit codes come out.
    exchange: PathBuf,
    /// Number of the next command.
    next: u32,
}

/// A command that the guest runs.
pub struct RunningCommand {
    number: u32,
}

impl Guest {
    /// Starts a guest. An error has the output of QEMU and of the guest's console.
    pub fn boot(files: &GuestFiles, name: &'static str, devices: &[Device]) -> Result<Self, String> {
        let exchange = files.folder.join(format!("exchange-{}", name.replace(' ', "-")));
        let failed = |e: std::io::Error| format!("{}: {e}", exchange.display());
        let _ = fs::remove_dir_all(&exchange);
        fs::create_dir_all(&exchange).map_err(failed)?;
        let console = fs::File::create(exchange.join("console")).map_err(failed)?;
        let errors = console.try_clone().map_err(failed)?;
        let mut command = qemu(files, &exchange, devices);
        let child = command.stdin(Stdio::null()).stdout(console).stderr(errors).spawn();
        let child = child.map_err(|e| format!("qemu: {e}"))?;
        let mut guest = Self { name, child, exchange, next: 1 };
        guest.wait_until_up()?;
        Ok(guest)
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while !self.exchange.join("up").exists() {
            if begun.elapsed() > START || self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                let console = fs::read_to_string(self.exchange.join("console")).unwrap_or_default();
                return Err(format!("the guest does not start: {console}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("vm: {} is up after {:.1} s", self.name, begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Runs a command of bash, and returns its output. An exit code other than 0 is an error. The scripts of
    /// `rigs/vm/guest` are in the guest's `PATH`.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<String, String> {
        let running = self.start(command)?;
        self.finish(&running, limit)
    }

    /// Inserts a kernel module before the next command.
    pub fn insert(&mut self, module: &Path, parameters: &str) -> Result<(), String> {
        let next = |extension| self.exchange.join(format!("{}.{extension}", self.next));
        let copied = fs::copy(module, next("ko")).and_then(|_| fs::write(next("parameters"), parameters));
        copied.map_err(|e| format!("{}: {e}", module.display()))
    }

    /// Starts a command; the next one starts when it has ended.
    pub fn start(&mut self, command: &str) -> Result<RunningCommand, String> {
        let number = self.next;
        self.next += 1;
        let file = self.exchange.join(format!("{number}.sh"));
        let new = file.with_extension("new");
        let text = format!(". /tmp/scripts/prelude.sh\n{command}\n");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
        written.map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(RunningCommand { number })
    }

    /// Waits for the end of a command, and returns its output.
    pub fn finish(&mut self, running: &RunningCommand, limit: Duration) -> Result<String, String> {
        let begun = Instant::now();
        loop {
            match self.ended(running) {
                Some(result) => return result,
                None if begun.elapsed() > limit => return Err(self.late("no end", running, limit)),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits until a running command has printed `text`.
    pub fn wait_for_output(&mut self, running: &RunningCommand, text: &str, limit: Duration) -> Outcome {
        let begun = Instant::now();
        while !self.output(running).contains(text) {
            if let Some(result) = self.ended(running) {
                return Err(format!("{}: ended without {text:?}: {result:?}", self.name));
            }
            if begun.elapsed() > limit {
                return Err(self.late(&format!("no {text:?}"), running, limit));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The output of a command that has ended; an exit code other than 0 is an error.
    fn ended(&self, running: &RunningCommand) -> Option<Result<String, String>> {
        let code = fs::read_to_string(self.exchange.join(format!("{}.rc", running.number))).ok()?;
        let output = self.output(running);
        Some(match code.trim() {
            "0" => Ok(output),
            code => Err(format!("{}: exit code {code}: {output}", self.name)),
        })
    }

    /// What a command has printed until now.
    fn output(&self, running: &RunningCommand) -> String {
        fs::read_to_string(self.exchange.join(format!("{}.out", running.number))).unwrap_or_default()
    }

    fn late(&self, what: &str, running: &RunningCommand, limit: Duration) -> String {
        format!("{}: {what} within {limit:?}: {}", self.name, self.output(running))
    }

    /// Stops the guest's processors.
    pub fn pause(&self) -> Result<(), String> {
        self.monitor("stop")
    }

    /// Continues after [`pause`](Self::pause).
    pub fn resume(&self) -> Result<(), String> {
        self.monitor("cont")
    }

    /// Resets the guest, as its reset button does, and waits until it is up again. A running command is lost.
    pub fn reset(&mut self) -> Result<(), String> {
        let _ = fs::remove_file(self.exchange.join("up"));
        for number in 1..self.next {
            let code = self.exchange.join(format!("{number}.rc"));
            if !code.exists() {
                fs::write(&code, "reset").map_err(|e| format!("{}: {e}", code.display()))?;
            }
        }
        self.monitor("system_reset")?;
        self.wait_until_up()
    }

    /// One command for QEMU's monitor, in its JSON protocol.
    fn monitor(&self, what: &str) -> Result<(), String> {
        let failed = |e: std::io::Error| format!("QEMU's monitor: {e}");
        let mut socket = UnixStream::connect(self.exchange.join("qmp")).map_err(failed)?;
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
        // The child is `timeout`, which passes this signal on to QEMU. It could not pass on SIGKILL.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn qemu(files: &GuestFiles, exchange: &Path, devices: &[Device]) -> Command {
    let share = |path: &Path, tag: &str, mode: &str| {
        format!("local,path={},mount_tag={tag},security_model=none{mode},multidevs=remap", path.display())
    };
    let mut qemu = bounded(1800, "qemu-system-x86_64");
    qemu.args(["-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1024"]);
    qemu.args(["-nodefaults", "-display", "none", "-serial", "stdio"]);
    qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", exchange.join("qmp").display()));
    qemu.arg("-kernel").arg(&files.kernel).arg("-initrd").arg(files.folder.join("initrd"));
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 vivid.n_devs=1"]);
    qemu.args(["-virtfs", &share(&files.tree, "tree", ",readonly=on")]);
    qemu.args(["-virtfs", &share(&files.built, "built", ",readonly=on")]);
    qemu.args(["-virtfs", &share(&rig_file("vm/guest"), "scripts", ",readonly=on")]);
    qemu.args(["-virtfs", &share(exchange, "exchange", "")]);
    for (index, Device { file, mib, readonly }) in devices.iter().enumerate() {
        let readonly = if *readonly { ",readonly=on" } else { "" };
        let file = file.display();
        qemu.arg("-object")
            .arg(format!("memory-backend-file,id=shm{index},share=on{readonly},mem-path={file},size={mib}M"));
        qemu.arg("-device").arg(format!("ivshmem-plain,memdev=shm{index}"));
    }
    qemu
}
