//! The manual pages that packages install.

use std::process::Command;

#[test]
fn the_manual_pages_have_the_names_of_the_tools_and_their_options() {
    let tools = [(env!("CARGO_BIN_EXE_shm2_producer"), "producer"), (env!("CARGO_BIN_EXE_shm2_consumer"), "consumer")];
    for (program, name) in tools {
        let output = Command::new(program).arg("--man").output().unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && page.contains(&format!(".TH shm2_{name} 1")), "{page}");
        assert!(page.contains(&format!("shm2_{name} \\-")), "{page}");
        for option in ["json", "quiet"] {
            assert!(page.contains(&format!("\\-\\-{option}")), "{option} in\n{page}");
        }
    }
}
