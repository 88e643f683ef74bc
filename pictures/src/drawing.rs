//! Boxes, arrows and text of an SVG.

use std::fmt::{Display, Write};

/// Width of each picture; a phone shows it a little smaller.
pub const WIDTH: f64 = 420.0;
/// Height of a line of text in a box.
pub const LINE: f64 = 18.0;
/// Widest character of the font that is likely, and of the small one.
const CHARACTER: f64 = 7.3;
const SMALL: f64 = 6.6;

const STYLE: &str = "
text{font:14px system-ui,sans-serif;fill:#1c2330}.s{font-size:12.5px;fill:#4d5766}.b{font-weight:600}
.back{fill:#fff;stroke:#d5d9e0}.producer{fill:#d3ecdd;stroke:#0b6e4f}.consumer{fill:#d8e6fa;stroke:#2f5f9e}
.shared{fill:#fdeecf;stroke:#a8761a}.plain{fill:#eef0f3;stroke:#8a93a0}.gone{fill:#f9dcda;stroke:#b3403a}
.l{stroke:#4d5766;stroke-width:1.5;fill:none}.d{stroke-dasharray:4 4}.h{fill:#4d5766}
@media(prefers-color-scheme:dark){text{fill:#e8ebf0}.s{fill:#b4bcc9}.back{fill:#1a1f29;stroke:#39414f}
.producer{fill:#14402f;stroke:#4fbf95}.consumer{fill:#1c3354;stroke:#7fb0f0}.shared{fill:#4a3812;stroke:#e0b050}
.plain{fill:#2a313d;stroke:#8a93a0}.gone{fill:#4d2321;stroke:#ee8a84}.l{stroke:#b4bcc9}.h{fill:#b4bcc9}}";

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Producer,
    Consumer,
    Shared,
    Plain,
    Gone,
}

impl Kind {
    const fn class(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Shared => "shared",
            Self::Plain => "plain",
            Self::Gone => "gone",
        }
    }
}

/// A rectangle.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// A rectangle from its left upper corner and its size.
pub const fn area(x: f64, y: f64, width: f64, height: f64) -> Area {
    Area { x, y, width, height }
}

impl Area {
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    pub fn middle(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}

/// A picture that is being drawn.
pub struct Picture {
    title: &'static str,
    height: f64,
    body: String,
}

impl Picture {
    pub fn new(title: &'static str, height: f64) -> Self {
        Self { title, height, body: String::new() }
    }

    /// Text at a place; `small` text is grey. Text that does not fit into the picture is an error of this crate.
    pub fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: impl Display) {
        let text = text.to_string();
        let width = text.chars().count() as f64 * if class.contains('s') { SMALL } else { CHARACTER };
        let start = match anchor {
            "middle" => x - width / 2.0,
            "end" => x - width,
            _ => x,
        };
        assert!(start >= 2.0 && start + width <= WIDTH - 2.0, "{}: {text:?} is too wide", self.title);
        assert!(y < self.height, "{}: {text:?} is too low", self.title);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>",
            escaped(&text)
        );
    }

    /// A small line of text that begins at `x`.
    pub fn note(&mut self, x: f64, y: f64, text: impl Display) {
        self.text(x, y, "start", "s", text);
    }

    /// A box with centred lines, the first of them bold if there are several.
    pub fn card(&mut self, area: Area, kind: Kind, lines: &[String]) {
        self.rectangle(area, kind.class());
        let (middle, centre) = area.middle();
        let first = centre - (lines.len() as f64 - 1.0) * LINE / 2.0 + 5.0;
        assert!(lines.len() as f64 * LINE <= area.height, "{}: {lines:?} is too high", self.title);
        for (row, line) in lines.iter().enumerate() {
            let class = if row == 0 && lines.len() > 1 {
                "b"
            } else if row == 0 {
                ""
            } else {
                "s"
            };
            let width = line.chars().count() as f64 * if class == "s" { SMALL } else { CHARACTER };
            assert!(width <= area.width, "{}: {line:?} is wider than its box", self.title);
            self.text(middle, first + row as f64 * LINE, "middle", class, line);
        }
    }

    pub fn rectangle(&mut self, area: Area, class: &str) {
        let Area { x, y, width, height } = area;
        assert!(area.right() <= WIDTH && area.bottom() <= self.height, "{}: {area:?} is outside", self.title);
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"4\" class=\"{class}\"/>"
        );
    }

    /// A line through these points with a head at its end.
    pub fn arrow(&mut self, points: &[(f64, f64)]) {
        self.line(points, "l");
        if let [.., (x0, y0), (x1, y1)] = *points {
            let length = (x1 - x0).hypot(y1 - y0);
            let (dx, dy) = ((x1 - x0) / length * 8.0, (y1 - y0) / length * 8.0);
            let (left, right) = ((x1 - dx - dy / 2.0, y1 - dy + dx / 2.0), (x1 - dx + dy / 2.0, y1 - dy - dx / 2.0));
            let _ = writeln!(
                self.body,
                "<path d=\"M{x1:.1} {y1:.1}L{:.1} {:.1}L{:.1} {:.1}Z\" class=\"h\"/>",
                left.0, left.1, right.0, right.1
            );
        }
    }

    /// A line through these points; class `l d` is dashed.
    pub fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = writeln!(self.body, "<path d=\"M{}\" class=\"{class}\"/>", path.join("L"));
    }

    /// The whole SVG.
    pub fn finish(self) -> String {
        let (height, title) = (self.height, self.title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"480\" role=\"img\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\" class=\"back\"/>\n{}</svg>\n",
            WIDTH - 1.0,
            height - 1.0,
            self.body
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The texts as lines of a card.
pub fn lines<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

/// A number of bytes in the largest unit that it is a multiple of.
pub fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 && b.is_multiple_of(1 << 20) => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b.is_multiple_of(1 << 10) => format!("{} KiB", b >> 10),
        b => format!("{b} bytes"),
    }
}

/// A number with its thousands apart.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([size(128), size(65_536), size(4 << 20)], ["128 bytes", "64 KiB", "4 MiB"]);
        assert_eq!([number(7), number(4096), number(4_784_128)], ["7", "4,096", "4,784,128"]);
    }

    #[test]
    #[should_panic(expected = "is wider than its box")]
    fn text_that_does_not_fit_its_box_is_refused() {
        Picture::new("test", 100.0).card(area(10.0, 10.0, 40.0, 30.0), Kind::Plain, &lines(["much too long"]));
    }
}
