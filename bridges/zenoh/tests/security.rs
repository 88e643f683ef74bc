//! TLS and access control are zenoh's own, by its configuration: shown with certificates made here.

mod common;

use common::*;
use shm2_testing::{TempPath, TempRegion, skip};
use std::path::Path;
use std::process::Command;

/// A certificate authority, and a certificate with its key for `router` and for each of the `users`.
fn certificates(folder: &Path, users: &[&str]) -> bool {
    let script = r#"set -e
        cd "$1"; shift
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 \
          -subj /CN=shm2-test-ca -addext basicConstraints=critical,CA:TRUE
        for name in "$@"; do
          openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr -subj /CN=$name
          printf 'basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n' > $name.ext
          openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $name.pem -days 2 \
            -extfile $name.ext
        done"#;
    let mut shell = Command::new("bash");
    shell.args(["-c", script, "certificates"]).arg(folder).args(users);
    shell.output().is_ok_and(|output| output.status.success())
}

/// A configuration of zenoh with the certificates of `user`, and `more` entries.
fn config(folder: &Path, user: &str, more: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let (ca, key, certificate) = (path("ca.pem"), path(&format!("{user}.key")), path(&format!("{user}.pem")));
    let text = format!(
        r#"{{ transport: {{ link: {{ tls: {{ root_ca_certificate: {ca:?}, enable_mtls: true,
             listen_private_key: {key:?}, listen_certificate: {certificate:?},
             connect_private_key: {key:?}, connect_certificate: {certificate:?} }} }} }}, {more} }}"#
    );
    let file = path(&format!("{user}.json5"));
    std::fs::write(&file, text).unwrap();
    file
}

/// Everybody may do everything with open regions. Only `camera` and `viewer` may use those that are secret.
const ACCESS: &str = r#"access_control: { enabled: true, default_permission: "deny",
    rules: [
      { id: "all", permission: "allow", flows: ["ingress", "egress"], key_exprs: ["**"],
        messages: ["put", "delete", "declare_subscriber", "query", "reply", "declare_queryable",
                   "liveliness_token", "liveliness_query", "declare_liveliness_subscriber"] },
      { id: "look", permission: "allow", flows: ["ingress", "egress"], key_exprs: ["**"],
        messages: ["query", "reply", "declare_queryable",
                   "liveliness_token", "liveliness_query", "declare_liveliness_subscriber"] } ],
    subjects: [ { id: "trusted", cert_common_names: ["camera", "viewer"] },
                { id: "guests", cert_common_names: ["guest"] } ],
    policies: [ { rules: ["all"], subjects: ["trusted"] }, { rules: ["look"], subjects: ["guests"] } ] }"#;

#[test]
fn tls_keeps_strangers_out_and_access_control_refuses_a_guest() {
    let folder = TempPath::new("zenoh-tls");
    std::fs::create_dir(&folder).unwrap();
    let users = ["router", "camera", "viewer", "guest"];
    if !certificates(&folder, &users) {
        return skip("TLS of the zenoh bridge: openssl is not installed");
    }
    let endpoint = format!("tls/localhost:{}", free_port());
    let with = |config: &str, arguments: &[&str]| {
        let mut command = program(arguments);
        Bridge::start(command.args(["--config", config, "--connect", &endpoint, "--client"]))
    };
    let router = config(&folder, "router", ACCESS);
    let router = Bridge::start(&mut program(&["router", "--listen", &endpoint, "--config", &router]));
    router.says("router is ready");
    let [camera, viewer, guest] = ["camera", "viewer", "guest"].map(|user| config(&folder, user, ""));
    let region = TempRegion::new();
    let mut producer = producer(&region);
    let publish = with(&camera, &["publish", &region, "--host", "north"]);
    publish.says("published:");
    let locals = [TempRegion::new(), TempRegion::new(), TempRegion::new()];
    let source = source(&region);
    let open = |config: &str, local: &TempRegion| with(config, &["open", &source, "--as", local, "--always"]);
    // Who may read, reads; the guest sees that the region is there, and is told why nothing comes.
    let _viewer = open(&viewer, &locals[0]);
    let (mut reader, mut count) = (consumer(&locals[0]), 0);
    send_until(&mut producer, &mut count, || soon(&mut reader).is_some());
    let refused = open(&guest, &locals[1]);
    refused.says("receiving");
    let mut nothing = consumer(&locals[1]);
    send_until(&mut producer, &mut count, || refused.text().contains("does not permit this host to subscribe"));
    assert_eq!(soon(&mut nothing), None);
    // Without a certificate of this authority the router is not reached at all.
    let stranger = TempPath::new("zenoh-stranger");
    std::fs::create_dir(&stranger).unwrap();
    assert!(certificates(&stranger, &["viewer"]));
    let mut command = program(&["open", &source, "--as", &locals[2], "--timeout", "2", "--connect", &endpoint]);
    let config = config(&stranger, "viewer", "");
    let text = Bridge::start(command.args(["--config", &config, "--listen", "tcp/127.0.0.1:0"])).fails();
    assert!(text.contains(&format!("no host publishes {source}")), "{text}");
}
