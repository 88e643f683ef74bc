//! Who can change what.

use crate::drawing::{Kind, Picture, area, lines};
use shm2::layout::PAGES;

/// A table of sides and parts of a region.
pub fn trust() -> String {
    let mut picture = Picture::new("Who writes what in a region", 334.0);
    picture.text(14.0, 24.0, "start", "b", "What the library writes, by side");
    let parts = ["header, ring", "arena", "pages"];
    for (column, part) in parts.into_iter().enumerate() {
        picture.text(x(column) + 44.0, 52.0, "middle", "s", part);
    }
    let rows = [
        ("producer", "read, write", [&["writes"][..], &["writes"], &["checks,", "frees dead"]]),
        ("lease", "read, write", [&["checks"], &["reads"], &["writes", "its own"]]),
        ("snapshot", "read", [&["checks"], &["copies"], &["-"]]),
    ];
    for (row, (side, right, parts)) in rows.into_iter().enumerate() {
        let y = 64.0 + 56.0 * row as f64;
        let kind = if row == 0 { Kind::Producer } else { Kind::Consumer };
        picture.card(area(10.0, y, 114.0, 46.0), kind, &lines([side, right]));
        for (column, text) in parts.into_iter().enumerate() {
            let kind = if text[0] == "writes" { Kind::Shared } else { Kind::Plain };
            let text: Vec<_> = text.iter().map(|line| (*line).to_owned()).collect();
            picture.card(area(x(column), y, 88.0, 46.0), kind, &text);
        }
    }
    let notes = [
        "Each word of another side is read once, and checked. A wrong".to_owned(),
        "one ends the connection to that side, never the process.".to_owned(),
        format!("A leasing consumer (of at most {PAGES}) needs permission to write"),
        "the file. It could overwrite frames of the others: give that".to_owned(),
        "permission only to programs that you trust so far. All others".to_owned(),
        "read snapshots, and the file's permissions bind them.".to_owned(),
    ];
    for (row, text) in notes.into_iter().enumerate() {
        picture.note(10.0, 244.0 + 16.0 * row as f64, text);
    }
    picture.finish()
}

fn x(column: usize) -> f64 {
    132.0 + 94.0 * column as f64
}
