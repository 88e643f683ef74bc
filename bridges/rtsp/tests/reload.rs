//! The server's file, read again while it runs.

mod common;

use common::{Pipeline, Player, Server, VIDEO, ask, private_file};
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

/// Without a change of users, which would disconnect everybody.
#[test]
fn a_mount_that_is_given_takes_the_place_of_one_that_a_pattern_made() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let users = private_file("users", "anna:one\nnvr:two\n");
    let text = format!("users_file = {:?}\nregions = \"{}*\"\n", &*users, &*video);
    let file = private_file("config", &text);
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let path = format!("/{}", video.path().file_name().unwrap().to_str().unwrap());
    let player =
        |user: &str| Player::start(&server.url(&path), &format!("protocols=tcp {user}"), "rtph264depay ! h264parse");
    player("user-id=anna user-pw=one").plays(5);
    let mount = format!("[[mount]]\npath = {path:?}\nregions = [{:?}]\nusers = [\"nvr\"]\n", &*video);
    std::fs::write(&*file, text + &mount).unwrap();
    server.reloads();
    let error = player("user-id=anna user-pw=one").pipeline.error();
    assert!(error.contains("Not found") || error.contains("404"), "{error}");
    player("user-id=nvr user-pw=two").plays(5);
}

/// A connection keeps what it was accepted with: what was without a user, or with another password, has to come again.
#[test]
fn a_reload_of_users_disconnects_everybody() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let users = private_file("users", "nvr:one\n");
    let text = format!("[[mount]]\npath = \"/cam\"\nregions = [{:?}]\n", &*video);
    let file = private_file("config", &text);
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let reload = |config: &str| {
        std::fs::write(&*file, config).unwrap();
        server.reloads();
    };
    let player = Player::video(&server.url("/cam"));
    player.plays(5);
    let options = format!("OPTIONS {} RTSP/1.0\r\nCSeq: 1\r\n\r\n", server.url("/cam"));
    let mut asked = server.connect();
    assert!(ask(&mut asked, options.as_bytes()).starts_with("RTSP/1.0 200 "));
    reload(&text);
    player.plays(5);
    assert_eq!(server.status()["clients"], 2, "nothing has changed");
    let secured = format!("users_file = {:?}\n{text}", &*users);
    reload(&secured);
    until("everybody is disconnected", || server.status()["clients"] == 0);
    drop((player, asked));
    let player = |password: &str| {
        let user = format!("protocols=tcp user-id=nvr user-pw={password}");
        Player::start(&server.url("/cam"), &user, "rtph264depay ! h264parse")
    };
    let first = player("one");
    first.plays(5);
    std::fs::write(&*users, "nvr:two\n").unwrap();
    reload(&secured);
    until("the client of the old password is disconnected", || server.status()["clients"] == 0);
    let error = player("one").pipeline.error();
    assert!(error.contains("Unauthorized"), "{error}");
    player("two").plays(5);
}
