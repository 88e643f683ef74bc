//! The pictures in `docs/pictures` are those that the code draws: `cargo xtask book pictures` draws them again.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_committed_pictures_are_what_the_code_draws() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("pictures");
    let drawn = shm2_pictures::all();
    for (name, svg) in &drawn {
        let committed = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(committed == *svg, "docs/pictures/{name} is not current: cargo xtask book pictures");
    }
    let names: BTreeSet<_> = drawn.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), names, "files that no code draws");
}
