use blockqnn::{network::device::default_device, train::ImageClassifier};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let classifier = ImageClassifier::load("model.safetensors", &default_device()?)?;
    let prediction = classifier.classify_file("picture.jpg")?;
    println!("{} {:.4}", prediction.class, prediction.probability);
    Ok(())
}
