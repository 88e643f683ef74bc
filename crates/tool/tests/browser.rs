//! The page of `shm2 serve` in a browser without a window.

#![cfg(unix)]

mod common;

use common::begin;
use common::http::served;
use serde_json::{Value, json};
use shm2::{FrameInfo, Producer};
use shm2_testing::{ChildGuard, LIMIT, TempPath, TempRegion, skip, until};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A browser that is driven by messages of its debugging protocol through two named pipes: each ends with a zero byte.
struct Browser {
    to: File,
    from: Receiver<Value>,
    last: u64,
    session: Option<String>,
    is_running: bool,
    _child: ChildGuard,
    _folder: TempPath,
}

impl Browser {
    /// Why there is none, on a machine without a browser, or where it does not run.
    fn start() -> Result<Self, &'static str> {
        let name = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| is_installed(name));
        let name = name.ok_or("no chromium: the page of shm2 serve is not opened in a browser")?;
        let folder = TempPath::new("browser");
        std::fs::create_dir(&folder).unwrap();
        let pipes = ["to", "from"].map(|name| folder.join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // Open for both directions, so that no side waits for the other to open it.
        let [to, from] = pipes.each_ref().map(|pipe| OpenOptions::new().read(true).write(true).open(pipe).unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<\"$0/to\" 4>\"$0/from\"", folder.text(), name]);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]);
        command.arg(format!("--user-data-dir={}", folder.join("profile").display())).arg("about:blank");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = ChildGuard::spawn(&mut command).unwrap();
        let from = messages(from);
        let mut browser = Self { to, from, last: 0, session: None, is_running: false, _child: child, _folder: folder };
        browser.is_running = browser.answers();
        if !browser.is_running {
            return Err("chromium does not run here: the page of shm2 serve is not opened in a browser");
        }
        let target = browser.send("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.send("Target.attachToTarget", attach)["sessionId"].as_str().map(str::to_owned);
        Ok(browser)
    }

    /// Whether it answers at all.
    fn answers(&mut self) -> bool {
        self.to.write_all(b"{\"id\":0,\"method\":\"Browser.getVersion\"}\0").unwrap();
        self.from.recv_timeout(LIMIT).is_ok()
    }

    fn send(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = self.from.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no answer to {method}"));
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        self.send("Runtime.evaluate", parameters)["result"]["value"].take()
    }

    fn visit(&mut self, url: &str, width: u32) {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600});
        self.send("Emulation.setDeviceMetricsOverride", metrics);
        self.send("Page.navigate", json!({"url": url}));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.is_running {
            return;
        }
        // Ends its helper processes as well.
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        until("the browser ends", || !self._child.is_running());
    }
}

fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
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

fn video(folder: &TempRegion, name: &str, width: u32, height: u32) -> Producer {
    let caps = format!("video/x-raw, format=GRAY8, width={width}, height={height}, framerate=25/1");
    let mut producer = common::producer(&format!("{}/{name}", &**folder), &caps, 0, &[]);
    producer.send(&vec![90; (width * height) as usize], &FrameInfo::new()).unwrap();
    producer
}

#[test]
fn a_browser_shows_regions_with_figures_and_pictures_until_their_producers_end() {
    let mut browser = match Browser::start() {
        Ok(browser) => browser,
        Err(why) => return skip(why),
    };
    let folder = TempRegion::new();
    std::fs::create_dir(folder.path()).unwrap();
    let (mut large, small) = (video(&folder, "large", 1280, 720), video(&folder, "small", 64, 48));
    let audio = "audio/x-raw, format=S16LE, rate=48000, channels=2, layout=interleaved";
    let _audio = common::producer(&format!("{}/audio", &*folder), audio, 1, &[0; 64]);
    let (_child, url) = served(begin(&["serve", "--listen", "0", "--interval", "100ms", &folder]));
    browser.visit(&url, 360);
    let card = |name: &str| format!("document.querySelector('article[data-region=\"shm://{}/{name}\"]')", &*folder);
    let of = |browser: &mut Browser, name: &str, rest: &str| browser.value(&format!("{}?.{rest}", card(name)));
    until("all regions are shown", || browser.value("document.querySelectorAll('article').length") == 3);
    for (name, width) in [("large", "640"), ("small", "64")] {
        browser.value(&format!("{}.scrollIntoView()", card(name)));
        until("the picture is decoded", || of(&mut browser, name, "dataset.pictureWidth") == width);
        assert_eq!(of(&mut browser, name, "querySelector('h2').textContent.split('/').pop()"), name);
    }
    assert_eq!(of(&mut browser, "large", "querySelector('.media').textContent"), "GRAY8 1280x720 25/s");
    assert_eq!(of(&mut browser, "audio", "querySelector('.media').textContent"), "S16LE 48000 Hz 2 ch");
    until("the rate is above 0", || {
        large.send(&vec![120; 1280 * 720], &FrameInfo::new()).unwrap();
        let rate = of(&mut browser, "large", "querySelector('[data-figure=rate]').textContent");
        rate.as_str().is_some_and(|rate| rate.ends_with("/s") && rate != "0.0/s")
    });
    until("the age is drawn", || {
        let line = of(&mut browser, "large", "querySelector('.line').getAttribute('d')");
        line.as_str().is_some_and(|line| line.starts_with('M'))
    });
    assert_eq!(browser.value("document.documentElement.scrollWidth"), 360);
    drop(small);
    until("the card of an ended producer goes", || browser.value("document.querySelectorAll('article').length") == 2);
}
