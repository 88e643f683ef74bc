//! The page of `shm2 serve` in a browser without a window.

#![cfg(unix)]

mod common;

use common::begin;
use common::http::served;
use serde_json::json;
use shm2::{FrameInfo, Producer};
use shm2_testing::browser::Browser;
use shm2_testing::{TempPath, TempRegion, is_installed, skip, until};
use std::process::Command;

/// A browser in a folder that the caller removes after its end. Why there is none, on a machine without one, or
/// where it does not run.
fn start(folder: &TempPath) -> Result<Browser, &'static str> {
    let name = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| is_installed(name));
    let name = name.ok_or("no chromium: the page of shm2 serve is not opened in a browser")?;
    std::fs::create_dir(folder).unwrap();
    let browser = Browser::start(Command::new("sh"), name, folder, &[]);
    browser.ok_or("chromium does not run here: the page of shm2 serve is not opened in a browser")
}

fn visit(browser: &mut Browser, url: &str, width: u32) {
    let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600});
    browser.send("Emulation.setDeviceMetricsOverride", metrics);
    browser.visit(url);
}

fn video(folder: &TempRegion, name: &str, width: u32, height: u32) -> Producer {
    let caps = format!("video/x-raw, format=GRAY8, width={width}, height={height}, framerate=25/1");
    let mut producer = common::producer(&format!("{}/{name}", &**folder), &caps, 0, &[]);
    producer.send(&vec![90; (width * height) as usize], &FrameInfo::new()).unwrap();
    producer
}

#[test]
fn a_browser_shows_regions_with_figures_and_pictures_until_their_producers_end() {
    let place = TempPath::new("browser");
    let mut browser = match start(&place) {
        Ok(browser) => browser,
        Err(why) => return skip(why),
    };
    let folder = TempRegion::new();
    std::fs::create_dir(folder.path()).unwrap();
    let (mut large, small) = (video(&folder, "large", 1280, 720), video(&folder, "small", 64, 48));
    let audio = "audio/x-raw, format=S16LE, rate=48000, channels=2, layout=interleaved";
    let _audio = common::producer(&format!("{}/audio", &*folder), audio, 1, &[0; 64]);
    let (_child, url) = served(begin(&["serve", "--listen", "0", "--interval", "100ms", &folder]));
    visit(&mut browser, &url, 360);
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
