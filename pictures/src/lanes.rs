//! What producer and consumer do in turns: a frame's life, and a wait.

use crate::drawing::{Area, Kind, LINE, Picture, area};
use shm2::layout::{CELLS, Header, LEASES, Page};

/// A step of one side. `reaches` the other side: an arrow from this step to the next one.
struct Step {
    kind: Kind,
    lines: Vec<String>,
    reaches: bool,
}

fn step<const N: usize>(kind: Kind, reaches: bool, texts: [&str; N]) -> Step {
    Step { kind, lines: texts.map(str::to_owned).to_vec(), reaches }
}

const TOP: f64 = 62.0;
const GAP: f64 = 14.0;

fn height(step: &Step) -> f64 {
    step.lines.len() as f64 * LINE + 12.0
}

/// Left the producer, right the consumer, in the middle what both use.
fn place(step: &Step, y: f64) -> Area {
    match step.kind {
        Kind::Producer => area(12.0, y, 226.0, height(step)),
        Kind::Consumer => area(182.0, y, 226.0, height(step)),
        _ => area(72.0, y, 276.0, height(step)),
    }
}

fn draw(title: &'static str, steps: &[Step]) -> String {
    let total: f64 = steps.iter().map(|step| height(step) + GAP).sum();
    let mut picture = Picture::new(title, TOP + total);
    picture.text(14.0, 24.0, "start", "b", title);
    picture.text(14.0, 48.0, "start", "s", "producer");
    picture.text(406.0, 48.0, "end", "s", "consumer");
    let mut y = TOP;
    for (index, step) in steps.iter().enumerate() {
        let here = place(step, y);
        picture.card(here, step.kind, &step.lines);
        y = here.bottom() + GAP;
        if let Some(next) = steps.get(index + 1).filter(|_| step.reaches) {
            let there = place(next, y);
            let x = (here.x.max(there.x) + here.right().min(there.right())) / 2.0;
            picture.arrow(&[(x, here.bottom()), (x, there.y)]);
        }
    }
    picture.finish()
}

/// From `reserve` until the extent is free again.
pub fn frame() -> String {
    use Kind::{Consumer, Producer, Shared};
    let cell = format!("s mod {CELLS}: description, then number s");
    let entry = format!("in one of its {LEASES} lease entries");
    draw(
        "The life of frame s",
        &[
            step(Producer, true, ["reserve", "takes an extent of the arena"]),
            step(Producer, true, ["write", "the payload, in place"]),
            step(Producer, true, ["publish", "fills the ring's cell, wakes"]),
            step(Shared, true, ["cell", &cell]),
            step(Consumer, true, ["take: lease", "stores number, offset, length", &entry]),
            step(Consumer, true, ["take: check", "oldest is still at most s"]),
            step(Consumer, true, ["read", "the payload, in place"]),
            step(Consumer, true, ["release", "stores 0 in the entry"]),
            step(Producer, true, ["retire", "raises oldest above s: no new take"]),
            step(Producer, true, ["limbo", "scans pages: who still holds s?"]),
            step(Producer, false, ["recycle", "nobody: the extent is free"]),
        ],
    )
}

/// A consumer that sleeps, and the producer that wakes it.
pub fn waiting() -> String {
    use Kind::{Consumer, Producer, Shared};
    let wake = format!("wake, at offset {} of the header", std::mem::offset_of!(Header, wake));
    let ticket = format!("ticket, at offset {} of its page", std::mem::offset_of!(Page, ticket));
    draw(
        "A consumer sleeps, a producer wakes it",
        &[
            step(Consumer, true, ["finds no frame", "reads the wake word"]),
            step(Consumer, true, ["takes a new ticket", "stores it in its page, fence"]),
            step(Shared, false, ["the region has", &wake, &ticket]),
            step(Consumer, true, ["looks again", "a frame now? then no sleep"]),
            step(Consumer, false, ["sleeps by futex_waitv", "while wake is what it read;", "or until it is cancelled"]),
            step(Producer, true, ["publishes a frame, fence"]),
            step(Producer, true, ["reads all tickets", "each is answered: no call"]),
            step(Producer, true, ["a ticket is new", "adds 1 to wake, one call", "wakes all that sleep"]),
            step(Consumer, false, ["takes the frame"]),
        ],
    )
}
