//! Programs on the host, which run beside the guests.

use super::super::GuestFiles;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xtask::Outcome;

pub struct Host<'a>(pub &'a GuestFiles);

/// A running program of the host; killed when dropped.
pub struct Program {
    child: Child,
    name: String,
    /// Reads the program's output, so that the program never blocks on it.
    output: Option<JoinHandle<String>>,
}

impl Host<'_> {
    /// Starts one of the programs.
    pub fn start(&self, program: &str, arguments: &str) -> Result<Program, String> {
        let mut command = Command::new(self.0.built.join(program));
        command.args(arguments.split_whitespace());
        spawn(command, &format!("{program} {arguments}"))
    }

    /// Starts a pipeline.
    pub fn launch(&self, pipeline: &str) -> Result<Program, String> {
        let mut command = Command::new("gst-launch-1.0");
        command.arg("-q").args(pipeline.split_whitespace()).env("GST_PLUGIN_PATH", &self.0.built);
        spawn(command, "gst-launch-1.0")
    }
}

fn spawn(mut command: Command, name: &str) -> Result<Program, String> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child = child.map_err(|e| format!("{name}: {e}"))?;
    let stdout = child.stdout.take();
    let output = std::thread::spawn(move || {
        let mut text = String::new();
        // After an error the text has what was read before it.
        let _ = stdout.map(|mut stdout| stdout.read_to_string(&mut text));
        text
    });
    Ok(Program { child, name: name.to_owned(), output: Some(output) })
}

impl Program {
    /// Closes the program's input, at which a peer ends.
    pub fn without_input(mut self) -> Self {
        drop(self.child.stdin.take());
        self
    }
}

/// Waits for the program's end, and returns its output.
pub fn finish(mut program: Program, limit: Duration) -> Result<String, String> {
    let begun = Instant::now();
    let status = loop {
        match program.child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < limit => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => return Err(format!("{}: no end within {limit:?}", program.name)),
            Err(error) => return Err(format!("{}: {error}", program.name)),
        }
    };
    let text = program.output.take().and_then(|output| output.join().ok()).unwrap_or_default();
    if status.success() { Ok(text) } else { Err(format!("{}: {status}: {text}", program.name)) }
}

/// Ends the program by SIGKILL.
pub fn kill(mut program: Program) -> Outcome {
    program.child.kill().and_then(|()| program.child.wait()).map_err(|e| format!("{}: {e}", program.name))?;
    Ok(())
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number of a summary in JSON, or of counts as `name=number`; 0 when it is not there. The last one counts.
pub fn field(text: &str, name: &str) -> u64 {
    let after =
        [format!("\"{name}\":"), format!("{name}=")].iter().filter_map(|key| text.rsplit_once(key.as_str())).next();
    let digits = after.map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
