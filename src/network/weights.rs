//! Weights as safetensors, with the names of the exported `PyTorch` module.

use super::layer::{Layer, PreActivation};
use super::sequence::{Part, Squeeze};
use super::{Network, Tensor};
use burn::module::{Param, RunningState};
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::TensorData;
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};
use std::collections::{BTreeSet, HashMap};

/// Why weights cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The bytes are not safetensors, or these tensors cannot be written.
    #[error("not a usable safetensors file: {message}")]
    Format {
        /// What is wrong.
        message: String,
    },
    /// The weights are those of another network.
    #[error("the weights {difference}: they belong to another network; load those of this one")]
    Another {
        /// The tensor in which they differ from the network's, and how.
        difference: String,
    },
    /// The weights could not be read from the device.
    #[error("the weights cannot be read from the device: {message}")]
    Device {
        /// The device's message.
        message: String,
    },
}

impl From<SafeTensorError> for WeightsError {
    fn from(error: SafeTensorError) -> Self {
        Self::Format { message: error.to_string() }
    }
}

/// The place of a named tensor in a network.
pub(super) enum Place<'a> {
    Kernel(&'a mut Param<Tensor<4>>),
    Vector(&'a mut Param<Tensor<1>>),
    Running(&'a mut RunningState<Tensor<1>>),
    /// burn stores the weights of a linear layer as input, output; `PyTorch` as output, input.
    Transposed(&'a mut Param<Tensor<2>>),
    /// How many batches a normalisation has seen. `PyTorch` counts them, but does not use the number.
    BatchCount,
}

/// A tensor on the host, as it is stored in a file.
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Stored {
    /// Creates a tensor of single precision.
    pub(crate) fn numbers(name: String, shape: Vec<usize>, values: &[f32]) -> Self {
        Self { name, dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    /// Returns tensors as a safetensors file with `facts` as its metadata.
    pub(crate) fn file(tensors: &[Self], facts: HashMap<String, String>) -> Result<Vec<u8>, SafeTensorError> {
        let views = tensors.iter().map(|tensor| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?;
            Ok((tensor.name.as_str(), view))
        });
        safetensors::serialize(views.collect::<Result<Vec<_>, SafeTensorError>>()?, Some(facts))
    }
}

/// Returns the numbers of a tensor of single precision in a file.
pub(crate) fn numbers(view: &TensorView<'_>) -> Vec<f32> {
    let (words, _) = view.data().as_chunks::<4>();
    words.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Returns the entry `key` of the metadata of a safetensors file, if it has one.
pub(crate) fn fact(file: &[u8], key: &str) -> Result<Option<String>, SafeTensorError> {
    let (_, header) = SafeTensors::read_metadata(file)?;
    Ok(header.metadata().as_ref().and_then(|facts| facts.get(key)).cloned())
}

impl Network {
    /// Returns the weights as a safetensors file, with the names of the module that
    /// [`Blueprint::to_pytorch`](crate::export::Blueprint::to_pytorch) writes and with `facts` as its metadata.
    ///
    /// The file includes the running statistics of batch normalisation. Equal networks give equal bytes, if there is at
    /// most one fact.
    ///
    /// # Errors
    /// [`WeightsError::Device`] if the device fails.
    pub fn to_safetensors(&self, facts: HashMap<String, String>) -> Result<Vec<u8>, WeightsError> {
        // A clone shares its tensors.
        let mut network = self.clone();
        let stored: Vec<Stored> =
            network.places().into_iter().map(|(name, place)| place.read(name)).collect::<Result<_, _>>()?;
        Ok(Stored::file(&stored, facts)?)
    }

    /// Replaces the weights by those of a safetensors file. Names and shapes must be exactly those of the network.
    ///
    /// # Errors
    /// [`WeightsError`] if the file is damaged or belongs to another network.
    pub fn with_safetensors(mut self, bytes: &[u8]) -> Result<Self, WeightsError> {
        let file = SafeTensors::deserialize(bytes)?;
        let mut left: BTreeSet<String> = file.names().into_iter().map(str::to_owned).collect();
        let device = self.stem.weight.val().device();
        for (name, place) in self.places() {
            let Ok(view) = file.tensor(&name) else {
                return Err(WeightsError::Another { difference: format!("have no {name:?}") });
            };
            left.remove(&name);
            place.write(&name, &view, &device)?;
        }
        match left.into_iter().next() {
            Some(name) => {
                let difference = format!("have {name:?}, which the network does not have");
                Err(WeightsError::Another { difference })
            }
            None => Ok(self),
        }
    }

    /// Returns every tensor of the network with its name in the exported `PyTorch` module.
    pub(super) fn places(&mut self) -> Places<'_> {
        let mut places = Vec::new();
        convolution("stem", &mut self.stem, &mut places);
        if let Some(layer) = &mut self.stem_normalisation {
            normalisation("stem_normalisation", layer, &mut places);
        }
        for (name, cells) in ["reductions", "previous_reductions"].into_iter().zip(&mut self.reductions) {
            for (stage, reduction) in (1..).zip(cells) {
                cell(&format!("{name}.{stage}"), reduction, &mut places);
            }
        }
        let repeats = self.plan.repeats.max(1);
        for (position, block) in self.blocks.iter_mut().enumerate() {
            let (stage, number) = (position / repeats, position % repeats);
            for (node, (layer, projection)) in block.parts_mut().enumerate() {
                let name = format!("stages.{stage}.{number}.layer{node}");
                self::layer(&name, layer, &mut places);
                // Only layers without weights of their own have a projection: the input of a block, and concatenations.
                if let Some(projection) = projection {
                    cell(&name, projection, &mut places);
                }
            }
        }
        normalisation("normalisation", &mut self.normalisation, &mut places);
        linear("classifier", &mut self.classifier, &mut places);
        places
    }
}

pub(super) type Places<'a> = Vec<(String, Place<'a>)>;

fn layer<'a>(name: &str, layer: &'a mut Layer, places: &mut Places<'a>) {
    match layer {
        Layer::PreActivation(layer) => cell(name, layer, places),
        Layer::Convolution(layer) => convolution(name, layer, places),
        Layer::Normalisation(layer) => normalisation(name, layer, places),
        Layer::Add(add) => {
            for (input, projection) in add.projections.iter_mut().enumerate() {
                if let Some(projection) = projection {
                    convolution(&format!("{name}.projections.{input}"), projection, places);
                }
            }
        }
        Layer::Fixed(_) => {}
        Layer::Sequence(layer) => {
            for (position, part) in layer.parts.iter_mut().enumerate() {
                self::part(&format!("{name}.{position}"), part, places);
            }
        }
    }
}

fn part<'a>(name: &str, part: &'a mut Part, places: &mut Places<'a>) {
    match part {
        Part::Convolution(layer) => convolution(name, layer, places),
        Part::Normalisation(layer) => normalisation(name, layer, places),
        Part::Squeeze(Squeeze { reduce, expand }) => {
            convolution(&format!("{name}.reduce"), reduce, places);
            convolution(&format!("{name}.expand"), expand, places);
        }
        Part::Activation(_) => {}
    }
}

fn cell<'a>(name: &str, cell: &'a mut PreActivation, places: &mut Places<'a>) {
    convolution(&format!("{name}.convolution"), &mut cell.convolution, places);
    if let Some(layer) = &mut cell.normalisation {
        normalisation(&format!("{name}.normalisation"), layer, places);
    }
}

