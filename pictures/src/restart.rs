//! A producer that is killed, and the next one.

use crate::drawing::{Kind, Picture, area, lines};

/// Three rows over time: first producer, second producer, consumer.
pub fn restart() -> String {
    let mut picture = Picture::new("A producer is killed and started again", 350.0);
    picture.text(14.0, 24.0, "start", "b", "A producer is killed and started again");
    let columns = [(12.0, "producer"), (146.0, "file"), (280.0, "consumer")];
    for (x, name) in columns {
        picture.note(x, 48.0, name);
    }
    let steps = [
        (0, 58.0, Kind::Producer, ["generation A", "holds the lock"]),
        (1, 58.0, Kind::Shared, ["generation A", "frames 1 to 57"]),
        (2, 58.0, Kind::Consumer, ["attached to A", "reads, holds 57"]),
        (0, 122.0, Kind::Gone, ["killed", "lock is free"]),
        (2, 122.0, Kind::Consumer, ["sees the lock", "waits by inotify"]),
        (0, 186.0, Kind::Producer, ["the next one", "takes the name"]),
        (1, 186.0, Kind::Shared, ["a new file", "generation B"]),
        (2, 250.0, Kind::Consumer, ["attaches to B", "reads on"]),
    ];
    for (column, y, kind, text) in steps {
        picture.card(area(columns[column].0, y, 128.0, 46.0), kind, &lines(text));
    }
    picture.arrow(&[(76.0, 104.0), (76.0, 122.0)]);
    picture.arrow(&[(140.0, 145.0), (280.0, 145.0)]);
    picture.arrow(&[(344.0, 104.0), (344.0, 122.0)]);
    picture.arrow(&[(140.0, 209.0), (146.0, 209.0)]);
    picture.arrow(&[(274.0, 209.0), (330.0, 209.0), (330.0, 250.0)]);
    picture.arrow(&[(380.0, 168.0), (380.0, 250.0)]);
    for (row, text) in [
        "The consumer still holds frame 57: the old file keeps its",
        "memory until that is released. A kept region is the same",
        "memory for A and B: there B uses no extent that A's holds.",
    ]
    .into_iter()
    .enumerate()
    {
        picture.note(10.0, 308.0 + 16.0 * row as f64, text);
    }
    picture.finish()
}
