//! `shm2 completions` and `shm2 man`: the scripts are accepted by their shells, and each command has a manual page.

mod common;

use common::shm2;
use shm2_testing::TempPath;
use std::process::{Command, Stdio};

#[test]
fn completions_are_scripts_that_their_shells_accept() {
    for (shell, check) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let script = shm2(&["completions", shell]).succeeded().out;
        assert!(String::from_utf8_lossy(&script).contains("replay"), "{shell}");
        let file = TempPath::new(shell);
        std::fs::write(&file, script).unwrap();
        match Command::new(check).arg("-n").arg(&file).stderr(Stdio::inherit()).status() {
            Ok(status) => assert!(status.success(), "{shell}"),
            Err(_) => shm2_testing::skip(&format!("no {check} to check its completions")),
        }
    }
    assert_eq!(shm2(&["completions", "nonsense"]).code, Some(2));
}

#[test]
fn each_command_has_a_manual_page_with_its_options_and_exit_codes() {
    let folder = TempPath::new("man");
    std::fs::create_dir(&folder).unwrap();
    shm2(&["man", "--output", folder.text()]).succeeded();
    let help = shm2(&["--help"]).succeeded().text();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<_> =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|c| *c != "help").collect();
    assert!(commands.len() >= 11, "{help}");
    let pages = commands.iter().map(|command| format!("shm2-{command}")).chain(["shm2".into()]);
    for name in pages {
        let page = std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", ".SH \"EXIT STATUS\""] {
            assert!(page.contains(section), "{name}: {section}");
        }
        assert!(page.contains(&name.replace('-', "\\-")), "{name}");
    }
    // The folder is made; a file is none.
    shm2(&["man", "--output", folder.join("new/folder").to_str().unwrap()]).succeeded();
    shm2(&["man", "--output", folder.join("shm2.1").to_str().unwrap()]).failed_with("cannot make");
    let to_output = shm2(&["man"]).succeeded().out;
    assert_eq!(to_output, std::fs::read(folder.join("shm2.1")).unwrap());
}
