//! Charts as SVG. All axes are logarithmic: the figures differ by orders of magnitude.

use crate::Result;
use figures::{Quantiles, Record};
use plotters::prelude::*;
use std::path::Path;

/// A line: its name and its points.
type Line = (String, Vec<(f64, f64)>);

const COLOURS: [RGBColor; 6] = [
    RGBColor(11, 110, 79),
    RGBColor(188, 75, 81),
    RGBColor(74, 111, 165),
    RGBColor(244, 162, 89),
    RGBColor(108, 117, 125),
    RGBColor(140, 179, 105),
];

/// Draws what there are records for; returns the names of the files.
pub(crate) fn draw(medians: &[Record], directory: &Path) -> Result<Vec<String>> {
    let mut drawn = Vec::new();
    let mut chart = |name: &str, title: &str, axes: [&str; 2], lines: Vec<Line>| -> Result<()> {
        let lines: Vec<_> = lines.into_iter().filter(|(_, points)| points.len() > 1).collect();
        if !lines.is_empty() {
            let file = format!("{name}.svg");
            lines_chart(&directory.join(&file), title, axes, &lines)?;
            drawn.push(file);
        }
        Ok(())
    };
    let slower = "share of frames that took longer";
    for (bench, case, name, title) in [
        ("frames", "paced", "latency-core-polled", "Core, polled, 1 KiB at 2,000/s"),
        ("frames", "woken", "latency-core-woken", "Core, woken, 3 MB at 60/s"),
        ("elements", "M:pool:untouched:60:1", "latency-elements", "Elements, 1920x1080 NV12 at 60/s"),
        ("elements-newer", "M:pool:untouched:60:1", "latency-elements-newer", "The same, newer GStreamer"),
    ] {
        chart(name, title, ["us", slower], latencies(medians, bench, case))?;
    }
    let elements = |case: &str| case.split(':').map(String::from).collect::<Vec<_>>();
    let by_size = |record: &Record| {
        let case = elements(&record.case);
        let [size, rest @ ..] = &case[..] else { return None };
        let bytes = match size.as_str() {
            "S" => 115_200.0,
            "M" => 3_110_400.0,
            "L" => 33_177_600.0,
            _ => 132_710_400.0,
        };
        (rest == ["pool", "untouched", "0", "1"]).then(|| (bytes, record.figures.get("frames/s").copied()))
    };
    chart("throughput-elements", "Elements, untouched", ["bytes", "frames/s"], lines(medians, "elements", by_size))?;
    let by_consumers = |record: &Record| {
        let case = elements(&record.case);
        let [start @ .., consumers] = &case[..] else { return None };
        let consumers = consumers.parse().ok()?;
        (start == ["M", "pool", "untouched", "60"]).then(|| (consumers, record.figures.get("p50 us").copied()))
    };
    chart("consumers-elements", "Elements at 60/s", ["consumers", "p50 us"], lines(medians, "elements", by_consumers))?;
    let message = |record: &Record| {
        let bytes = record.case.strip_prefix("stream of ")?.strip_suffix(" B")?.parse().ok()?;
        Some((bytes, record.figures.get("ns").copied()))
    };
    chart("rings", "A message through a ring", ["bytes", "ns"], lines(medians, "rings", message))?;
    for (label, name) in [("64 B", "consumers-core-small"), ("3 MB", "consumers-core-large")] {
        let cost = |record: &Record| {
            let consumers = record.case.strip_prefix(label)?.strip_prefix(", ")?.strip_suffix(" consumers")?;
            // There is no 0 on a logarithmic axis.
            let consumers = consumers.parse().ok().filter(|count| *count > 0.0)?;
            Some((consumers, record.figures.get("producer ns").copied()))
        };
        let title = format!("Core, producer's time per frame of {label}");
        chart(name, &title, ["consumers", "ns"], lines(medians, "scale", cost))?;
    }
    Ok(drawn)
}

/// The latencies of all ways of a case.
fn latencies(medians: &[Record], bench: &str, case: &str) -> Vec<Line> {
    let own = medians.iter().filter(|record| record.bench == bench && record.case == case);
    let points = |quantiles: &Quantiles| {
        let shares = Quantiles::SHARES.iter().zip(&quantiles.0);
        shares.filter(|(share, _)| **share < 1.0).map(|(share, us)| (*us, 1.0 - share)).collect()
    };
    own.filter_map(|record| Some((record.way.clone(), points(record.latency.as_ref()?)))).collect()
}

/// A line for each way of a group, through the points that `point` finds.
fn lines(medians: &[Record], bench: &str, point: impl Fn(&Record) -> Option<(f64, Option<f64>)>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for record in medians.iter().filter(|record| record.bench == bench) {
        let Some((x, Some(y))) = point(record) else { continue };
        match lines.iter_mut().find(|(way, _)| *way == record.way) {
            Some((_, points)) => points.push((x, y)),
            None => lines.push((record.way.clone(), vec![(x, y)])),
        }
    }
    lines.iter_mut().for_each(|(_, points)| points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    lines
}

fn lines_chart(path: &Path, title: &str, [x, y]: [&str; 2], lines: &[Line]) -> Result<()> {
    let range = |of: fn(&(f64, f64)) -> f64| {
        let all = lines.iter().flat_map(|(_, points)| points.iter().map(of)).filter(|value| *value > 0.0);
        let (least, most) = all.fold((f64::MAX, 0.0), |(least, most), value| (value.min(least), value.max(most)));
        (least * 0.9..most * 1.1).log_scale()
    };
    let area = SVGBackend::new(path, (860, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(range(|point| point.0), range(|point| point.1))?;
    chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(WHITE).draw()?;
    for ((way, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(2);
        chart
            .draw_series(line)?
            .label(way)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
