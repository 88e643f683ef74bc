//! One run's figures.

use crate::{Quantiles, Times};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Figures by name; units are part of the name.
pub type Figures = BTreeMap<String, f64>;

/// Figures of one run of one way to do one thing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The program or group that measured.
    pub bench: String,
    /// What was measured.
    pub case: String,
    /// By what it was done: `shm2` or the name of a peer or limit.
    pub way: String,
    /// The figures.
    pub figures: Figures,
    /// Distribution of the latencies in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Quantiles>,
}

impl Record {
    /// A record without figures.
    pub fn new(bench: &str, case: &str, way: &str) -> Self {
        let [bench, case, way] = [bench, case, way].map(String::from);
        Self { bench, case, way, figures: Figures::new(), latency: None }
    }

    /// Adds a figure.
    pub fn with(mut self, name: &str, figure: f64) -> Self {
        self.figures.insert(name.into(), figure);
        self
    }

    /// Adds latencies, unless there are none.
    pub fn with_latency(mut self, times: &Times) -> Self {
        if !times.is_empty() {
            let quantiles = times.quantiles();
            for (name, figure) in quantiles.named() {
                self.figures.insert(format!("{name} us"), figure);
            }
            self.latency = Some(quantiles);
        }
        self
    }
}

/// Writes records to a file, one on a line.
pub struct Recorder(Option<File>);

impl Recorder {
    /// Appends to `path`; without a path records are not written.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn append(path: Option<&Path>) -> io::Result<Self> {
        let open = |path| File::options().create(true).append(true).open(path);
        Ok(Self(path.map(open).transpose()?))
    }

    /// Writes one record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        match &mut self.0 {
            Some(file) => writeln!(file, "{}", serde_json::to_string(record)?),
            None => Ok(()),
        }
    }
}

/// The records of a (bench, case, way), in the order of the first of each, with the median of each figure.
pub fn group(records: &[Record]) -> Vec<Record> {
    let mut groups: Vec<(Record, Vec<&Record>)> = Vec::new();
    for record in records {
        let same = |(first, _): &&mut (Record, _)| {
            (&first.bench, &first.case, &first.way) == (&record.bench, &record.case, &record.way)
        };
        match groups.iter_mut().find(same) {
            Some((_, members)) => members.push(record),
            None => groups.push((record.clone(), vec![record])),
        }
    }
    groups.into_iter().map(|(first, members)| middle(first, &members)).collect()
}

fn middle(mut record: Record, members: &[&Record]) -> Record {
    let names: std::collections::BTreeSet<_> = members.iter().flat_map(|member| member.figures.keys()).collect();
    for name in names {
        let values = members.iter().filter_map(|member| member.figures.get(name).copied()).collect();
        record.figures.insert(name.clone(), median(values));
    }
    let distributions: Vec<_> = members.iter().filter_map(|member| member.latency.as_ref()).collect();
    if !distributions.is_empty() {
        let at = |index| median(distributions.iter().map(|quantiles| quantiles.0[index]).collect());
        record.latency = Some(Quantiles((0..Quantiles::SHARES.len()).map(at).collect()));
    }
    record.figures.insert("runs".into(), members.len() as f64);
    record
}

/// Median of the figures of a few runs; NaN without any. The figures are fractions, which a histogram would round.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
