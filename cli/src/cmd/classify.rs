//! `classify`: images, by the exported weights of a trained network.

use super::Outcome;
use crate::args::OneDevice;
use crate::progress::Files;
use crate::{output, terminal};
use blockqnn::data::picture_files;
use blockqnn::files;
use blockqnn::train::{ImageClassifier, Prediction};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Classify images with the weights of a trained network
///
/// Prints a line for each file, as soon as it is classified: its most probable class and the probability; with --top
/// also the next classes. If every image is in a folder with the name of a class, the share that was classified as that
/// class is printed at the end. Files that cannot be read as images are named, and the others are still classified.
/// Ctrl-C ends the work; the table then has what was classified until then.
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
    let stop = terminal::stop_on_signals("what is classified is printed, and goes into the table")?;
    let (files, mut failed) = list(&arguments.pictures);
    let (count, layout) = (files.len() + failed, Layout::new(classifier.classes(), &files, arguments.top));
    let mut found = Vec::new();
    let mut progress = Files::new(files.len());
    for classified in classifier.classify_files(files)? {
        if stop.is_cancelled() {
            break;
        }
        match classified? {
            (path, Ok(prediction)) => {
                progress.above(|| layout.print(&path, &prediction));
                found.push((path, prediction));
            }
            (_, Err(error)) => {
                failed += 1;
                progress.above(|| errln!("not classified: {error}"));
            }
        }
        progress.advance();
    }
    drop(progress);
    if let Some(share) = accuracy(classifier.classes(), &found) {
        outln!("{share:.2} % of {} images were classified as the class of their folder", found.len());
    }
    if failed > 0 {
        errln!("{failed} of {count} files could not be classified");
    }
    if let Some(csv) = csv {
        output::write(csv, |out| write_csv(out, classifier.classes(), &found, arguments.top.get()))?;
        errln!("wrote {}", csv.display());
    }
    if stop.is_cancelled() {
        errln!("stopped after {} of {count} files", found.len() + failed);
        return Ok(terminal::stopped());
    }
    Ok(if found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Checks, before the work, that the table can be written and replaces nothing that is read.
fn check_output(arguments: &Arguments, csv: &Path) -> Result<(), String> {
    let mut read = std::iter::once(&arguments.weights).chain(&arguments.pictures);
    if let Some(read) = read.find(|read| files::is_same(read, csv)) {
        return Err(format!("--csv is {}, which is read: name another file", read.display()));
    }
    output::check_writable(csv)
}

/// The image files among `pictures` and in its folders, and how many folders have none or cannot be read.
fn list(pictures: &[PathBuf]) -> (Vec<PathBuf>, usize) {
    let (mut files, mut failed) = (Vec::new(), 0);
    for path in pictures {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        match picture_files(path) {
            Ok(found) => files.extend(found),
            Err(error) => {
                failed += 1;
                errln!("not classified: {error}");
            }
        }
    }
    (files, failed)
}

/// The most probable classes: names and probabilities.
fn best<'a>(classes: &'a [String], prediction: &Prediction, top: usize) -> Vec<(&'a str, f32)> {
    let mut all: Vec<_> = classes.iter().map(String::as_str).zip(prediction.probabilities.iter().copied()).collect();
    // Equally probable classes stay in the order of the labels.
    all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    all.truncate(top);
    all
}

/// The columns of what is printed.
struct Layout<'a> {
    classes: &'a [String],
    top: usize,
    /// Characters of the longest file and of the longest class.
    widths: [usize; 2],
}

impl<'a> Layout<'a> {
    fn new(classes: &'a [String], files: &[PathBuf], top: NonZeroUsize) -> Self {
        let file = files.iter().map(|path| path.display().to_string().chars().count()).max().unwrap_or_default();
        let class = classes.iter().map(|class| class.chars().count()).max().unwrap_or_default();
        Self { classes, top: top.get(), widths: [file, class] }
    }

    fn print(&self, path: &Path, prediction: &Prediction) {
        let [file, class] = self.widths;
        let columns: Vec<String> = best(self.classes, prediction, self.top)
            .into_iter()
            .map(|(name, probability)| format!("  {name:class$} {:>6.2} %", 100.0 * probability))
            .collect();
        outln!("{:file$}{}", path.display().to_string(), columns.concat());
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
    let mut csv = csv::Writer::from_writer(out);
    let titles =
        (1..=top.min(classes.len())).flat_map(|place| [format!("class_{place}"), format!("probability_{place}")]);
    csv.write_record(std::iter::once("file".to_owned()).chain(titles))?;
    for (path, prediction) in found {
        let best = best(classes, prediction, top).into_iter();
        let cells = best.flat_map(|(class, probability)| [class.to_owned(), probability.to_string()]);
        csv.write_record(std::iter::once(path.display().to_string()).chain(cells))?;
    }
    csv.flush()
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
