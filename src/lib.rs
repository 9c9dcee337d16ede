//! Designs convolutional network blocks with Q-learning, and trains what it finds.
//!
//! A *block* is a small graph of layers. Repeated over the stages of a fixed network it makes an image classifier. An
//! agent writes blocks one layer at a time; a controller has each of them trained for a few epochs; the validation
//! accuracy comes back as the reward that the agent learns from. This is BlockQNN, after Z. Zhong, J. Yan and C.-L.
//! Liu, "Practical Network Blocks Design with Q-Learning".
//!
//! Contents: [Quickstart](#quickstart) · [With real training](#with-real-training) · [The parts](#the-parts) ·
//! [Features](#features) · [Terms](#terms) · [Should I use this?](#should-i-use-this)
//!
//! # Quickstart
//!
//! A search needs a space, an agent, an environment and settings. Here a formula stands in for the training, so that 64
//! blocks take less than a second:
//!
//! ```
//! use blockqnn::agent::{QLearning, QLearningConfig};
//! use blockqnn::environment::environment_fn;
//! use blockqnn::search::{Search, SearchConfig};
//! use blockqnn::space::block::{BlockCode, BlockSpace};
//!
//! let environment = environment_fn("prefers six layers", |block: &BlockCode, _seed| {
//!     90.0 - (block.len() as f64 - 6.0).abs() // accuracy in percent
//! });
//! let agent = QLearning::new(QLearningConfig::paper())?;
//! let config = SearchConfig::paper().with_seed(7).with_trials(64, 16);
//! let report = Search::new(BlockSpace::paper(), agent, environment, config).run()?;
//! for record in report.best().into_iter().take(3) {
//!     println!("{:.1}  {}", record.reward, record.architecture);
//! }
//! # assert_eq!(report.records.len(), 64);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same seed and settings give the same blocks and rewards, on every machine.
//!
//! # With real training
//!
//! With the feature `train` and a device, the environment is a training. This one uses the images that come with the
//! crate, a part of Fashion-MNIST:
//!
//! ```no_run
//! # #[cfg(not(feature = "train"))]
//! # fn main() {}
//! # #[cfg(feature = "train")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use blockqnn::agent::{QLearning, QLearningConfig};
//! use blockqnn::data::{Split, embedded};
//! use blockqnn::graph::{ImageShape, NetworkConfig};
//! use blockqnn::network::device::default_device;
//! use blockqnn::search::{Search, SearchConfig};
//! use blockqnn::space::block::BlockSpace;
//! use blockqnn::train::{Recipe, TrainingEnvironment};
//!
//! // 500 images are held out of the training set to measure accuracy on; a search never sees the test set.
//! let split = Split::new(embedded::train(), 500, 7)?;
//! let image = ImageShape { channels: 1, height: 28, width: 28 };
//! let network = NetworkConfig { repeats: 1, width: 8, ..NetworkConfig::cifar() }.with_data(image, 10);
//! let environment = TrainingEnvironment::new(&split, network.clone(), Recipe::early_stop(), &default_device()?)?;
//!
//! // The controller counts parameters and FLOPs for the same network before anything is trained.
//! let config = SearchConfig { network, ..SearchConfig::paper().with_trials(96, 16) };
//! let agent = QLearning::new(QLearningConfig::paper())?;
//! let report = Search::new(BlockSpace::paper(), agent, environment, config).run()?;
//! println!("{}", report.best()[0].architecture);
//! # Ok(())
//! # }
//! ```
//!
//! Photographs of one's own come from a `data::ImageFolder`, in memory for a search or streamed for a long training;
//! the example `imagenet_transfer` takes a block to them.
//!
//! `cargo run --release --example cifar_search` does the same with progress bars and a table of results.
//!
//! # The parts
//!
//! Each part of a search is a trait. Write one of your own, and the others work with it.
//!
//! | trait | what it decides | in the crate |
//! | --- | --- | --- |
//! | [`SearchSpace`](space::SearchSpace) | what can be designed, one decision after another | [`BlockSpace`](space::block::BlockSpace): the layer codes of Table 1; [`CellSpace`](space::cell::CellSpace): NAS-Bench-201 |
//! | [`ToGraph`](graph::ToGraph) | the [`LayerGraph`](graph::LayerGraph) of an architecture: shapes, cost, density and fingerprint come from it | [`BlockCode`](space::block::BlockCode) |
//! | [`Agent`](agent::Agent) | what is proposed next | [`QLearning`](agent::QLearning), [`RandomAgent`](agent::RandomAgent), [`ListedAgent`](agent::ListedAgent) |
//! | [`Environment`](environment::Environment) | how good an architecture is | [`environment_fn`](environment::environment_fn), [`Synthetic`](environment::synthetic::Synthetic), `train::TrainingEnvironment` |
//! | [`RewardShaper`](reward::RewardShaper) | the reward, and what each layer's update sees of it | [`RedefinedReward`](reward::RedefinedReward): formula 1 with either credit |
//! | [`Evaluator`](search::Evaluator) | where trials are evaluated | [`InlineEvaluator`](search::InlineEvaluator): one after another; [`ThreadEvaluator`](search::ThreadEvaluator): several at a time; `distributed::NatsEvaluator`: on other machines |
//! | [`Observer`](search::Observer) | nothing: it watches, and may stop the search | yours |
//!
//! [`comparison`] compares agents on equal budgets, on tables and on synthetic tasks.
//!
//! [`Search`](search::Search) puts them together and runs them; with a [`RunFolder`](search::RunFolder) it survives whatever
//! stops it, and the feature `report` makes a page of it. [`export`] writes a found block as JSON, DOT and
//! `PyTorch` source; with `train`, the best blocks are trained to convergence and used on images. [`evaluation`] holds
//! the plain data that passes between them, and [`seed`] all randomness. [`testing`] checks a part of your own against
//! what the others rely on.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `train` | yes | the modules `data`, `network`, `train` and `experiment`, on [burn](https://burn.dev); needs one device below to run |
//! | `flex` | yes | the CPU, burn's default kernels in pure Rust |
//! | `ndarray` | | the CPU, burn's older kernels: for comparisons, about 30 times slower in training |
//! | `cuda` | | NVIDIA GPUs |
//! | `cuda-nvrtc` | | NVIDIA GPUs, with kernels compiled by NVRTC instead of the bundled LLVM |
//! | `wgpu` | | GPUs through Vulkan, Metal, DirectX 12 or WebGPU |
//! | `nats` | | the module `distributed`: workers on other machines, through NATS JetStream |
//! | `download` | | `data::download`: fetches CIFAR-10 and CIFAR-100 |
//! | `report` | | the module `report`: a page, pictures and CSV from run folders, drawings of blocks; works without burn |
//!
//! `default-features = false` leaves the search alone: no burn, about 30 small dependencies.
//!
//! # Terms
//!
//! - **Layer code**: one line of Table 1, `(index, kind, kernel, connection 1, connection 2)`; `conv3(0)` as text.
//! - **Block code**: the layer codes of a block, from the first layer to Terminal, which ends it.
//! - **Stage**: blocks at one size of the feature maps. A pool halves the size between stages, and the width doubles.
//! - **Width**: filters of the convolutions in the first stage. **N**: blocks a stage.
//! - **Trial**: one architecture to evaluate, with its number, seed and cost. **Minibatch**: trials that are proposed
//!   before the agent learns from any of them; 64 in the paper.
//! - **Trajectory**: the states and actions of a walk through a space. **Episode**: a trajectory with its rewards.
//! - **Epsilon**: the probability of a random action. The **schedule** lowers it from 1 to 0.1 over the search (Table
//!   2).
//! - **Replay**: after each minibatch, old episodes are drawn at random and learnt again.
//! - **Early stop**: each network is trained for 12 epochs only. **Recipe**: how a network is trained, as data.
//! - **Credit**: how a block's reward is spread over its layers: at every layer (Equation 2), at Terminal, or in
//!   shares.
//! - **FLOPs**: multiply-adds of convolutions and the linear layer for one image. **Density**: edges divided by nodes
//!   of a block.
//! - **Fingerprint**: 128 bits that two blocks share if they are the same graph, however they are written.
//! - **Infeasible**: said of an architecture that is too large, diverges, or cannot be evaluated; it is rewarded as if
//!   it guessed.
//!
//! # Should I use this?
//!
//! Yes, if you want to repeat or extend BlockQNN, to compare agents on equal budgets, or to search a discrete space of
//! your own with a learner that repeats exactly from a seed.
//!
//! No, if you want a good image classifier soon: take a published architecture. A search on the scale of the paper
//! (11,392 trainings) needs many GPUs. Gradient-based and weight-sharing methods (DARTS and its relatives) are not
//! here.
//!
//! `docs/paper-map.md` in the repository tells what of the paper is here, how its gaps are read, and which test holds
//! each reading; `docs/design.md` why the crate is built as it is.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod agent;
#[cfg(feature = "train")]
mod cache;
pub mod comparison;
#[cfg(feature = "train")]
pub mod data;
#[cfg(feature = "nats")]
pub mod distributed;
pub mod environment;
pub mod evaluation;
#[cfg(feature = "train")]
pub mod experiment;
pub mod export;
pub mod graph;
#[cfg(feature = "train")]
pub mod network;
#[cfg(feature = "report")]
pub mod report;
pub mod reward;
pub mod search;
pub mod seed;
pub mod space;
pub mod testing;
#[cfg(feature = "train")]
pub mod train;

/// Compiles and runs the snippets of the README and of docs/ with the other doctests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/quickstart.md")]
    struct Quickstart;
    #[doc = include_str!("../docs/concepts.md")]
    struct Concepts;
    #[doc = include_str!("../docs/your-own.md")]
    struct YourOwn;
    #[cfg(feature = "nats")]
    #[doc = include_str!("../docs/distributed.md")]
    struct Distributed;
}
