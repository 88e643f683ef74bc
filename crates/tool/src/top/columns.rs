//! The figures of a region in columns, on the screen and as text.

use crate::rates::Sample;
use crate::show;
use std::cmp::Ordering;

/// Title and width of each column in characters, 0 for what the others leave.
pub const COLUMNS: [(&str, usize); 8] =
    [("REGION", 0), ("RATE", 7), ("AGE", 7), ("MB/S", 7), ("CONS", 4), ("LAG", 5), ("DROP/S", 6), ("STREAM", 21)];

/// What the regions are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Name,
    Rate,
    Age,
    Bytes,
    Consumers,
    Lag,
    Drops,
}

impl Order {
    pub fn of_key(key: char) -> Option<Self> {
        Some(match key {
            'n' => Self::Name,
            'r' => Self::Rate,
            'a' => Self::Age,
            'b' => Self::Bytes,
            'c' => Self::Consumers,
            'l' => Self::Lag,
            'd' => Self::Drops,
            _ => return None,
        })
    }

    /// Number of its column.
    pub fn column(self) -> usize {
        self as usize
    }

    /// The largest first, names from A to Z.
    pub fn compare(self, a: &Sample, b: &Sample) -> Ordering {
        let by = |of: fn(&Sample) -> f64| of(b).total_cmp(&of(a));
        let order = match self {
            Self::Name => Ordering::Equal,
            Self::Rate => by(|sample| sample.rates.frames.unwrap_or(-1.0)),
            Self::Age => by(|sample| sample.region.age.map_or(-1.0, |age| age.as_secs_f64())),
            Self::Bytes => by(|sample| sample.rates.bytes.unwrap_or(-1.0)),
            Self::Consumers => by(|sample| sample.region.consumers.len() as f64),
            Self::Lag => by(|sample| lag(sample) as f64),
            Self::Drops => by(|sample| sample.rates.dropped.unwrap_or(-1.0)),
        };
        order.then_with(|| a.region.path.cmp(&b.region.path))
    }
}

/// The texts of a region, one for each column.
pub fn cells(sample: &Sample) -> [String; 8] {
    let region = &sample.region;
    let number = |value: Option<f64>| value.map_or("-".into(), short);
    [
        show::name(region),
        number(sample.rates.frames),
        region.age.map_or("-".into(), show::time).replace(' ', ""),
        number(sample.rates.bytes.map(|bytes| bytes / 1e6)),
        region.consumers.len().to_string(),
        if region.consumers.is_empty() { "-".into() } else { lag(sample).to_string() },
        number(sample.rates.dropped),
        show::words(region).unwrap_or_else(|| "-".into()),
    ]
}

/// Items that the slowest consumer has not taken yet.
pub fn lag(sample: &Sample) -> u64 {
    sample.region.consumers.iter().map(|consumer| consumer.lag).max().unwrap_or(0)
}

/// A round as text: a line with the time and the number of regions, a header, and a line for each region.
pub fn text(samples: &[Sample], time_ns: u64) -> String {
    let rows: Vec<_> = samples.iter().map(cells).collect();
    let header = COLUMNS.map(|(title, _)| title.to_owned());
    let longest = rows.iter().chain([&header]).map(|row| row[0].chars().count()).max().unwrap_or(0);
    let line = |row: &[String; 8]| {
        let figure = |(text, (_, width)): (&String, (&str, usize))| format!("{text:>width$}");
        let figures: Vec<_> = row.iter().zip(COLUMNS).take(7).skip(1).map(figure).collect();
        format!("{:<longest$} {}  {}", row[0], figures.join(" "), row[7])
    };
    let (seconds, ms) = (time_ns / 1_000_000_000, time_ns / 1_000_000 % 1000);
    let mut lines = vec![format!("time {seconds}.{ms:03}, regions: {}", samples.len())];
    lines.extend([&header].into_iter().chain(&rows).map(line));
    lines.join("\n") + "\n"
}

/// A number in at most 6 characters.
fn short(value: f64) -> String {
    match value {
        v if v < 1000.0 => format!("{v:.1}"),
        v if v < 100_000.0 => format!("{v:.0}"),
        v if v < 1e7 => format!("{:.0}k", v / 1e3),
        v => format!("{:.0}M", v / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0.0"), (59.94, "59.9"), (1234.5, "1234"), (123_456.0, "123k"), (2.5e7, "25M")];
        cases.iter().for_each(|(value, text)| assert_eq!(short(*value), *text));
    }
}
