//! The number of images of each class.

use super::Pictures;
use std::fmt;

/// The number of classes that are named in a line.
const NAMED: usize = 12;

/// The names of the classes, with the numbers of their training and validation images.
///
/// ```
/// use blockqnn::data::{ClassSizes, Split, embedded};
///
/// let split = Split::new(embedded::train().limit(30, 7)?, 9, 7)?;
/// let sizes = ClassSizes::new(split.training(), split.validation());
/// let text = sizes.to_string();
/// assert!(text.starts_with("10 classes (training + validation images): ") && text.contains(" 2 + 1"), "{text}");
/// assert_eq!(sizes.warnings().len(), 1, "{:?}", sizes.warnings()); // one class has no validation image
/// # Ok::<(), blockqnn::data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassSizes {
    names: Vec<String>,
    /// Training and validation images.
    counts: Vec<[usize; 2]>,
}

impl ClassSizes {
    /// Counts the images of two parts that have the same classes.
    #[must_use]
    pub fn new(training: &dyn Pictures, validation: &dyn Pictures) -> Self {
        let names = training.classes().to_vec();
        let mut counts = vec![[0; 2]; names.len()];
        for (part, images) in [training, validation].into_iter().enumerate() {
            for image in 0..images.len() {
                if let Some(count) = counts.get_mut(usize::from(images.label(image))) {
                    count[part] += 1;
                }
            }
        }
        Self { names, counts }
    }

    /// Returns one sentence for each problem with the sizes: classes with a single image, with a single training image,
    /// and without images to train on or to validate with.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        WRONG.iter().filter_map(|(is_wrong, text)| self.warning(*is_wrong, text)).collect()
    }

    fn warning(&self, is_wrong: IsWrong, text: &str) -> Option<String> {
        let found = self.names.iter().zip(&self.counts).filter(|(_, counts)| is_wrong(**counts));
        match &found.map(|(name, _)| name.as_str()).collect::<Vec<_>>()[..] {
            [] => None,
            [class] => Some(format!("the class {class} has {text}")),
            classes => Some(format!("{} classes ({}) each have {text}", classes.len(), first(classes))),
        }
    }
}

/// A test whether the numbers of training and validation images of a class are a problem.
type IsWrong = fn([usize; 2]) -> bool;

const WRONG: [(IsWrong, &str); 4] = [
    (|[training, validation]| training + validation == 1, "only one image, for training or for validation: add some"),
    (|[training, validation]| training == 1 && validation > 0, "only one training image: add some"),
    (
        |[training, validation]| training == 0 && validation > 1,
        "no training image, so it cannot be learned: add images",
    ),
    (
        |[training, validation]| training > 1 && validation == 0,
        "no validation image, so the accuracy does not depend on it: add images, or hold out more",
    ),
];

/// Joins the first of some names.
fn first(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let listed = names[..names.len() - more].join(", ");
    if more == 0 { listed } else { format!("{listed} and {more} more") }
}

impl fmt::Display for ClassSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let describe =
            |(name, [training, validation]): (&String, &[usize; 2])| format!("{name} {training} + {validation}");
        let sizes: Vec<String> = self.names.iter().zip(&self.counts).map(describe).collect();
        let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
        write!(f, "{} classes (training + validation images): {}", self.names.len(), first(&sizes))?;
        if sizes.len() > NAMED {
            let total = |[training, validation]: &[usize; 2]| training + validation;
            let (least, most) = (self.counts.iter().map(total).min(), self.counts.iter().map(total).max());
            write!(f, "; {} to {} images each", least.unwrap_or(0), most.unwrap_or(0))?;
        }
        Ok(())
    }
}
