//! A plot of the report as SVG: from a call to its first result, Reckon beside its peers, on a logarithmic axis.

use std::fmt::Write as _;

use super::report::Report;

/// The bars, in their order: the run, and what people call it.
const BARS: [(&str, &str); 13] = [
    ("engine_cell", "Reckon engine: a cell in a live context"),
    ("http_cell", "Reckon HTTP: a cell in a live context"),
    ("engine_create_first_result", "Reckon engine: new sandbox, from the pool"),
    ("http_create_print", "Reckon HTTP: new sandbox, from the pool"),
    ("engine_create_first_result_no_context", "Reckon engine: new sandbox, pool empty"),
    ("engine_create_first_result_no_pool", "Reckon engine: new sandbox, nothing ahead"),
    ("monty_expression", "pydantic-monty: an expression (no packages)"),
    ("ipykernel_warm_print", "ipykernel, started: a cell"),
    ("kernel_gateway_warm_print", "Kernel Gateway, started: a cell over HTTP"),
    ("python3_fresh_print", "python3, fresh, nothing imported"),
    ("bwrap_python_print", "bwrap + python3, fresh"),
    ("runc_python_print", "runc + python3, fresh"),
    ("ipykernel_cold_print", "ipykernel, fresh"),
];

const WIDTH: f64 = 860.0;
const LABELS: f64 = 330.0;
const FIGURES: f64 = 90.0;
const ROW: f64 = 24.0;
const TOP: f64 = 44.0;
/// The axis, in powers of ten of a millisecond.
const LEAST: f64 = -2.0;
const MOST: f64 = 3.0;

/// Returns the plot; runs that are not in the report have no bar.
pub(super) fn of(report: &Report) -> String {
    let bars: Vec<_> = BARS
        .iter()
        .filter_map(|(name, label)| {
            Some((
                *label,
                name.starts_with("engine") || name.starts_with("http"),
                report.run(name)?.percentile(50)?,
            ))
        })
        .collect();
    let height = TOP + ROW * bars.len() as f64 + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Milliseconds to the first result, median, logarithmic</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"18\" font-weight=\"bold\">Milliseconds to the result of print(1), median, logarithmic axis</text>\n"
    );
    for power in LEAST as i32..=MOST as i32 {
        let x = position(10_f64.powi(power));
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
            height - 16.0,
            TOP - 8.0,
            10_f64.powi(power)
        );
    }
    for (row, (label, is_ours, figure)) in bars.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let end = position(*figure).max(LABELS + 1.0);
        // Ours and theirs differ in more than colour: the label says who it is.
        let colour = if *is_ours { "#1f6f8b" } else { "#b0b7bd" };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text><rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\">{figure:.2}</text>",
            LABELS - 8.0,
            y + 16.0,
            y + 4.0,
            end - LABELS,
            ROW - 8.0,
            end + 6.0,
            y + 16.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where a figure lies on the axis; what is beyond it lies at its end.
fn position(milliseconds: f64) -> f64 {
    let power = milliseconds.max(f64::MIN_POSITIVE).log10().clamp(LEAST, MOST);
    LABELS + (power - LEAST) / (MOST - LEAST) * (WIDTH - LABELS - FIGURES)
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::super::report::Run;
    use super::*;

    #[test]
    fn a_bar_for_each_run_that_was_measured_and_longer_for_longer() {
        let mut report = Report::new(Map::new());
        report.add(Run::once("engine_cell", "ms", 0.1, ""));
        report.add(Run::once("ipykernel_cold_print", "ms", 500.0, ""));
        report.add(Run::once("something_else", "ms", 5.0, ""));
        let svg = of(&report);
        assert_eq!(svg.matches("fill=\"#1f6f8b\"").count(), 1);
        assert_eq!(svg.matches("fill=\"#b0b7bd\"").count(), 1);
        assert!(svg.contains(">0.10</text>") && svg.contains(">500.00</text>"));
        assert!(position(0.1) < position(500.0) && position(0.0) >= LABELS && position(1e9) <= WIDTH);
    }
}
