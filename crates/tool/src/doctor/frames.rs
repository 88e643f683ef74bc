//! A frame passes through a region of its own, by each access.

use super::Finding;
use crate::Failure;
use shm2::{Access, Consumer, FrameInfo, Producer, layout};
use std::time::Duration;

const LIMIT: Option<Duration> = Some(Duration::from_secs(2));

pub(super) fn check() -> Finding {
    let check = "a frame";
    match pass(Access::Lease).and_then(|()| pass(Access::Snapshot)) {
        Ok(()) => Finding::good(check, "it passes, leased and copied"),
        Err(error) => Finding::bad(
            check,
            error.to_string(),
            "the text says what the system refuses; seccomp filters and odd file systems do so",
        ),
    }
}

fn pass(access: Access) -> Result<(), Failure> {
    let folder = if cfg!(windows) { "winshm://Local/" } else { "/dev/shm/" };
    let name = format!("{folder}shm2-doctor-{}", std::process::id());
    let mut producer = Producer::builder(&name)?.size(layout::MIN_REGION).create()?;
    let mut consumer = Consumer::builder(&name)?.access(access).attach(LIMIT)?;
    producer.send(b"frame", &FrameInfo::new())?;
    let frame = consumer.next(LIMIT)?;
    if frame.to_vec() == b"frame" { Ok(()) } else { Err("its bytes are wrong".into()) }
}
