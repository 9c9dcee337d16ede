//! `classify`: images, by the exported weights of a trained network.

use super::Outcome;
use crate::args::OneDevice;
use blockqnn::files;
use blockqnn::train::{ClassifiedFile, ImageClassifier, Prediction};
use std::error::Error;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Classify images with the weights of a trained network
///
/// Prints each file, its most probable class and the probability; with --top also the next classes. If every image is
/// in a folder with the name of a class, the share that was classified as that class is printed at the end. Files that
/// cannot be read as images are named, and the others are still classified.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Weights of a trained network, as export --to safetensors and transfer write them
    #[arg(value_name = "WEIGHTS")]
    weights: PathBuf,

    /// Image files, or folders of them; the folders in a folder are read too
    #[arg(value_name = "PICTURES", required = true)]
    pictures: Vec<PathBuf>,

    /// Classes to print for each image, the most probable first
    #[arg(long, value_name = "K", default_value = "1", value_parser = crate::args::at_least_one::<NonZeroUsize>)]
    top: NonZeroUsize,

    /// Also write the table to this CSV file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    #[command(flatten)]
    device: OneDevice,
}

/// An image file and its prediction.
type Classified = (PathBuf, Prediction);

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn classify block.safetensors photo.jpg other.png
  blockqnn classify block.safetensors flowers/val --top 3 --csv found.csv";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let csv = arguments.csv.as_deref();
    if let Some(csv) = csv {
        check_output(arguments, csv)?;
    }
    let classifier = ImageClassifier::load(&arguments.weights, &arguments.device.open()?)?;
    let (mut found, mut failed) = (Vec::new(), 0);
    for path in &arguments.pictures {
        for (path, prediction) in classify(&classifier, path) {
            match prediction {
                Ok(prediction) => found.push((path, prediction)),
                Err(error) => {
                    failed += 1;
                    errln!("not classified: {error}");
                }
            }
        }
    }
    let classes = classifier.classes();
    print(classes, &found, arguments.top.get());
    if let Some(share) = accuracy(classes, &found) {
        outln!("{share:.2} % of {} images were classified as the class of their folder", found.len());
    }
    if failed > 0 {
        errln!("{failed} of {} files could not be classified", failed + found.len());
    }
    if let Some(csv) = csv {
        files::write(csv, |out| write_csv(out, classes, &found, arguments.top.get()))
            .map_err(|error| format!("cannot write {}: {error}", csv.display()))?;
        errln!("wrote {}", csv.display());
    }
    Ok(if found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Checks, before the work, that the table can be written and replaces nothing that is read.
fn check_output(arguments: &Arguments, csv: &Path) -> Result<(), String> {
    let mut read = std::iter::once(&arguments.weights).chain(&arguments.pictures);
    if let Some(read) = read.find(|read| files::is_same(read, csv)) {
        return Err(format!("--csv is {}, which is read: name another file", read.display()));
    }
    files::check_writable(csv).map_err(|error| format!("cannot write {}: {error}", csv.display()))
}

/// An image file and its prediction, or the reason why there is none.
type Tried = (PathBuf, Result<Prediction, Box<dyn Error>>);

/// One image file, or all image files in a folder.
fn classify(classifier: &ImageClassifier, path: &Path) -> Vec<Tried> {
    let one = |result: Result<Prediction, Box<dyn Error>>| vec![(path.to_owned(), result)];
    if !path.is_dir() {
        return one(classifier.classify_file(path).map_err(Into::into));
    }
    match classifier.classify_folder(path) {
        Ok(files) => {
            files.into_iter().map(|(path, result): ClassifiedFile| (path, result.map_err(Into::into))).collect()
        }
        Err(error) => one(Err(error.into())),
    }
}

/// The most probable classes: names and probabilities.
fn best<'a>(classes: &'a [String], prediction: &Prediction, top: usize) -> Vec<(&'a str, f32)> {
    let mut all: Vec<_> = classes.iter().map(String::as_str).zip(prediction.probabilities.iter().copied()).collect();
    // Equally probable classes stay in the order of the labels.
    all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    all.truncate(top);
    all
}

fn print(classes: &[String], found: &[Classified], top: usize) {
    let width = found.iter().map(|(path, _)| path.display().to_string().chars().count()).max().unwrap_or_default();
    let name = classes.iter().map(|class| class.chars().count()).max().unwrap_or_default();
    for (path, prediction) in found {
        out!("{:width$}", path.display().to_string());
        for (class, probability) in best(classes, prediction, top) {
            out!("  {class:name$} {:>6.2} %", 100.0 * probability);
        }
        outln!();
    }
}

/// The share of the images, in percent, that are in a folder with the name of their predicted class; `None` unless
/// every image is in a folder with the name of a class.
fn accuracy(classes: &[String], found: &[Classified]) -> Option<f64> {
    let mut correct = 0;
    for (path, prediction) in found {
        let folder = path.parent()?.file_name()?.to_str()?;
        let class = classes.iter().find(|class| *class == folder)?;
        correct += usize::from(*class == prediction.class);
    }
    (!found.is_empty()).then(|| 100.0 * correct as f64 / found.len() as f64)
}

fn write_csv(out: &mut dyn Write, classes: &[String], found: &[Classified], top: usize) -> io::Result<()> {
    write!(out, "file")?;
    (1..=top.min(classes.len())).try_for_each(|place| write!(out, ",class_{place},probability_{place}"))?;
    writeln!(out)?;
    for (path, prediction) in found {
        write!(out, "{}", cell(&path.display().to_string()))?;
        for (class, probability) in best(classes, prediction, top) {
            write!(out, ",{},{probability}", cell(class))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// A cell of a table, in quotes if it has to be.
fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A prediction of two classes.
    fn found(path: &str, dark: f32) -> Classified {
        let probabilities = vec![dark, 1.0 - dark];
        let label = usize::from(dark < 0.5);
        let class = ["dark", "light"][label];
        let json = serde_json::json!({
            "label": label, "class": class, "probability": dark.max(1.0 - dark),
            "probabilities": probabilities,
        });
        (path.into(), serde_json::from_value(json).unwrap())
    }

    #[test]
    fn accuracy_needs_every_picture_in_a_folder_of_a_class() {
        let classes = ["dark".to_owned(), "light".to_owned()];
        let mut pictures = vec![found("val/dark/1.png", 0.75), found("val/light/2.png", 0.75)];
        assert_eq!(accuracy(&classes, &pictures), Some(50.0));
        pictures.push(found("other/3.png", 0.75));
        assert_eq!(accuracy(&classes, &pictures), None);
        assert_eq!(accuracy(&classes, &[]), None);
    }

    #[test]
    fn the_table_has_the_most_probable_classes_first() {
        let classes = ["dark".to_owned(), "light".to_owned()];
        let mut text = Vec::new();
        write_csv(&mut text, &classes, &[found("a, b.png", 0.25)], 5).unwrap();
        let expected = "file,class_1,probability_1,class_2,probability_2\n\"a, b.png\",light,0.75,dark,0.25\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
