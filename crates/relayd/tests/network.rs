//! Region to region between two network namespaces, over a lossy link: the recipes of docs/network.md.

#![cfg(unix)]

use shm2_testing::{TempRegion, skip};
use std::process::Command;

/// The pipelines of docs/network.md, of the sender and of the receiver.
const WAYS: [(&str, &str, &str); 2] = [
    (
        "SRT",
        "shm2src shm-path=$a ! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=2000 \
         ! video/x-h264,profile=baseline ! mpegtsmux ! srtsink uri=srt://:7001 latency=120 wait-for-connection=false",
        "srtsrc uri=srt://10.78.0.1:7011 latency=120 ! tsdemux latency=1 ! h264parse ! avdec_h264 ! videoconvert \
         ! shm2sink sync=false shm-path=$b",
    ),
    (
        "RTP over UDP",
        "shm2src shm-path=$a ! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 bitrate=2000 \
         ! video/x-h264,profile=baseline ! rtph264pay config-interval=1 ! udpsink host=127.0.0.1 port=7012",
        "udpsrc port=7002 caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=H264 \
         ! rtpjitterbuffer latency=60 drop-on-latency=true ! rtph264depay ! h264parse ! avdec_h264 ! videoconvert ! shm2sink sync=false shm-path=$b",
    ),
];

const SCRIPT: &str = r#"set -e
    across=$1 a=$2 b=$3 sender=$(eval echo "\"$4\"") receiver=$(eval echo "\"$5\"")
    ip link set lo up
    ip link add here type veth peer name there
    unshare --net sleep 100 & other=$!
    sleep 0.3
    ip link set there netns $other
    ip addr add 10.78.0.1/24 dev here; ip link set here up
    nsenter -t $other -n sh -c 'ip addr add 10.78.0.2/24 dev there; ip link set there up; ip link set lo up'
    "$across" lossy 10.78.0.1:7011 127.0.0.1:7001 2 20 & "$across" lossy 127.0.0.1:7012 10.78.0.2:7002 2 20 &
    "$across" source "$a" & "$across" run "$sender" &
    nsenter -t $other -n "$across" run "$receiver" &
    timeout 40 "$across" measure "$b" 5"#;

#[test]
fn a_stream_reaches_another_region_over_a_lossy_network() {
    let this = std::env::current_exe().unwrap();
    let across = this.parent().unwrap().parent().unwrap().join("examples/across");
    for (name, sender, receiver) in WAYS {
        let (from, to) = (TempRegion::new(), TempRegion::new());
        let mut command = Command::new("timeout");
        command.args([
            "60",
            "unshare",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "bash",
            "-c",
            SCRIPT,
            "x",
        ]);
        let output = command.arg(&across).args([&*from, &*to]).args([sender, receiver]).output().unwrap();
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if errors.contains("Operation not permitted") || errors.contains("not found") {
            let why = errors.lines().next().unwrap_or_default().to_string();
            return skip(&format!("no network namespaces here, nothing goes across a network: {why}"));
        }
        let result = text.lines().find(|line| line.contains("age p50")).unwrap_or_else(|| panic!("{text}{errors}"));
        println!("{name}, 2 % of the packets lost and 20 ms each way: {result}");
        let number = |after: &str| {
            result.split(after).nth(1).unwrap().split_whitespace().next().unwrap().parse::<u32>().unwrap()
        };
        let (count, expected) = (result.split_whitespace().next().unwrap().parse::<u32>().unwrap(), number("of "));
        assert!(count >= expected / 2 && number("p50 ") < 1000, "{name}: {result}");
    }
}
