//! Chromium without a window, driven by messages of its debugging protocol through two named pipes: each message ends
//! with a zero byte.

use crate::{ChildGuard, LIMIT, Signal, until};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A browser with one page. It ends when this is dropped.
pub struct Browser {
    to: File,
    from: Receiver<Value>,
    last: u64,
    session: Option<String>,
    child: ChildGuard,
}

impl Browser {
    /// Starts `program` by the shell `sh`, a command with what the browser needs in its environment, and opens an empty
    /// page. The pipes and the profile are made in `folder`. `None` when the browser does not run here.
    ///
    /// # Panics
    /// When the pipes cannot be made.
    pub fn start(mut sh: Command, program: &str, folder: &Path, options: &[&str]) -> Option<Self> {
        let pipes = ["to", "from"].map(|name| folder.join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().expect("mkfifo").success());
        // Open for both directions, so that no side waits for the other to open it.
        let open = |pipe| OpenOptions::new().read(true).write(true).open(pipe).expect("the named pipe");
        let [to, from] = pipes.each_ref().map(open);
        sh.args(["-c", "exec \"$@\" 3<\"$0/to\" 4>\"$0/from\""]).arg(folder).arg(program);
        sh.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]).args(options);
        sh.arg(format!("--user-data-dir={}", folder.join("profile").display())).arg("about:blank");
        sh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = ChildGuard::spawn(&mut sh).expect("a shell");
        let mut browser = Self { to, from: messages(from), last: 0, session: None, child };
        if !browser.answers() {
            // It takes no messages, as that which ends it.
            browser.child.signal(Signal::KILL);
            return None;
        }
        let target = browser.send("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.send("Target.attachToTarget", attach)["sessionId"].as_str().map(str::to_owned);
        Some(browser)
    }

    /// Whether it answers at all.
    fn answers(&mut self) -> bool {
        self.to.write_all(b"{\"id\":0,\"method\":\"Browser.getVersion\"}\0").expect("the named pipe");
        self.from.recv_timeout(LIMIT).is_ok()
    }

    /// Sends a message of the protocol; its result.
    ///
    /// # Panics
    /// When the browser does not answer in time, or with an error.
    pub fn send(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the named pipe");
        loop {
            let mut answer = self.from.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no answer to {method}"));
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Opens a page.
    pub fn visit(&mut self, url: &str) {
        self.send("Page.navigate", json!({"url": url}));
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        self.send("Runtime.evaluate", parameters)["result"]["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends its helper processes as well.
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        if !std::thread::panicking() {
            until("the browser ends", || !self.child.is_running());
        }
    }
}

fn messages(pipe: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(pipe).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { continue };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}
