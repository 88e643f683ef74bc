//! The server's file, read again while it runs.

mod common;

use common::{Pipeline, Player, Server, VIDEO, ask, output, private_file};
use shm2_testing::{Signal, TempPath, TempRegion, until};

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

#[test]
fn a_reload_turns_tls_on_and_off_and_says_what_stays() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let text = format!("[[mount]]\npath = \"/cam\"\nregions = [{:?}]\n", &*video);
    let file = private_file("config", &format!("max_clients = 2\n{text}"));
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    std::fs::write(&*file, format!("max_clients = 1\n{text}")).unwrap();
    server.reloads();
    server.waits_for_log("listen, control, metrics and max_clients cannot change while the daemon runs");
    // As many as before.
    let _two = [server.connect(), server.connect()];
    until("two clients", || server.status()["clients"] == 2);
    let Some(certificate) = certificate() else { return };
    let secured = format!("max_clients = 2\ntls_certificate = {:?}\n{text}", &*certificate);
    std::fs::write(&*file, &secured).unwrap();
    server.reloads();
    server.waits_for_log("all clients are disconnected, and begin again with rtsps://");
    until("nobody is connected", || server.status()["clients"] == 0);
    let player = |scheme: &str| {
        let url = server.url("/cam").replace("rtsp://", scheme);
        Player::start(&url, "protocols=tcp tls-validation-flags=0", "rtph264depay ! h264parse")
    };
    player("rtsps://").plays(5);
    std::fs::write(&*file, format!("max_clients = 2\n{text}")).unwrap();
    server.reloads();
    server.waits_for_log("all clients are disconnected, and begin again with rtsp://");
    player("rtsp://").plays(5);
}

/// A certificate that is made here; `None`, after a line that says so, where that cannot be had.
fn certificate() -> Option<TempPath> {
    let (key, both) = (private_file("key", ""), private_file("certificate", ""));
    let make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"];
    let made = std::process::Command::new("openssl").args(make).arg(&*key).arg("-out").arg(&*both).output();
    if !made.is_ok_and(|made| made.status.success()) {
        shm2_testing::skip("TLS: there is no openssl to make a certificate");
        return None;
    }
    let text = std::fs::read_to_string(&*both).unwrap() + &std::fs::read_to_string(&*key).unwrap();
    std::fs::write(&*both, text).unwrap();
    let checked = output(&["--check", "--mount", "/a=/dev/shm/shm2-test-none", "--tls-certificate", both.text()]);
    if String::from_utf8_lossy(&checked.stderr).contains("glib-networking") {
        shm2_testing::skip("TLS: glib-networking is not installed");
        return None;
    }
    Some(both)
}

#[test]
fn a_reload_of_multicast_changes_all_mounts() {
    let video = TempRegion::new();
    let _producer = Pipeline::produce(VIDEO, &video);
    let text = format!("[[mount]]\npath = \"/cam\"\nregions = [{:?}]\n", &*video);
    let file = private_file("config", &text);
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let player = Player::video(&server.url("/cam"));
    player.plays(5);
    std::fs::write(&*file, format!("multicast = \"239.1.2.3-239.1.2.4:6000-6009\"\n{text}")).unwrap();
    server.reloads();
    until("the client is disconnected", || server.status()["clients"] == 0);
    drop(player);
    Player::video(&server.url("/cam")).plays(5);
}
