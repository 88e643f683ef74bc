//! The states of the relay's machine. Each arrow is an event that the machine itself was given.

use crate::drawing::{Area, Kind, Picture, area};
use shm2_relay::machine::{Machine, Phase, Timing};
use std::time::Duration;

/// Something that happens to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Wanted,
    Unwanted,
    Fails,
    TimePasses,
}

/// The name of a state in the code.
fn name(phase: Phase) -> String {
    let text = format!("{phase:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

/// The machine after these events.
fn after(events: &[Event]) -> Machine {
    let mut machine = Machine::new(Timing::default(), true, 1);
    let mut now = Duration::ZERO;
    for event in events {
        match event {
            Event::Wanted => machine.set_demand(true, now),
            Event::Unwanted => machine.set_demand(false, now),
            Event::Fails => drop(machine.input_failed(now)),
            Event::TimePasses => now += Duration::from_secs(60),
        }
        if *event == Event::TimePasses {
            let ran = machine.input_runs();
            drop(machine.step(now, ran));
        }
    }
    machine
}

/// Where an event leads from the state that `path` leads to.
fn transition(path: &[Event], event: Event) -> (String, String) {
    let then: Vec<_> = path.iter().copied().chain([event]).collect();
    (name(after(path).phase()), name(after(&then).phase()))
}

/// All transitions: the events that lead to the state, the event, and what the picture calls it.
pub fn transitions() -> Vec<(String, String, &'static str)> {
    use Event::{Fails, TimePasses, Unwanted, Wanted};
    let on = [Wanted, TimePasses];
    let cooling = [Wanted, TimePasses, Unwanted];
    let all: [(&[Event], Event, &str); 8] = [
        (&[], Wanted, "demand"),
        (&[Wanted], Unwanted, "demand ends"),
        (&[Wanted], TimePasses, "time is up"),
        (&on, Unwanted, "demand ends"),
        (&on, Fails, "fails"),
        (&cooling, Wanted, "demand"),
        (&cooling, Fails, "fails"),
        (&cooling, TimePasses, "time is up"),
    ];
    all.into_iter()
        .map(|(path, event, text)| {
            let (from, to) = transition(path, event);
            (from, to, text)
        })
        .collect()
}

fn place(state: &str) -> Area {
    match state {
        "Off" => area(16.0, 60.0, 136.0, 48.0),
        "Waiting" => area(268.0, 60.0, 136.0, 48.0),
        "On" => area(268.0, 200.0, 136.0, 48.0),
        _ => area(16.0, 200.0, 136.0, 48.0),
    }
}

/// The four states, with a line to each other that the machine takes.
pub fn relay() -> String {
    let timing = Timing::default();
    let mut picture = Picture::new("When the relay's input runs", 358.0);
    picture.text(14.0, 24.0, "start", "b", "The relay: when the camera is open");
    for (state, what) in [("Off", "camera closed"), ("Waiting", "closed"), ("On", "open"), ("Cooling", "open")] {
        let kind = if ["On", "Cooling"].contains(&state) { Kind::Producer } else { Kind::Plain };
        picture.card(place(state), kind, &[state.to_owned(), what.to_owned()]);
    }
    for (from, to, text) in transitions() {
        match (from.as_str(), to.as_str()) {
            ("Off", "Waiting") => edge(&mut picture, &[(152.0, 74.0), (268.0, 74.0)], (210.0, 68.0), "middle", text),
            ("Waiting", "Off") => edge(&mut picture, &[(268.0, 94.0), (152.0, 94.0)], (210.0, 112.0), "middle", text),
            ("Waiting", "On") => {
                edge(&mut picture, &[(360.0, 108.0), (360.0, 200.0)], (354.0, 132.0), "end", text);
            }
            ("On", "Waiting") => edge(&mut picture, &[(286.0, 200.0), (286.0, 108.0)], (292.0, 176.0), "start", text),
            ("On", "Cooling") => edge(&mut picture, &[(268.0, 214.0), (152.0, 214.0)], (210.0, 208.0), "middle", text),
            ("Cooling", "On") => edge(&mut picture, &[(152.0, 234.0), (268.0, 234.0)], (210.0, 252.0), "middle", text),
            ("Cooling", "Off") => {
                let (x, y) = if text == "fails" { (130.0, 176.0) } else { (30.0, 148.0) };
                edge(&mut picture, &[(x - 4.0, 200.0), (x - 4.0, 108.0)], (x + 4.0, y), "start", text);
            }
            (from, to) => panic!("the picture has no arrow from {from} to {to}"),
        }
    }
    let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
    let notes = [
        "Defaults:".to_owned(),
        format!("start delay {}, cool-down {}", seconds(timing.start_delay), seconds(timing.cool_down)),
        format!("back-off {}, doubling up to {}", seconds(timing.back_off), seconds(timing.longest_back_off)),
        format!("fails: also {} without a first buffer,", seconds(timing.start_timeout)),
        format!("or {} without a further one", seconds(timing.frame_timeout)),
    ];
    for (row, text) in notes.into_iter().enumerate() {
        picture.note(20.0, 280.0 + 16.0 * row as f64, text);
    }
    picture.finish()
}

fn edge(picture: &mut Picture, points: &[(f64, f64)], at: (f64, f64), anchor: &str, text: &str) {
    picture.arrow(points);
    picture.text(at.0, at.1, anchor, "s", text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_takes_each_transition_that_is_drawn() {
        let drawn: Vec<_> = transitions().into_iter().map(|(from, to, _)| format!("{from} {to}")).collect();
        let expected = [
            "Off Waiting",
            "Waiting Off",
            "Waiting On",
            "On Cooling",
            "On Waiting",
            "Cooling On",
            "Cooling Off",
            "Cooling Off",
        ];
        assert_eq!(drawn, expected);
    }
}
