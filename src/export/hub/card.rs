//! The card of a network: what it is, how good it is, how to use it.

use super::HubFolder;
use std::fmt::Write;

/// Classes that are listed on the card; the others are in `config.json`.
const LISTED: usize = 50;

const HEAD: &str = "---
pipeline_tag: image-classification
library_name: blockqnn
tags:
- image-classification
- onnx
- safetensors
---
";

const LICENCE: &str = "## Licence

None is stated here. If you publish this folder, choose one that the images and your plans allow, and add it to the head
of this file, as in `license: mit`.
";

/// What uses a network on pictures: from a folder with the files of the network and `picture.jpg`.
const PICTURES: &str = r#"Each of these prints the class of a picture, `picture.jpg`, and its probability.

PyTorch, with `pip install torch pillow`:

```python
import model
import torch

network, facts = model.load("model.safetensors")
with torch.no_grad():
    probabilities = network(model.preprocess("picture.jpg", facts)).softmax(1)[0]
print(facts["classes"][probabilities.argmax()], f"{probabilities.max():.4f}")
```

onnxruntime, with `pip install onnxruntime numpy pillow`:

```python
import json
import numpy
import onnxruntime
from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
session = onnxruntime.InferenceSession("model.onnx")
probabilities = session.run(["probabilities"], {"pixels": numpy.asarray(picture)[None]})[0][0]
classes = json.load(open("config.json", encoding="utf-8"))["classes"]
print(classes[probabilities.argmax()], f"{probabilities.max():.4f}")
```

Rust, with the crate `blockqnn`:

```rust
use blockqnn::{network::device::default_device, train::ImageClassifier};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let classifier = ImageClassifier::load("model.safetensors", &default_device()?)?;
    let prediction = classifier.classify_file("picture.jpg")?;
    println!("{} {:.4}", prediction.class, prediction.probability);
    Ok(())
}
```
"#;

/// What uses a network on images that no image file holds.
const ARRAYS: &str = r#"The network takes arrays, of values `(byte / 255 - mean) / deviation`; `config.json` has `mean`
and `deviation` of each channel.

PyTorch, with `pip install torch`:

```python
import model
import torch

network, facts = model.load("model.safetensors")
with torch.no_grad():
    logits = network(torch.zeros(1, CHANNELS, HEIGHT, WIDTH))
print(facts["classes"][logits[0].argmax()])
```

onnxruntime, with `pip install onnxruntime numpy`:

```python
import json
import numpy
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
logits = session.run(["logits"], {"images": numpy.zeros((1, CHANNELS, HEIGHT, WIDTH), "float32")})[0]
print(json.load(open("config.json", encoding="utf-8"))["classes"][logits[0].argmax()])
```

Rust: `blockqnn::train::ImageClassifier::load("model.safetensors", &device)`, then `classify` on an `ImageSet`.
"#;

pub(super) fn write(folder: &HubFolder) -> String {
    let (network, cost) = (folder.blueprint.network(), folder.blueprint.cost());
    let image = network.image;
    let mut text = format!(
        "{HEAD}\n# A classifier of images in {} classes\n\nA convolutional network for {image} images (channels, \
         height, width), made of one block that is repeated: stages {}, blocks in each {}. It has {} parameters, and \
         takes {} multiply-adds for one image. The block was found by an architecture search: {}.\n\n",
        network.classes,
        network.stages,
        network.repeats,
        cost.parameters,
        cost.flops,
        code(&folder.name),
    );
    // Writing to a string cannot fail, here and below.
    if folder.picture.is_some() {
        let _ = writeln!(text, "![The layers of the block](block.svg)\n");
    }
    figures(&mut text, &folder.figures);
    classes(&mut text, &folder.facts.classes);
    text.push_str("## Use\n\n");
    if folder.takes_pictures() {
        text.push_str(PICTURES);
    } else {
        let sides = [("CHANNELS", image.channels), ("HEIGHT", image.height), ("WIDTH", image.width)];
        let sized = |text: String, (name, side): (&str, usize)| text.replace(name, &side.to_string());
        text.push_str(&sides.into_iter().fold(ARRAYS.to_owned(), sized));
    }
    files(&mut text, folder);
    text.push_str(LICENCE);
    text
}

fn figures(text: &mut String, figures: &[[String; 3]]) {
    text.push_str("## Figures\n\n");
    if figures.is_empty() {
        text.push_str("None are known: these weights came without a measurement.\n\n");
        return;
    }
    text.push_str("| figure | value | source |\n| --- | --- | --- |\n");
    for [name, value, source] in figures {
        let _ = writeln!(text, "| {} | {} | {} |", cell(name), cell(value), cell(source));
    }
    text.push('\n');
}

fn classes(text: &mut String, classes: &[String]) {
    let listed: Vec<String> = classes.iter().take(LISTED).map(|class| code(class)).collect();
    let more = classes.len() - listed.len();
    let rest = if more > 0 { format!(", and {more} more in `config.json`") } else { String::new() };
    let _ = writeln!(text, "## Classes\n\nIn the order of the outputs: {}{rest}.\n", listed.join(", "));
}

fn files(text: &mut String, folder: &HubFolder) {
    let onnx = if folder.takes_pictures() {
        "network as ONNX: from upright pictures, bytes `[batch, height, width, 3]` of any size, to probabilities"
    } else {
        "network as ONNX: from normalised images to logits"
    };
    let _ = writeln!(
        text,
        "\n## Files\n\n| file | content |\n| --- | --- |\n\
         | `model.safetensors` | weights, with the content of `config.json` in their metadata |\n\
         | `model.py` | network as PyTorch source, which loads the weights and prepares pictures |\n\
         | `model.onnx` | {onnx} |\n\
         | `config.json` | architecture, names of the classes, preprocessing |\n"
    );
}

/// A text as code, whatever it contains.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect();
    let longest = text.split(|sign| sign != '`').map(str::len).max().unwrap_or_default();
    if longest == 0 {
        return format!("`{text}`");
    }
    let fence = "`".repeat(longest + 1);
    format!("{fence} {text} {fence}")
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_stay_text_whatever_they_contain() {
        assert_eq!(code("T-shirt/top"), "`T-shirt/top`");
        assert_eq!(code("a `b` ``c"), "``` a `b` ``c ```");
        assert_eq!(code("two\nlines"), "`two lines`");
        assert_eq!(cell("a | b\nc"), "a \\| b c");
    }

    #[test]
    fn many_classes_are_counted_and_not_listed() {
        let names: Vec<String> = (0..LISTED + 3).map(|number| format!("class {number}")).collect();
        let mut text = String::new();
        classes(&mut text, &names);
        assert!(text.contains("`class 49`, and 3 more in `config.json`") && !text.contains("class 50"), "{text}");
    }
}
