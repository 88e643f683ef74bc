//! Which frames are where: leases in a ring that moves on, and copies on the way through the elements.

use crate::drawing::{Kind, Picture, area, lines};
use shm2::layout::LEASES;

/// A moment of a region: the newest frame, the oldest that may be taken, and what a stopped consumer holds.
const NEWEST: u64 = 27;
const OLDEST: u64 = 24;
const HELD: [u64; 2] = [18, 19];
const FIRST: u64 = 17;

/// A stopped consumer keeps what it holds, and nothing else.
pub fn leases() -> String {
    let mut picture = Picture::new("Leases while a consumer is stopped", 330.0);
    picture.text(14.0, 24.0, "start", "b", "Frames while one consumer is stopped");
    for number in FIRST..=NEWEST {
        let kind = match number {
            n if HELD.contains(&n) => Kind::Consumer,
            n if n < OLDEST => Kind::Plain,
            _ => Kind::Producer,
        };
        picture.card(area(x(number), 64.0, 32.0, 34.0), kind, &[number.to_string()]);
    }
    picture.line(&[(x(OLDEST) - 2.0, 56.0), (x(OLDEST) - 2.0, 118.0)], "l");
    picture.text(x(OLDEST) - 6.0, 54.0, "end", "s", "retired: no new take");
    picture.note(x(OLDEST) + 4.0, 54.0, "in the ring");
    picture.note(x(OLDEST) + 2.0, 118.0, format!("oldest = {OLDEST}"));
    picture.text(408.0, 136.0, "end", "s", format!("head = {NEWEST}"));
    picture.arrow(&[(x(NEWEST) + 16.0, 124.0), (x(NEWEST) + 16.0, 100.0)]);
    let stopped = area(12.0, 150.0, 190.0, 66.0);
    picture.card(stopped, Kind::Consumer, &lines(["stopped consumer", "holds 18 and 19", "cursor 20: lapped"]));
    for held in HELD {
        picture.arrow(&[(x(held) + 16.0, stopped.y), (x(held) + 16.0, 100.0)]);
    }
    let busy = area(218.0, 150.0, 190.0, 66.0);
    picture.card(busy, Kind::Consumer, &lines(["busy consumer", "holds 27", "cursor 28: up to date"]));
    picture.line(&[(x(NEWEST) + 16.0, busy.y), (x(NEWEST) + 16.0, 142.0)], "l");
    let notes = [
        format!("{} and {}: in limbo. Their bytes do not change until", HELD[0], HELD[1]),
        "they are released, or their holder dies.".to_owned(),
        format!("{FIRST} and 20 to {}: recycled. Their memory is used again.", OLDEST - 1),
        format!("{OLDEST} to {NEWEST}: can be taken. The stopped consumer continues"),
        format!("with {OLDEST} and counts 4 missed. It holds at most {LEASES} frames"),
        "and a third of the arena; what is above that is copied.".to_owned(),
    ];
    for (row, text) in notes.into_iter().enumerate() {
        picture.note(14.0, 236.0 + 16.0 * row as f64, text);
    }
    picture.finish()
}

fn x(number: u64) -> f64 {
    12.0 + 36.0 * (number - FIRST) as f64
}

/// The way of a frame from an element before `shm2sink` to one after `shm2src`.
pub fn elements() -> String {
    let mut picture = Picture::new("A frame's way through the elements", 396.0);
    picture.text(14.0, 24.0, "start", "b", "A frame's way through the elements");
    let left = [
        (Kind::Plain, ["converter, decoder", "asks for a pool"]),
        (Kind::Producer, ["shm2sink", "offers memory of the region"]),
        (Kind::Plain, ["it writes there", "0 copies"]),
    ];
    let right = [
        (Kind::Plain, ["camera, appsrc, file", "brings memory of its own"]),
        (Kind::Producer, ["shm2sink", "reserves an extent"]),
        (Kind::Gone, ["copies the bytes", "1 copy"]),
    ];
    for (column, steps) in [left, right].into_iter().enumerate() {
        for (row, (kind, text)) in steps.into_iter().enumerate() {
            let place = area(8.0 + 206.0 * column as f64, 40.0 + 64.0 * row as f64, 198.0, 46.0);
            picture.card(place, kind, &lines(text));
            picture.arrow(&[(place.middle().0, place.bottom()), (place.middle().0, place.bottom() + 18.0)]);
        }
    }
    picture.card(
        area(8.0, 232.0, 404.0, 46.0),
        Kind::Shared,
        &lines(["region", "published: number, caps, times, layout"]),
    );
    let readers = [
        ["access=lease", "0 copies: a GstMemory", "over the region"],
        ["access=snapshot", "1 copy: no permission to", "write the file is needed"],
    ];
    for (column, text) in readers.into_iter().enumerate() {
        let place = area(8.0 + 206.0 * column as f64, 296.0, 198.0, 66.0);
        picture.arrow(&[(place.middle().0, 278.0), (place.middle().0, place.y)]);
        picture.card(place, if column == 0 { Kind::Consumer } else { Kind::Gone }, &lines(text));
    }
    picture.note(14.0, 382.0, "shm2src; the property stats counts zero-copied and copied.");
    picture.finish()
}
