//! A bar chart as SVG, for figures that differ by orders of magnitude.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 130.0;
const BAR: f64 = 14.0;
const GAP: f64 = 26.0;
const TOP: f64 = 46.0;
const COLOURS: [&str; 8] = ["#0b6e4f", "#5b8e7d", "#8cb369", "#f4a259", "#bc4b51", "#6c757d", "#4a6fa5", "#b8b8b8"];

/// A chart with a group of bars for each column of the figures, on a logarithmic scale.
pub fn svg(title: &str, names: &[&str], columns: &[String], figures: &[Vec<f64>]) -> String {
    let largest = figures.iter().flatten().copied().fold(1.0, f64::max);
    let length = |figure: f64| (figure.max(1.0).ln() / largest.ln()) * (WIDTH - LEFT - 170.0);
    let group = names.len() as f64 * BAR + GAP;
    let height = TOP + columns.len() as f64 * group;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    for (c, column) in columns.iter().enumerate() {
        let top = TOP + c as f64 * group;
        let middle = top + names.len() as f64 * BAR / 2.0;
        let _ = writeln!(svg, "<text x=\"10\" y=\"{middle:.0}\" font-size=\"13\">{column}</text>");
        for (n, name) in names.iter().enumerate() {
            let (figure, y) = (figures[n][c], top + n as f64 * BAR);
            let (colour, end) = (COLOURS[n % COLOURS.len()], length(figure));
            let text = LEFT + end + 6.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{end:.1}\" height=\"{:.0}\" fill=\"{colour}\"/>\
                 <text x=\"{text:.1}\" y=\"{:.0}\">{name}: {figure:.0} ns</text>",
                BAR - 2.0,
                y + BAR - 4.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
