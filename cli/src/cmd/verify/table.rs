//! The results of a verification, as files and as a table.

use crate::output;
use blockqnn::experiment::{Experiment, VerificationReport};
use blockqnn::network::Device;
use blockqnn::train::{ImageClassifier, TrainingEnvironment};
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

/// Accuracy of each network on the test images.
pub(super) fn test_accuracies(
    experiment: &Experiment,
    data: Option<&Path>,
    networks: &Path,
    found: &VerificationReport,
    device: &Device,
) -> Result<Vec<Option<f64>>, Box<dyn Error>> {
    let test = experiment.data.load_test(data, &mut |_| {})?;
    found
        .rows
        .iter()
        .map(|row| {
            let folder = TrainingEnvironment::trial_folder(networks, row.record.fingerprint, row.record.seed);
            if row.accuracy.is_none() {
                return Ok(None);
            }
            let classifier = ImageClassifier::load(folder.join("network.safetensors"), device)?;
            Ok(Some(classifier.accuracy(test.images())?))
        })
        .collect()
}

/// Writes a file of the verification.
pub(super) fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
    output::write(path, content)
        .map_err(|error| format!("{error}. Trained blocks are not lost: repeat the command to write it again"))
}

/// Prints the blocks by converged accuracy, and the rank correlation with the order of the search.
pub(super) fn print(found: &VerificationReport, test: Option<&[Option<f64>]>) {
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2} %"));
    let test_title = if test.is_some() { "      test" } else { "" };
    outln!("rank  converged{test_title}  early stop  early rank   reward  parameters  block");
    for (position, row) in found.rows.iter().enumerate() {
        let test = test.map(|test| format!("  {:>8}", percent(test[position]))).unwrap_or_default();
        outln!(
            "{:>4}  {:>9}{test}  {:>10}  {:>10}  {:>7.3}  {:>10}  {}",
            position + 1,
            percent(row.accuracy),
            percent(Some(row.early_accuracy)),
            row.early_rank,
            row.reward,
            row.record.cost.map_or_else(|| "-".to_owned(), |cost| cost.parameters.to_string()),
            row.record.architecture
        );
    }
    for (name, tau) in
        [("early-stop accuracy", found.tau_of_accuracy()), ("reward of the search", found.tau_of_reward())]
    {
        match tau {
            Some(tau) => outln!("{name} and converged accuracy: Kendall's tau {tau}"),
            None => outln!(
                "{name} and converged accuracy: no rank correlation, which requires at least two blocks and different \
                 values on both sides"
            ),
        }
    }
}
