//! The server's file, read again while it runs.

mod common;

use common::{Pipeline, Player, Server, VIDEO, private_file};
use shm2_testing::{Signal, TempRegion, until};

#[test]
fn a_reload_changes_the_mounts_and_a_wrong_file_changes_nothing() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let text = |path: &str| format!("[[mount]]\npath = \"{path}\"\nregions = [{:?}]\n", &*video);
    let file = private_file("config", &text("/one"));
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let player = Player::video(&server.url("/one"));
    player.plays(5);
    std::fs::write(&*file, "colour = 1\n").unwrap();
    server.signal(Signal::HUP);
    server.waits_for_log("the configuration is unchanged: ");
    player.plays(5);
    std::fs::write(&*file, text("/two")).unwrap();
    server.reloads();
    until("the client of the old mount is disconnected", || server.status()["clients"] == 0);
    assert!(server.describe("/one").starts_with("RTSP/1.0 404 "));
    Player::video(&server.url("/two")).plays(5);
}
