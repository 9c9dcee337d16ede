//! Whether reading images keeps up with training: images a second of the loader alone, of the training alone, and of
//! both at once.
//!
//! ```sh
//! cargo bench --bench loader
//! ```
//!
//! The images are 192 JPEG files of 500x375 pixels, made on the spot; the squares have 224 pixels, or as many as
//! `BLOCKQNN_BENCH_SIZE` says. `BLOCKQNN_BENCH_DATA` names another folder of images (one folder per class).

use blockqnn::data::{
    Augmentation, BatchSource, Batches, BrokenImages, Cropping, DeviceSet, ImageFolder, PictureStream, Pictures,
};
use blockqnn::graph::{NetworkConfig, ToGraph};
use blockqnn::network::device::default_device;
use blockqnn::network::{Device, Network};
use blockqnn::seed;
use blockqnn::space::block::BlockCode;
use blockqnn::train::{Recipe, Training};
use image::{Rgb, RgbImage};
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const BATCH: NonZeroUsize = NonZeroUsize::new(32).expect("32 is not 0");

fn main() -> Result<(), Box<dyn Error>> {
    let made = tempfile::tempdir()?;
    let path = if let Some(path) = std::env::var_os("BLOCKQNN_BENCH_DATA") {
        path.into()
    } else {
        make(made.path())?;
        made.path().to_owned()
    };
    let size = std::env::var("BLOCKQNN_BENCH_SIZE").ok().and_then(|size| size.parse().ok()).unwrap_or(224);
    let folder = ImageFolder::open(path)?;
    let images = folder.len();
    let cores = std::thread::available_parallelism()?;
    let device = default_device()?;
    let cropping = Cropping::imagenet(size);
    let statistics = PictureStream::statistics(Arc::new(folder.clone()), cropping, 64, cores)?;
    let stream = PictureStream::new(Arc::new(folder.clone()), cropping, &statistics, &device)?;
    println!("{images} images of {}, squares of {size}, batches of {BATCH}, {cores} cores", folder.path().display());

    let order = Batches::shuffled(images, BATCH, 1, 0);
    let flip = Augmentation { flip: true, ..Augmentation::default() };
    for threads in [1, 2, cores.get().max(3)] {
        let stream = stream.clone().with_threads(NonZeroUsize::new(threads).unwrap_or(cores));
        let speed = speed(images, || {
            for batch in stream.training_batches(&order, 0, &flip, 1, 0) {
                batch?;
            }
            Ok(())
        })?;
        println!("loader alone, {threads} threads: {speed:.1} images/s");
    }

    // The same squares in memory: what the training does when it waits for nothing.
    let (set, _) = folder.load(size, BrokenImages::Refuse, cores)?;
    let resident = DeviceSet::new(&set, &statistics, &device)?;
    let alone = speed(images, || train(&resident, size, &device))?;
    println!("training alone: {alone:.1} images/s");
    let both = speed(images, || train(&stream.with_threads(cores), size, &device))?;
    println!("training fed by the loader: {both:.1} images/s, {:.0} % of the training alone", 100.0 * both / alone);
    Ok(())
}

fn speed(images: usize, work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    work()?;
    Ok(images as f64 / start.elapsed().as_secs_f64())
}

/// One epoch of a small network, measured on the first few images only by the last epoch's rule of `fit`: both ways of
/// feeding it measure on the same images.
fn train(source: &dyn BatchSource, size: u32, device: &Device) -> Result<(), Box<dyn Error>> {
    let block: BlockCode = "conv3(0) conv3(1) add(0,2) terminal(3)".parse()?;
    let graph = block.to_graph();
    let network = NetworkConfig { width: 16, repeats: 1, ..NetworkConfig::imagenet() };
    let pixels = usize::try_from(size)?;
    let image = blockqnn::graph::ImageShape { channels: 3, height: pixels, width: pixels };
    let network = network.with_data(image, source.classes());
    let recipe = Recipe { epochs: 1, batch_size: BATCH.get(), ..Recipe::imagenet() };
    let tiny = blockqnn::data::ImageSet::new(
        "one image",
        image,
        (0..source.classes()).map(|class| class.to_string()),
        vec![0],
        vec![0; pixels * pixels * 3],
    )?;
    let validation = DeviceSet::new(&tiny, &tiny.channel_statistics(), device)?;
    Training::new(&recipe, source, &validation, 1)
        .fit(|rng, device| Ok(Network::new(&graph, &network, rng, device)?))?;
    Ok(())
}

/// Stand-ins for photographs: smooth colours with some noise, so that they compress about as photographs do.
fn make(folder: &Path) -> Result<(), Box<dyn Error>> {
    for class in 0..4u64 {
        let path = folder.join(class.to_string());
        std::fs::create_dir(&path)?;
        for number in 0..48 {
            let mut rng = seed::stream(class, "photograph", number);
            let phase = seed::unit(&mut rng) * 6.0;
            let picture = RgbImage::from_fn(500, 375, |x, y| {
                let wave = |factor: f64| (f64::from(x) * factor + f64::from(y) / 40.0 + phase).sin() * 90.0 + 128.0;
                let noise = seed::unit(&mut rng) * 30.0;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
                let byte = |value: f64| (value + noise).clamp(0.0, 255.0) as u8;
                Rgb([byte(wave(0.01)), byte(wave(0.03)), byte(wave(0.05))])
            });
            picture.save(path.join(format!("{number}.jpg")))?;
        }
    }
    Ok(())
}
