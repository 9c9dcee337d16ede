//! The nodes of a network.

use super::OnnxError;
use super::builder::Builder;
use super::proto::Attribute;
use super::weights::{EPSILON, Normalisation, Values, Weights};
use crate::export::Blueprint;
use crate::graph::{LayerGraph, NetworkConfig, NodeChannels, Operation, PlacedBlock, Reduction, SizedStep, Step};

/// Writes a network, layer by layer.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) builder: Builder,
    pub(super) weights: Weights<'a>,
    /// Whether batch normalisation is merged into the convolution before it.
    pub(super) fold: bool,
}

impl Writer<'_> {
    /// Adds the network of `blueprint` on the images `input`; its logits are the output `logits`.
    pub(super) fn network(&mut self, blueprint: &Blueprint, input: &str) -> Result<String, OnnxError> {
        let (graph, config) = (blueprint.block(), blueprint.network());
        let mut channels = config.stem_width()?;
        let mut features = self.stem(config, input, channels)?;
        let mut previous = features.clone();
        for block in graph.blocks_in(config) {
            let block = block?;
            if block.is_reduced() {
                features = self.reduction(config.reduction, &block, 0, &features)?;
                if graph.has_previous() {
                    previous = self.reduction(config.reduction, &block, 1, &previous)?;
                }
            }
            let name = format!("stages.{}.{}", block.stage, block.number);
            let output = self.block(&name, graph, &block.nodes, [&features, &previous])?;
            previous = std::mem::replace(&mut features, output);
            channels = block.output();
        }
        let features = self.normalisation("normalisation", &features, channels)?;
        let features = self.builder.node("relu", "Relu", &[&features], []);
        let pooled = self.builder.node("pool", "GlobalAveragePool", &[&features], []);
        let flat = self.builder.node("flat", "Flatten", &[&pooled], [Attribute::int("axis", 1)]);
        let classes = config.classes as u64;
        let weight = self.parameter("classifier.weight", &[classes, channels])?;
        let bias = self.parameter("classifier.bias", &[classes])?;
        Ok(self.builder.node("logits", "Gemm", &[&flat, &weight, &bias], [Attribute::int("transB", 1)]))
    }

    /// Adds the stem's convolution of so many filters, its normalisation and its pools.
    fn stem(&mut self, config: &NetworkConfig, input: &str, channels: u64) -> Result<String, OnnxError> {
        const NORMALISATION: &str = "stem_normalisation";
        let stem = &config.stem;
        let shape = [channels, config.image.channels as u64, stem.kernel.into(), stem.kernel.into()];
        let mut features = if stem.normalised && self.fold {
            let folded = Normalisation::read(&self.weights, NORMALISATION, channels)?;
            self.convolution("stem", input, shape, stem.stride, Some(&folded))?
        } else {
            self.convolution("stem", input, shape, stem.stride, None)?
        };
        if stem.normalised && !self.fold {
            features = self.normalisation(NORMALISATION, &features, channels)?;
        }
        for number in 0..stem.pools {
            features = self.halve(format!("stem.pool{number}"), &features);
        }
        Ok(features)
    }

    /// Adds what reduces an input of the first block of a stage: 0, or 1 for the previous one.
    fn reduction(
        &mut self,
        reduction: Reduction,
        block: &PlacedBlock,
        input: usize,
        features: &str,
    ) -> Result<String, OnnxError> {
        let PlacedBlock { stage, width, inputs, .. } = block;
        match reduction {
            Reduction::Pool => {
                let name = ["pool", "previous"][input];
                Ok(self.halve(format!("stages.{stage}.{name}"), features))
            }
            Reduction::Convolution => {
                let name = ["reductions", "previous_reductions"][input];
                self.cell(&format!("{name}.{stage}"), features, [*width, inputs[input]], Reduction::KERNEL, 2)
            }
        }
    }

    /// Adds a block; layers that do not reach its output are left out.
    fn block(
        &mut self,
        name: &str,
        graph: &LayerGraph,
        channels: &[NodeChannels],
        [input, previous]: [&String; 2],
    ) -> Result<String, OnnxError> {
        let nodes = graph.nodes();
        let used = graph.live_nodes();
        let mut outputs = vec![String::new(); nodes.len()];
        for position in (0..nodes.len()).filter(|&position| used[position]) {
            let name = format!("{name}.layer{position}");
            let inputs: Vec<&str> = nodes[position].inputs.iter().map(|&from| outputs[from].as_str()).collect();
            let widths: Vec<u64> = nodes[position].inputs.iter().map(|&from| channels[from].output).collect();
            let NodeChannels { computed, output } = channels[position];
            let projected = channels[position].is_projected();
            // The projection has the name of its node.
            let own = if projected { format!("{name}.joined") } else { name.clone() };
            let result = match nodes[position].operation {
                Operation::Input => input.clone(),
                Operation::Previous => previous.clone(),
                operation => self.layer(&own, operation, &inputs, &widths, computed)?,
            };
            outputs[position] = if projected { self.cell(&name, &result, [output, computed], 1, 1)? } else { result };
        }
        Ok(outputs.pop().unwrap_or_default())
    }

    fn layer(
        &mut self,
        name: &str,
        operation: Operation,
        inputs: &[&str],
        widths: &[u64],
        output: u64,
    ) -> Result<String, OnnxError> {
        let (first, from) = (inputs[0], widths[0]);
        Ok(match operation {
            Operation::PreActivationConvolution { kernel } => self.cell(name, first, [output, from], kernel, 1)?,
            Operation::Convolution { kernel } => {
                self.convolution(name, first, [output, from, kernel.into(), kernel.into()], 1, None)?
            }
            Operation::BatchNorm => self.normalisation(name, first, output)?,
            Operation::Relu => self.builder.node(name, "Relu", &[first], []),
            Operation::Relu6 => self.relu6(name, first),
            Operation::ShapedConvolution(_)
            | Operation::SeparableConvolution { .. }
            | Operation::FactorisedConvolution { .. }
            | Operation::InvertedBottleneck { .. }
            | Operation::SqueezeExcitation { .. } => self.steps(name, first, &operation.steps(from, output)?)?,
            Operation::Zero => self.builder.node(name, "Sub", &[first, first], []),
            Operation::MaxPool { kernel } if kernel > 1 => {
                self.builder.node(name, "MaxPool", &[first], window(kernel, 1))
            }
            Operation::AveragePool { kernel } if kernel > 1 => {
                let mut attributes = window(kernel, 1);
                attributes.push(Attribute::int("count_include_pad", 0));
                self.builder.node(name, "AveragePool", &[first], attributes)
            }
            Operation::Add => self.sum(name, inputs, widths, output)?,
            Operation::Concat | Operation::Output if inputs.len() > 1 => {
                self.builder.node(name, "Concat", inputs, [Attribute::int("axis", 1)])
            }
            // What computes nothing: identities, pools over one pixel, concatenations of one input.
            _ => first.to_owned(),
        })
    }

    /// Adds a sum of inputs. Inputs with fewer channels than the widest pass through a 1x1 convolution first.
    fn sum(&mut self, name: &str, inputs: &[&str], widths: &[u64], widest: u64) -> Result<String, OnnxError> {
        let mut total: Option<String> = None;
        for (number, (&input, &width)) in inputs.iter().zip(widths).enumerate() {
            let term = if width < widest {
                self.convolution(&format!("{name}.projections.{number}"), input, [widest, width, 1, 1], 1, None)?
            } else {
                input.to_owned()
            };
            total = Some(match total {
                None => term,
                Some(sum) => self.builder.node(format!("{name}.sum{number}"), "Add", &[&sum, &term], []),
            });
        }
        Ok(total.unwrap_or_default())
    }

    /// Adds the steps of an operation.
    fn steps(&mut self, name: &str, input: &str, steps: &[SizedStep]) -> Result<String, OnnxError> {
        let mut features = input.to_owned();
        let mut left = steps.iter().enumerate().peekable();
        while let Some((position, sized)) = left.next() {
            let own = format!("{name}.{position}");
            features = match sized.step {
                Step::Relu => self.builder.node(own, "Relu", &[&features], []),
                Step::Relu6 => self.relu6(&own, &features),
                Step::Normalise => self.normalisation(&own, &features, sized.to)?,
                Step::Squeeze { .. } => self.squeeze(&own, &features, [sized.from, sized.squeezed()])?,
                Step::Convolution { kernel, dilation, .. } => {
                    let [height, width] = kernel.map(u64::from);
                    let shape = [sized.to, sized.from / sized.groups, height, width];
                    let after = match left.peek() {
                        Some((next, SizedStep { step: Step::Normalise, .. })) if self.fold => {
                            Some(Normalisation::read(&self.weights, &format!("{name}.{next}"), sized.to)?)
                        }
                        _ => None,
                    };
                    if after.is_some() {
                        left.next();
                    }
                    let mut attributes = rectangle(kernel, dilation);
                    attributes.push(Attribute::int("group", i64::try_from(sized.groups).unwrap_or(i64::MAX)));
                    self.filters(&own, &features, shape, attributes, after.as_ref())?
                }
            };
        }
        Ok(features)
    }

    fn relu6(&mut self, name: &str, input: &str) -> String {
        let least = self.builder.floats(format!("{name}.least"), &[], &[0.0]);
        let most = self.builder.floats(format!("{name}.most"), &[], &[6.0]);
        self.builder.node(name, "Clip", &[input, &least, &most], [])
    }

    /// Adds a squeeze-and-excitation.
    fn squeeze(&mut self, name: &str, input: &str, [channels, squeezed]: [u64; 2]) -> Result<String, OnnxError> {
        let mut gate = self.builder.node(format!("{name}.means"), "GlobalAveragePool", &[input], []);
        for (part, to, from, function) in
            [("reduce", squeezed, channels, "Relu"), ("expand", channels, squeezed, "Sigmoid")]
        {
            let weight = self.parameter(&format!("{name}.{part}.weight"), &[to, from, 1, 1])?;
            let bias = self.parameter(&format!("{name}.{part}.bias"), &[to])?;
            let sum = self.builder.node(format!("{name}.{part}"), "Conv", &[&gate, &weight, &bias], window(1, 1));
            gate = self.builder.node(format!("{name}.{part}.active"), function, &[&sum], []);
        }
        Ok(self.builder.node(name, "Mul", &[input, &gate], []))
    }

    /// Adds the pre-activation cell: ReLU, convolution, batch normalisation.
    fn cell(
        &mut self,
        name: &str,
        input: &str,
        [to, from]: [u64; 2],
        kernel: u8,
        stride: u8,
    ) -> Result<String, OnnxError> {
        let active = self.builder.node(format!("{name}.relu"), "Relu", &[input], []);
        let (convolution, normalisation) = (format!("{name}.convolution"), format!("{name}.normalisation"));
        let shape = [to, from, kernel.into(), kernel.into()];
        if self.fold {
            let folded = Normalisation::read(&self.weights, &normalisation, to)?;
            return self.convolution(&convolution, &active, shape, stride, Some(&folded));
        }
        let convolved = self.convolution(&convolution, &active, shape, stride, None)?;
        self.normalisation(&normalisation, &convolved, to)
    }

    /// Adds a convolution that keeps the size of its input, divided by `stride`, with `after` merged into it.
    fn convolution(
        &mut self,
        name: &str,
        input: &str,
        shape: [u64; 4],
        stride: u8,
        after: Option<&Normalisation>,
    ) -> Result<String, OnnxError> {
        let attributes = window(u8::try_from(shape[2]).unwrap_or(u8::MAX), stride);
        self.filters(name, input, shape, attributes, after)
    }

    /// Adds a convolution with these attributes; `after` becomes a part of it.
    fn filters(
        &mut self,
        name: &str,
        input: &str,
        shape: [u64; 4],
        attributes: Vec<Attribute>,
        after: Option<&Normalisation>,
    ) -> Result<String, OnnxError> {
        let mut kernel = self.weights.get(&format!("{name}.weight"), &shape)?;
        let affine = after.map(Normalisation::affine);
        if let Some([scale, _]) = &affine {
            let filter = (kernel.values.len() / scale.len().max(1)).max(1);
            for (weights, scale) in kernel.values.chunks_mut(filter).zip(scale) {
                for weight in weights {
                    *weight *= scale;
                }
            }
        }
        let mut inputs = vec![input.to_owned(), self.store(&format!("{name}.weight"), &kernel)];
        if let Some([_, shift]) = affine {
            inputs.push(self.builder.floats(format!("{name}.bias"), &kernel.shape[..1], &shift));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(self.builder.node(name, "Conv", &inputs, attributes))
    }

    fn normalisation(&mut self, name: &str, input: &str, channels: u64) -> Result<String, OnnxError> {
        let read = Normalisation::read(&self.weights, name, channels)?;
        let parts = [
            ("weight", &read.weight),
            ("bias", &read.bias),
            ("running_mean", &read.mean),
            ("running_var", &read.variance),
        ];
        let [weight, bias, mean, variance] = parts.map(|(part, values)| self.store(&format!("{name}.{part}"), values));
        let inputs = [input, &weight, &bias, &mean, &variance];
        Ok(self.builder.node(name, "BatchNormalization", &inputs, [Attribute::float("epsilon", EPSILON)]))
    }

    /// Adds the max pool over 2x2 pixels that halves height and width, rounding down.
    fn halve(&mut self, name: String, input: &str) -> String {
        let attributes = [Attribute::ints("kernel_shape", [2, 2]), Attribute::ints("strides", [2, 2])];
        self.builder.node(name, "MaxPool", &[input], attributes)
    }

    fn parameter(&mut self, name: &str, shape: &[u64]) -> Result<String, OnnxError> {
        let values = self.weights.get(name, shape)?;
        Ok(self.store(name, &values))
    }

    fn store(&mut self, name: &str, values: &Values) -> String {
        self.builder.floats(name, &values.shape, &values.values)
    }
}

/// A kernel around a pixel, whose pixels are `dilation` apart.
fn rectangle(kernel: [u8; 2], dilation: u8) -> Vec<Attribute> {
    let dilation = i64::from(dilation);
    let [vertical, horizontal] = kernel.map(|side| i64::from(side / 2) * dilation);
    vec![
        Attribute::ints("kernel_shape", kernel.map(i64::from)),
        Attribute::ints("dilations", [dilation; 2]),
        Attribute::ints("pads", [vertical, horizontal, vertical, horizontal]),
    ]
}

/// A square window around a pixel.
fn window(kernel: u8, stride: u8) -> Vec<Attribute> {
    let (side, stride, margin) = (i64::from(kernel), i64::from(stride), i64::from(kernel / 2));
    vec![
        Attribute::ints("kernel_shape", [side; 2]),
        Attribute::ints("strides", [stride; 2]),
        Attribute::ints("pads", [margin; 4]),
    ]
}
