//! Classifies the images of a folder: `consumer WEIGHTS FOLDER`.

use blockqnn::{network::device::default_device, train::ImageClassifier};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [weights, folder] = [1, 2].map(|place| std::env::args().nth(place).expect("consumer WEIGHTS FOLDER"));
    let classifier = ImageClassifier::load(weights, &default_device()?)?;
    for (path, prediction) in classifier.classify_folder(folder)? {
        let prediction = prediction?;
        println!("{}: {} ({:.1} %)", path.display(), prediction.class, 100.0 * prediction.probability);
    }
    Ok(())
}
