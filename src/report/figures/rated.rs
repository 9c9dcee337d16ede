//! Blocks by what they cost and how accurate they are.

use super::colour_of;
use crate::report::figure::Figure;
use crate::report::plot::{Plot, Swatch};
use crate::report::scale::Scale;

/// A block in the figure that [`rated`] draws.
#[derive(Debug, Clone, PartialEq)]
pub struct RatedBlock {
    /// Its name in the legend.
    pub name: String,
    /// What it costs, such as its number of parameters or its latency; above 0.
    pub cost: f64,
    /// Its accuracy in percent.
    pub accuracy: f64,
    /// The standard error of the accuracy, if it is known.
    pub error: Option<f64>,
}

/// Draws the accuracy of blocks over what they cost, with the standard errors. The cost, called `quantity`, has a
/// logarithmic axis. Blocks have the numbers of their order, so give the best first; those whose cost is not above 0
/// are left out. `None` if there is nothing left to draw.
#[must_use]
pub fn rated(quantity: &str, blocks: &[RatedBlock]) -> Option<Figure> {
    let is_drawn = |block: &&RatedBlock| block.cost > 0.0 && block.cost.is_finite() && block.accuracy.is_finite();
    let drawn: Vec<&RatedBlock> = blocks.iter().filter(is_drawn).collect();
    let ends = |block: &&RatedBlock| [-1.0, 1.0].map(|side| block.accuracy + side * block.error.unwrap_or(0.0));
    let range = |values: &[f64]| {
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
    };
    let (low, high) = range(&drawn.iter().flat_map(ends).collect::<Vec<_>>());
    let (least, most) = range(&drawn.iter().map(|block| block.cost).collect::<Vec<_>>());
    drawn.first()?;
    let title = format!("Accuracy and {quantity}");
    let mut plot = Plot::new(
        &title,
        (quantity, Scale::logarithmic(least, most)),
        ("accuracy (%)", Scale::round(low, high, 6, 0.0..100.0)),
    );
    for (number, block) in drawn.iter().enumerate() {
        let (x, colour) = (block.cost.log10(), colour_of(number));
        let [low, high] = ends(block);
        plot.line(vec![(x, low), (x, high)], colour, 1.5, false);
        plot.dots(vec![(x, block.accuracy)], colour, 4.0, 1.0);
        plot.label((x, block.accuracy), (number + 1).to_string());
        plot.entry(Swatch::Dot, colour, format!("{} {}", number + 1, block.name));
    }
    let name = format!("accuracy-{}", quantity.replace(|sign: char| !sign.is_ascii_alphanumeric(), "-"));
    Some(plot.figure(&name, &format!("The accuracy of {} blocks over their {quantity}.", drawn.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, cost: f64, accuracy: f64, error: Option<f64>) -> RatedBlock {
        RatedBlock { name: name.to_owned(), cost, accuracy, error }
    }

    #[test]
    fn every_block_has_a_dot_a_number_and_a_name_that_stays_text() {
        let blocks =
            [block("<b>", 1e5, 91.0, Some(0.4)), block("plain", 2e6, 85.5, None), block("no cost", 0.0, 1.0, None)];
        let figure = rated("parameters", &blocks).unwrap();
        assert_eq!(figure.name, "accuracy-parameters");
        assert!(
            figure.svg.contains("1 &lt;b&gt;") && figure.svg.contains("2 plain") && !figure.svg.contains("no cost")
        );
        assert_eq!(figure.svg.matches("<circle").count(), 4, "two dots, and two in the legend");
        assert_eq!(rated("parameters", &blocks[2..]), None);
    }

    #[test]
    fn a_single_block_without_an_error_has_axes_too() {
        assert!(rated("latency_ratio", &[block("one", 1.0, 50.0, None)]).unwrap().svg.contains("1 one"));
    }
}
