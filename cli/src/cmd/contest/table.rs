//! What a contest prints.

#[cfg(feature = "report")]
use blockqnn::experiment::ContestRow;
use blockqnn::experiment::{Contest, ContestReport};
#[cfg(feature = "report")]
use std::path::Path;

/// Prints the networks of the entrants and what they cost.
pub(super) fn print_networks(contest: &Contest) {
    outln!("width  parameters         FLOPs  block");
    for entrant in contest.entrants() {
        let cost = entrant.cost().ok();
        outln!(
            "{:>5}  {:>10}  {:>12}  {}",
            entrant.network.width,
            number(cost.map(|cost| cost.parameters)),
            number(cost.map(|cost| cost.flops)),
            entrant.name
        );
    }
}

/// Prints the entrants by mean accuracy.
pub(super) fn print(found: &ContestReport) {
    let measurements: Vec<&String> =
        found.rows.first().map(|row| row.measurements.keys().collect()).unwrap_or_default();
    let columns = |texts: Vec<String>| texts.into_iter().map(|text| text + "  ").collect::<String>();
    let titles = columns(measurements.iter().map(|name| format!("{name:>16}")).collect());
    outln!("rank          accuracy  trainings  width  parameters         FLOPs  {titles}block");
    for (place, row) in found.rows.iter().enumerate() {
        let accuracy = match (row.mean(), row.standard_error()) {
            (Some(mean), Some(error)) => format!("{mean:.2} ± {error:.2} %"),
            (Some(mean), None) => format!("{mean:.2} %"),
            _ => "-".to_owned(),
        };
        let measured = measurements.iter().map(|name| row.measurements.get(*name));
        let measured = measured.map(|value| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}")));
        let measured = columns(measured.map(|value| format!("{value:>16}")).collect());
        outln!(
            "{:>4}  {accuracy:>16}  {:>9}  {:>5}  {:>10}  {:>12}  {measured}{}",
            place + 1,
            row.accuracies.len(),
            row.entrant.network.width,
            number(row.cost.map(|cost| cost.parameters)),
            number(row.cost.map(|cost| cost.flops)),
            row.entrant.name
        );
    }
}

/// Tells which trainings failed, and why the first of each block did.
pub(super) fn print_failures(found: &ContestReport) {
    for row in &found.rows {
        if let Some(reason) = row.failures.first() {
            let (failed, all) = (row.failures.len(), row.failures.len() + row.accuracies.len());
            errln!("warning: {failed} of {all} trainings of {} failed: {reason}", row.entrant.name);
        }
    }
}

/// A number, or a dash where there is none.
fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Draws the accuracy over the parameters, and over every measurement, into the folder of the contest.
#[cfg(feature = "report")]
pub(super) fn draw(out: &Path, found: &ContestReport) -> Result<(), String> {
    use blockqnn::report::{RatedBlock, rated};

    let draw = |quantity: &str, cost: &dyn Fn(&ContestRow) -> Option<f64>| {
        let block = |row: &ContestRow| {
            let (name, error) = (row.entrant.name.clone(), row.standard_error());
            Some(RatedBlock { name, cost: cost(row)?, accuracy: row.mean()?, error })
        };
        let blocks: Vec<RatedBlock> = found.rows.iter().filter_map(block).collect();
        let Some(figure) = rated(quantity, &blocks) else { return Ok(()) };
        crate::output::write(&out.join(format!("{}.svg", figure.name)), |file| file.write_all(figure.svg.as_bytes()))
    };
    draw("parameters", &|row| row.cost.map(|cost| cost.parameters as f64))?;
    let measurements = found.rows.first().map(|row| row.measurements.keys()).into_iter().flatten();
    measurements.into_iter().try_for_each(|name| draw(name, &|row| row.measurements.get(name).copied()))
}
