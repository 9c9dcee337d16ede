//! How fast agents come near the optimum, in a comparison.

use super::colour_of;
use crate::comparison::Comparison;
use crate::report::colours::SERIES;
use crate::report::figure::Figure;
use crate::report::plot::{Plot, Swatch};
use crate::report::scale::Scale;

/// The regret, in percentage points, below which a line continues at the bottom of the plot.
const FLOOR: f64 = 0.01;

/// Draws the mean regret of every agent of a comparison, in percentage points below the optimum, over the evaluations,
/// or over the epochs if its budgets are in epochs.
///
/// The regret has a logarithmic axis, which ends at a hundredth of a percentage point.
#[must_use]
pub fn regret(comparison: &Comparison) -> Figure {
    let standings = &comparison.standings;
    let points = standings.iter().map(|standing| standing.regret.len()).max().unwrap_or_default();
    let most = (points as u64).saturating_mul(comparison.regret_every);
    let unit = if comparison.counts_epochs() { "epochs" } else { "evaluations" };
    let all = standings.iter().flat_map(|standing| &standing.regret);
    let highest = all.copied().filter(|regret| regret.is_finite()).fold(10.0 * FLOOR, f64::max);
    let mut plot = Plot::new(
        &comparison.benchmark,
        (unit, Scale::counting(most)),
        ("mean regret (percentage points)", Scale::logarithmic(FLOOR, highest)),
    );
    for (number, standing) in standings.iter().enumerate() {
        let regret = (1..).zip(&standing.regret).filter(|(_, regret)| regret.is_finite());
        let place = |point: u32| f64::from(point) * comparison.regret_every as f64;
        let points = regret.map(|(point, regret)| (place(point), regret.max(FLOOR).log10())).collect();
        // After the last colour they repeat, dashed.
        let dashed = number >= SERIES.len();
        plot.line(points, colour_of(number), 2.0, dashed);
        plot.entry(Swatch::Line { dashed }, colour_of(number), &standing.agent);
    }
    plot.figure("regret", &format!("Mean regret of {} agents over {most} {unit}.", standings.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::{Benchmark, Budget, ComparisonConfig, Contender, SyntheticTask};

    #[test]
    fn every_agent_of_a_comparison_has_a_line_and_a_name() {
        let benchmark = Benchmark::synthetic(SyntheticTask::Places, 0.0);
        let contenders: Vec<_> = ["random", "local"].map(|name| Contender::named(name).unwrap()).into();
        let config = ComparisonConfig::new([Budget::Evaluations(20)]).with_seeds(2);
        let comparison = Comparison::run(&benchmark, &contenders, &config, &|_| {}).unwrap();
        let svg = regret(&comparison).svg;
        for name in ["random", "local", "evaluations", "mean regret", &comparison.benchmark] {
            assert!(svg.contains(name), "{name}");
        }
        let lines = SERIES[..2].iter().filter(|colour| svg.contains(**colour));
        assert_eq!(lines.count(), 2);
    }
}
