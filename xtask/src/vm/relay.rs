//! The relay in a guest with a camera (vivid) and vsock: the device is open while somebody is connected.

use super::{check, guest::Guest};
use crate::Outcome;
use std::time::Duration;

const SCRIPT: &str = r#"
echo "camera: $(cat /sys/class/video4linux/video0/name)"
./shm2_relayd --listen tcp://127.0.0.1:5555 --listen vsock://local:5556 --cool-down 0 --frame-timeout 60000 --control /tmp/ctl \
  --output "appsrc name=appsrc ! shm2sink shm-path=/dev/shm/camera" \
  --input "v4l2src device=/dev/video0 ! video/x-raw,width=320,height=180 ! identity" &
relay=$!
state() { ./shm2_relayd --status --control /tmp/ctl 2>/dev/null | grep '"input":' | cut -d'"' -f4; }
waits() { for i in $(seq 400); do [ "$(state)" = "$1" ] && return; sleep 0.1; done; echo "in vain: $1"; }
opens() { ls -l /proc/[0-9]*/fd 2>/dev/null | awk '/^.proc/ {p = $0} /video0$/ {print p}' | sort -u | wc -l; }
waits off; echo "OPEN nobody: $(opens)"
exec 3<>/dev/tcp/127.0.0.1/5555
waits on; echo "OPEN tcp: $(opens)"
exec 3>&-
waits off; echo "OPEN after tcp: $(opens)"
./examples/across vsock 1 5556 100 & client=$!
waits on; echo "OPEN vsock: $(opens)"
# The camera is pulled out, and put back.
driver=/sys/bus/platform/drivers/vivid
echo vivid.0 > $driver/unbind
waits waiting; echo "UNPLUGGED: $(opens), $(ls /dev/video0 2>&1)"
echo vivid.0 > $driver/bind
waits on; echo "PLUGGED AGAIN: $(opens)"
kill $client
waits off; echo "OPEN after vsock: $(opens)"
./shm2_relayd --status --control /tmp/ctl | grep -E 'buffers|failure|caps'
kill $relay; wait $relay; echo "relay ended with $?"
"#;

/// What the guest must say.
const EXPECTED: &[&str] = &[
    "OPEN nobody: 0",
    "OPEN tcp: 1",
    "OPEN after tcp: 0",
    "OPEN vsock: 1",
    "UNPLUGGED: 0",
    "PLUGGED AGAIN: 1",
    "OPEN after vsock: 0",
    "relay ended with 0",
];

pub fn camera(guest: &mut Guest) -> Outcome {
    let text = guest.run(SCRIPT, Duration::from_secs(300))?;
    print!("{text}");
    check(&text, EXPECTED)
}
