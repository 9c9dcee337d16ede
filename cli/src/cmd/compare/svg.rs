//! The regret curve as SVG, written directly: lines, axes and names, without any feature of the crate.

use blockqnn::comparison::Comparison;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 560.0;
/// Margins: left, top, right, bottom. The names are in the right one.
const MARGINS: [f64; 4] = [70.0, 50.0, 130.0, 60.0];
/// Colours that colour-blind readers can distinguish (Okabe and Ito), and a grey.
const COLOURS: [&str; 9] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442", "#888888"];

/// Mean regret of every agent by evaluation. The regret has a logarithmic axis; it ends at a hundredth of a point.
pub(crate) fn regret(comparison: &Comparison) -> String {
    let [left, top, right, bottom] = MARGINS;
    let longest = comparison.standings().iter().map(|standing| standing.regret.len()).max().unwrap_or(1).max(2);
    let all = comparison.standings().iter().flat_map(|standing| &standing.regret);
    let highest = all.copied().filter(|value| value.is_finite()).fold(0.1, f64::max);
    let floor = 0.01f64;
    let x = |evaluation: f64| left + (evaluation - 1.0) / (longest as f64 - 1.0) * (WIDTH - left - right);
    let y = |value: f64| {
        let share = (value.max(floor) / floor).ln() / (highest / floor).ln();
        HEIGHT - bottom - share * (HEIGHT - top - bottom)
    };
    let mut svg = String::new();
    let mut line = |text: String| svg.push_str(&(text + "\n"));
    line(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">"#
    ));
    line(format!(r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#));
    line(format!(r#"<text x="{left}" y="28" font-size="16">{}</text>"#, escape(comparison.benchmark())));
    let (bottom_line, right_line) = (HEIGHT - bottom, WIDTH - right);
    for power in -2..=2 {
        for step in [1.0, 2.0, 5.0] {
            let value = step * 10f64.powi(power);
            if value > highest {
                continue;
            }
            let y = y(value);
            line(format!(r##"<path d="M{left} {y:.1}H{right_line}" stroke="#ddd"/>"##));
            line(format!(r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{value}</text>"#, left - 8.0, y + 4.0));
        }
    }
    for tick in 0..=5 {
        let evaluation = (1.0 + f64::from(tick) / 5.0 * (longest as f64 - 1.0)).round();
        let x = x(evaluation);
        line(format!(r##"<path d="M{x:.1} {bottom_line}v6" stroke="#444"/>"##));
        line(format!(r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{evaluation}</text>"#, bottom_line + 22.0));
    }
    line(format!(r##"<path d="M{left} {top}V{bottom_line}H{right_line}" fill="none" stroke="#444"/>"##));
    let middle = f64::midpoint(left, right_line);
    line(format!(r#"<text x="{middle}" y="{}" text-anchor="middle">evaluations</text>"#, HEIGHT - 14.0));
    let side = f64::midpoint(top, bottom_line);
    line(format!(
        r#"<text transform="translate(18 {side}) rotate(-90)" text-anchor="middle">mean regret, percentage points</text>"#
    ));
    for (number, standing) in comparison.standings().iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points = (1..).zip(&standing.regret).filter(|(_, value)| value.is_finite());
        let points: Vec<String> =
            points.map(|(evaluation, &value)| format!("{:.1},{:.1}", x(f64::from(evaluation)), y(value))).collect();
        let points = points.join(" ");
        // After the last colour they repeat, dashed.
        let dashes = if number < COLOURS.len() { "" } else { r#" stroke-dasharray="5 3""# };
        line(format!(r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>"#));
        let y = top + 20.0 * number as f64;
        line(format!(r#"<path d="M{} {y}h20" stroke="{colour}" stroke-width="3"{dashes}/>"#, right_line + 10.0));
        line(format!(r#"<text x="{}" y="{}">{}</text>"#, right_line + 36.0, y + 4.0, escape(&standing.agent)));
    }
    line("</svg>".to_owned());
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
