//! The main job before your eyes: a live producer pipeline, two consumer processes of different speed, one killed and
//! started again, then the producer killed and started again with another size.

use crate::program::{Counts, Program, gstreamer};
use crate::run::{BUILD, run, target};
use crate::{Outcome, setup};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The names of the regions; removed with whatever a killed program left there.
struct Regions {
    video: String,
    audio: String,
}

impl Drop for Regions {
    fn drop(&mut self) {
        for path in [&self.video, &self.audio] {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What a media file holds.
struct Input<'a> {
    file: &'a str,
    video: bool,
    audio: bool,
}

impl<'a> Input<'a> {
    fn discover(file: &'a str) -> Result<Self, String> {
        let output = Command::new("gst-discoverer-1.0").arg(file).stdin(Stdio::null()).output();
        let output = output.map_err(|e| format!("cannot run gst-discoverer-1.0: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let has = |kind: &str| text.lines().any(|line| line.trim_start().starts_with(kind));
        let input = Self { file, video: has("video"), audio: has("audio") };
        if input.video || input.audio {
            return Ok(input);
        }
        Err(format!("--input {file:?} holds no video and no audio that GStreamer can read"))
    }
}

/// Shows everything; fails when a frame was corrupt or a stream did not come back.
pub fn demo(file: Option<&str>) -> Outcome {
    if let Some(file) = file.filter(|file| !std::path::Path::new(file).is_file()) {
        return Err(format!("--input {file:?} is not a file"));
    }
    setup::setup()?;
    let input = file.map(Input::discover).transpose()?;
    run(BUILD)?;
    let id = std::process::id();
    let regions =
        Regions { video: format!("/dev/shm/shm2-demo-{id}"), audio: format!("/dev/shm/shm2-demo-{id}-audio") };
    let _ = std::fs::create_dir_all(target().join("demo"));
    show(&regions, input.as_ref())
}

fn show(regions: &Regions, input: Option<&Input>) -> Outcome {
    let begun = Instant::now();
    let say = |text: &str| println!("[{:5.1} s] {text}", begun.elapsed().as_secs_f64());
    println!();
    say("a producer pipeline, and two consumers: one as fast as frames come, one that takes 100 ms for each");
    let producer = Program::start("producer", "produce", &producer_pipeline(regions, input, 64))?;
    let fast = Program::start("fast consumer", "consume", &consumer_pipeline(regions, false))?;
    let slow = Program::start("slow consumer", "consume", &consumer_pipeline(regions, true))?;
    let both = input.filter(|input| input.video && input.audio);
    let audio = both.map(|_| Program::start("audio consumer", "consume", &audio_pipeline(regions))).transpose()?;
    pause(&[&producer, &fast, &slow], 4);

    say("kill -9 of the fast consumer; the others go on");
    let killed_fast = fast.kill()?;
    pause(&[&producer, &slow], 1);
    say("the fast consumer starts again");
    let fast = Program::start("fast consumer, again", "consume", &consumer_pipeline(regions, false))?;
    pause(&[&producer, &fast, &slow], 3);

    let has_video = input.is_none_or(|input| input.video);
    if has_video {
        say("a third consumer takes one picture: target/demo/frame.png");
        take_picture(regions)?;
    }

    let before = [fast.count("frames"), slow.count("frames")];
    say("kill -9 of the producer; the consumers wait");
    let killed_producer = producer.kill()?;
    std::thread::sleep(Duration::from_secs(1));
    say("the producer starts again with a smaller region; the consumers follow by themselves");
    let producer = Program::start("producer, again", "produce", &producer_pipeline(regions, input, 32))?;
    let restarted = Instant::now();
    while fast.count("attaches") < 2.0 && restarted.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(100));
    }
    pause(&[&producer, &fast, &slow], 6);

    say("the end");
    let after = [fast.count("frames"), slow.count("frames")];
    let mut rows = vec![killed_fast, killed_producer];
    for program in [Some(fast), Some(slow), audio, Some(producer)].into_iter().flatten() {
        rows.push(program.stop()?);
    }
    print_table(&rows);
    if has_video {
        println!("\npicture: {}", target().join("demo/frame.png").display());
    }
    judge(&rows, before, after)
}

fn producer_pipeline(regions: &Regions, input: Option<&Input>, megabytes: u64) -> String {
    let sink =
        |name: &str, path: &str, size: u64| format!("shm2sink name={name} shm-path={path} shm-size={}", size << 20);
    let main = sink("sink", &regions.video, megabytes);
    let Some(input) = input else {
        return format!(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,format=NV12,width=640,height=360,framerate=60/1 ! {main}"
        );
    };
    let audio = "d. ! queue ! audioconvert ! audioresample ! audio/x-raw,format=S16LE !";
    let video = "d. ! queue ! videoconvert ! video/x-raw,format=NV12 !";
    let branches = match (input.video, input.audio) {
        (true, true) => format!("{video} {main} async=false {audio} {} async=false", sink("audio", &regions.audio, 16)),
        (true, false) => format!("{video} {main}"),
        _ => format!("{audio} {main}"),
    };
    format!("filesrc location=\"{}\" ! decodebin name=d {branches}", input.file)
}

fn consumer_pipeline(regions: &Regions, slow: bool) -> String {
    let (latest, work) = if slow { ("latest-only=true ", "! identity sleep-time=100000 ") } else { ("", "") };
    format!("shm2src name=src {latest}shm-path={} {work}! fakesink sync=false", regions.video)
}

fn audio_pipeline(regions: &Regions) -> String {
    format!("shm2src name=src shm-path={} ! fakesink sync=false", regions.audio)
}

fn take_picture(regions: &Regions) -> Outcome {
    let picture = target().join("demo/frame.png");
    let _ = std::fs::remove_file(&picture);
    let mut command = gstreamer("gst-launch-1.0");
    let line = format!(
        "-q shm2src num-buffers=1 connection-timeout=5000000000 shm-path={} ! videoconvert ! pngenc ! filesink",
        regions.video
    );
    command.args(line.split(' ')).arg(format!("location={}", picture.display())).stdin(Stdio::null());
    let status = command.status().map_err(|e| format!("cannot run gst-launch-1.0: {e}"))?;
    let bytes = std::fs::metadata(&picture).map_or(0, |m| m.len());
    if status.success() && bytes > 0 { Ok(()) } else { Err(format!("no picture was taken: {status}, {bytes} bytes")) }
}

/// Lets time pass and shows that frames flow.
fn pause(programs: &[&Program], seconds: u64) {
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        let line: Vec<_> =
            programs.iter().map(|p| format!("{}: {}", p.name, p.count("frames").max(p.count("published")))).collect();
        println!("          frames: {}", line.join("   "));
    }
}

fn print_table(rows: &[(&'static str, Counts)]) {
    const COLUMNS: &[(&str, &str)] = &[
        ("frames", "frames"),
        ("rate/s", "rate"),
        ("p50 us", "p50"),
        ("p99 us", "p99"),
        ("missed", "missed"),
        ("skipped", "skipped"),
        ("0-copy", "zero-copied"),
        ("copied", "copied"),
        ("old drop", "dropped-oldest"),
        ("new drop", "dropped-newest"),
        ("corrupt", "corrupt"),
        ("breaks", "breaks"),
    ];
    print!("\n{:<22}", "");
    COLUMNS.iter().for_each(|(title, _)| print!("{title:>9}"));
    println!();
    for (name, counts) in rows {
        print!("{name:<22}");
        for (_, key) in COLUMNS {
            let value = counts.get(*key).or_else(|| counts.get("published").filter(|_| *key == "frames"));
            match value {
                Some(value) => print!("{value:>9}"),
                None => print!("{:>9}", "-"),
            }
        }
        println!();
    }
    println!("(latency: from the stamp before the sink to the source's pad; with a file that includes the sink's wait");
    println!(" until the frame is due. A killed program's row is its last report.)");
}

fn judge(rows: &[(&'static str, Counts)], before: [f64; 2], after: [f64; 2]) -> Outcome {
    let count = |counts: &Counts, key: &str| counts.get(key).copied().unwrap_or_default();
    for (name, counts) in rows {
        for fault in ["corrupt", "disordered"] {
            if count(counts, fault) > 0.0 {
                return Err(format!("the {name} saw {} {fault} frames", count(counts, fault)));
            }
        }
        if count(counts, "frames").max(count(counts, "published")) < 5.0 {
            return Err(format!("the {name} saw next to no frames"));
        }
    }
    if before.iter().zip(after).any(|(before, after)| after < before + 5.0) {
        return Err(format!("the streams did not come back: {before:?} frames before, {after:?} after"));
    }
    println!("no frame was corrupt, and every stream came back");
    Ok(())
}
