//! `shm2 list`, `inspect` and `hz`.

mod common;

use common::{producer, shm2};
use shm2_testing::TempRegion;

const GRAY: &str = "video/x-raw, format=(string)GRAY8, width=(int)16, height=(int)9, framerate=(fraction)25/1";

#[test]
fn inspect_shows_the_region_as_one_object() {
    let name = TempRegion::new();
    let producer = producer(&name, GRAY, 3, &[7; 144]);
    let ended = shm2(&["inspect", "--json", &name]).succeeded();
    let [region] = &ended.json()[..] else { panic!("{}", ended.text()) };
    assert_eq!(region["region"], name.uri());
    assert_eq!((&region["newest"], &region["frame_bytes"]), (&3.into(), &144.into()));
    assert_eq!(region["caps"], GRAY);
    assert_eq!(region["consumers"], serde_json::json!([]));
    drop(producer);
    shm2(&["inspect", &name]).failed_with("does not exist");
}