fn convolution<'a>(name: &str, layer: &'a mut Conv2d, places: &mut Places<'a>) {
    places.push((format!("{name}.weight"), Place::Kernel(&mut layer.weight)));
    if let Some(bias) = &mut layer.bias {
        places.push((format!("{name}.bias"), Place::Vector(bias)));
    }
}

fn normalisation<'a>(name: &str, layer: &'a mut BatchNorm, places: &mut Places<'a>) {
    places.push((format!("{name}.weight"), Place::Vector(&mut layer.gamma)));
    places.push((format!("{name}.bias"), Place::Vector(&mut layer.beta)));
    places.push((format!("{name}.running_mean"), Place::Running(&mut layer.running_mean)));
    places.push((format!("{name}.running_var"), Place::Running(&mut layer.running_var)));
    places.push((format!("{name}.num_batches_tracked"), Place::BatchCount));
}

fn linear<'a>(name: &str, layer: &'a mut Linear, places: &mut Places<'a>) {
    places.push((format!("{name}.weight"), Place::Transposed(&mut layer.weight)));
    if let Some(bias) = &mut layer.bias {
        places.push((format!("{name}.bias"), Place::Vector(bias)));
    }
}

impl Place<'_> {
    /// Returns the number of its weights, scales, shifts and biases.
    pub(super) fn trainable(&self) -> u64 {
        let shape = match self {
            Self::Kernel(param) => param.lazy_shape(),
            Self::Vector(param) => param.lazy_shape(),
            Self::Transposed(param) => param.lazy_shape(),
            Self::Running(_) | Self::BatchCount => return 0,
        };
        shape.num_elements() as u64
    }

    fn read(self, name: String) -> Result<Stored, WeightsError> {
        let data = match self {
            Self::Kernel(param) => param.val().into_data(),
            Self::Vector(param) => param.val().into_data(),
            Self::Running(state) => state.value_sync().into_data(),
            Self::Transposed(param) => param.val().transpose().into_data(),
            Self::BatchCount => {
                return Ok(Stored { name, dtype: Dtype::I64, shape: Vec::new(), bytes: vec![0; 8] });
            }
        };
        let shape = data.shape().to_vec();
        let values: Vec<f32> =
            data.try_to_vec().map_err(|error| WeightsError::Device { message: format!("{error:?}") })?;
        Ok(Stored::numbers(name, shape, &values))
    }

    fn write(self, name: &str, view: &TensorView<'_>, device: &super::Device) -> Result<(), WeightsError> {
        let (dtype, expected) = match &self {
            Self::Kernel(param) => (Dtype::F32, param.lazy_shape().to_vec()),
            Self::Vector(param) => (Dtype::F32, param.lazy_shape().to_vec()),
            Self::Running(state) => (Dtype::F32, state.value().shape().to_vec()),
            Self::Transposed(param) => (Dtype::F32, param.lazy_shape().iter().rev().copied().collect()),
            Self::BatchCount => (Dtype::I64, Vec::new()),
        };
        if (view.dtype(), view.shape()) != (dtype, &expected[..]) {
            let found = format!("{:?} {:?}", view.dtype(), view.shape());
            let difference = format!("{name:?} are {found}, but the network has {dtype:?} {expected:?}");
            return Err(WeightsError::Another { difference });
        }
        let data = || TensorData::new(numbers(view), expected.clone());
        match self {
            Self::Kernel(param) => *param = Param::from_data(data(), device),
            Self::Vector(param) => *param = Param::from_data(data(), device),
            Self::Running(state) => *state = RunningState::new(Tensor::from_data(data(), device)),
            Self::Transposed(param) => {
                let transposed = Tensor::<2>::from_data(data(), &device.clone().without_autodiff()).transpose();
                *param = Param::from_data(transposed.into_data(), device);
            }
            Self::BatchCount => {}
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::graph::{ImageShape, NetworkConfig, ToGraph, WidthRule};
    use crate::network::device::default_device;
    use crate::seed;
    use crate::space::block::BlockCode;
    use burn::module::Module;

    const BLOCK: &str = "conv3(0) conv1(1) concat(0,2) add(1,3) relu(4) bn(5) plainconv3(6) terminal(7)";

    fn network(block: &str, seed: u64) -> Network {
        network_of(block, seed, WidthRule::Growing)
    }

    fn network_of(block: &str, seed: u64, widths: WidthRule) -> Network {
        let block: BlockCode = block.parse().unwrap();
        let image = ImageShape { channels: 2, height: 8, width: 8 };
        let config = NetworkConfig::cifar().with_data(image, 5);
        let config = NetworkConfig { stages: 2, repeats: 2, width: 3, widths, ..config };
        let device = default_device().unwrap();
        Network::new(&block.to_graph(), &config, &mut seed::stream(seed, "weights", 0), &device).unwrap()
    }

    /// A network whose running statistics have moved away from their initial values.
    fn trained() -> Network {
        let device = default_device().unwrap().autodiff();
        let network = network(BLOCK, 1).train();
        let mut rng = seed::stream(2, "images", 0);
        #[expect(clippy::cast_possible_truncation)]
        let values: Vec<f32> = (0..4 * 128).map(|_| seed::normal(&mut rng) as f32).collect();
        let _ = network.forward(Tensor::from_data(TensorData::new(values, [4, 2, 8, 8]), &device));
        network.valid()
    }

    fn logits(network: &Network) -> Vec<f32> {
        let device = default_device().unwrap();
        network.forward(Tensor::ones([2, 2, 8, 8], &device)).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn saved_weights_give_the_same_logits_in_a_network_of_other_weights() {
        let trained = trained();
        let bytes = trained.to_safetensors(HashMap::new()).unwrap();
        let other = network(BLOCK, 9);
        assert_ne!(logits(&other), logits(&trained));
        let loaded = other.with_safetensors(&bytes).unwrap();
        assert_eq!(logits(&loaded), logits(&trained));
        assert_eq!(loaded.to_safetensors(HashMap::new()).unwrap(), bytes);
    }

    #[test]
    fn every_parameter_and_running_statistic_is_in_the_file_once() {
        let mut network = trained();
        let numbers: usize = network
            .places()
            .into_iter()
            .map(|(name, place)| place.read(name).unwrap())
            .filter(|stored| stored.dtype == Dtype::F32)
            .map(|stored| stored.bytes.len() / 4)
            .sum();
        assert_eq!(numbers, network.num_params());
        let names: BTreeSet<String> = network.places().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), network.places().len());
        assert!(names.contains("stages.1.0.layer4.projections.0.weight"), "{names:?}");
    }

    #[test]
    fn projections_of_bounded_widths_are_under_the_names_of_their_nodes() {
        // Two leaves, so that the input of the second block is wider than its stage.
        let block = "conv3(0) conv1(1) concat(0,2) terminal(1)";
        let mut bounded = network_of(block, 1, WidthRule::Bounded);
        let names: BTreeSet<String> = bounded.places().into_iter().map(|(name, _)| name).collect();
        for node in ["stages.0.0.layer3", "stages.0.1.layer0", "stages.0.1.layer3", "stages.1.1.layer0"] {
            assert!(names.contains(&format!("{node}.convolution.weight")), "{node}: {names:?}");
            assert!(names.contains(&format!("{node}.normalisation.running_var")), "{node}: {names:?}");
        }
        assert!(!names.iter().any(|name| name.starts_with("stages.0.0.layer0")), "{names:?}");
        let bytes = bounded.to_safetensors(HashMap::new()).unwrap();
        let other = network_of(block, 9, WidthRule::Bounded).with_safetensors(&bytes).unwrap();
        assert_eq!(logits(&other), logits(&bounded));
        let growing = network(block, 1).with_safetensors(&bytes).unwrap_err();
        assert!(matches!(growing, WeightsError::Another { .. }), "{growing}");
    }

    #[test]
    fn weights_of_another_network_are_refused_by_name() {
        let bytes = trained().to_safetensors(HashMap::new()).unwrap();
        let error = |block: &str| network(block, 1).with_safetensors(&bytes).unwrap_err();
        let longer = "conv3(0) conv1(1) concat(0,2) add(1,3) relu(4) bn(5) plainconv3(6) conv1(7) terminal(8)";
        for (block, wanted) in [
            (longer, "the weights have no \"stages.0.0.layer8.convolution.weight\": they belong to another network"),
            ("conv3(0) terminal(1)", "they belong to another network"),
            (
                &BLOCK.replacen("conv3", "conv1", 1),
                "the weights \"stages.0.0.layer1.convolution.weight\" are F32 [3, 3,",
            ),
        ] {
            assert!(error(block).to_string().contains(wanted), "{}", error(block));
        }
        let cut = network(BLOCK, 1).with_safetensors(&bytes[..bytes.len() - 1]).unwrap_err();
        assert!(matches!(cut, WeightsError::Format { .. }), "{cut}");
    }
}
