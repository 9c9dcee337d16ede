//! Neural architecture search for convolutional network blocks with Q-learning.
//!
//! A *block* is a small graph of layers. Repeated over the stages of a fixed network, it forms an image classifier. An
//! agent writes blocks one layer at a time; a controller has each of them trained for a few epochs; the validation
//! accuracy is the reward that the agent learns from. This is BlockQNN, from Z. Zhong, J. Yan and C.-L. Liu, "Practical
//! Network Blocks Design with Q-Learning".
//!
//! Contents: [Quickstart](#quickstart) · [With real training](#with-real-training) · [The parts](#the-parts) ·
//! [Features](#features) · [Terms](#terms) · [Should I use this?](#should-i-use-this)
//!
//! # Quickstart
//!
//! A search needs a space, an agent, an environment and settings. Here a formula replaces the training, so 64 blocks
//! take less than a second:
//!
//! ```
//! use blockqnn::agent::{QLearning, QLearningConfig};
//! use blockqnn::environment::environment_fn;
//! use blockqnn::reward::{Credit, RedefinedReward};
//! use blockqnn::search::{Search, SearchConfig};
//! use blockqnn::space::block::{BlockCode, BlockSpace};
//!
//! let environment = environment_fn("prefers six layers", |block: &BlockCode, _seed| {
//!     90.0 - (block.len() as f64 - 6.0).abs() // accuracy in percent
//! });
//! // The paper's learner, rewarded at every layer; its schedule, of 178 minibatches, is scaled to the 4 of this search.
//! let agent = QLearning::new(QLearningConfig::paper().scaled_to(4))?;
//! let config = SearchConfig::new(64).with_minibatch(16).with_seed(7);
//! let search = Search::new(BlockSpace::paper(), agent, environment, config);
//! let report = search.with_reward(RedefinedReward::accuracy(Credit::EveryLayer)).run()?;
//! for record in report.best().into_iter().take(3) {
//!     println!("{:.1}  {}", record.reward, record.architecture);
//! }
//! # assert_eq!(report.records.len(), 64);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same seed and settings give the same blocks and rewards.
//!
//! # With real training
//!
//! With the feature `train` and a device, the environment trains networks. This one uses the images that come with the
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
//! use blockqnn::reward::RedefinedReward;
//! use blockqnn::search::{Search, SearchConfig};
//! use blockqnn::space::block::BlockSpace;
//! use blockqnn::train::{Recipe, TrainingEnvironment};
//!
//! // 500 images of the training set are held out to measure accuracy; a search never sees the test set.
//! let split = Split::new(embedded::train(), 500, 7)?;
//! let image = ImageShape { channels: 1, height: 28, width: 28 };
//! let network = NetworkConfig { repeats: 1, width: 8, ..NetworkConfig::cifar() }.with_data(image, 10);
//! let environment = TrainingEnvironment::new(&split, network.clone(), Recipe::early_stop(), &default_device()?)?;
//!
//! // The controller counts parameters and FLOPs for the same network before anything is trained.
//! let config = SearchConfig::new(96).with_network(network);
//! let agent = QLearning::new(QLearningConfig::paper().scaled_to(6))?;
//! let search = Search::new(BlockSpace::paper(), agent, environment, config).with_reward(RedefinedReward::paper());
//! let report = search.run()?;
//! println!("{}", report.best()[0].architecture);
//! # Ok(())
//! # }
//! ```
//!
//! Your own pictures come from a `data::ImageFolder`, in memory for a search or streamed for a long training. The
//! examples of the repository do both. The package `blockqnn-cli` does all of this on the command line, with progress
//! bars and a table of results.
//!
//! # The parts
//!
//! Each part of a search is a trait. Implement one, and the other parts work with it.
//!
//! | trait | what it decides | in the crate |
//! | --- | --- | --- |
//! | [`SearchSpace`] | what can be designed | [`BlockSpace`]: Table 1; [`CellSpace`]: NAS-Bench-201 |
//! | [`ToGraph`] | the [`LayerGraph`] of an architecture that is a network of layers | [`BlockCode`], [`CellCode`] |
//! | [`Agent`] | what is proposed next | [`QLearning`], [`LeastSquares`], [`LocalSearch`] and others in [`agent`] |
//! | [`Environment`] | an architecture's accuracy | [`Synthetic`], [`TableEnvironment`], `train::TrainingEnvironment` |
//! | [`RewardShaper`] | the reward of each layer | [`RedefinedReward`], with [`SoftTargets`] for cost |
//! | [`Evaluator`] | where trials are evaluated | [`ThreadEvaluator`], [`ProcessEvaluator`], `NatsEvaluator` |
//! | [`Observer`] | nothing, but it may stop the search | [`SecondsObserver`], `report::TensorBoard` |
//!
//! An architecture need not be a network. Where it has a graph and the search a network around it, its shapes, cost and
//! density are computed; otherwise nothing is said of them. A closure becomes an environment with
//! [`environment_fn`](environment::environment_fn). Unless an evaluator is given, trials are evaluated one after
//! another in the caller's thread ([`InlineEvaluator`](evaluator::InlineEvaluator)).
//!
//! [`comparison`] compares agents on equal budgets, on tables and on synthetic tasks.
//!
//! [`Search`](search::Search) combines the parts and runs them; a [`Session`](search::Session) is the same search for
//! callers that evaluate trials themselves. With a [`RunFolder`](search::RunFolder) a search can be killed and resumed,
//! and the feature `report` makes an HTML page of it. [`export`] writes a found block as JSON, DOT, `PyTorch` source and
//! ONNX; with `train`, the best blocks are trained to convergence and classify images. [`evaluation`] contains the
//! plain data that passes between the parts, [`seed`] all randomness, and [`files`] how everything is written.
//! [`testing`] checks your own implementations against what the other parts rely on.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `train` | yes | `data`, `network`, `train` and `experiment`, on [burn](https://burn.dev); needs a device to run |
//! | `flex` | yes | the CPU, with burn's default pure Rust kernels and faster ones of our own |
//! | `ndarray` | | the CPU, with burn's older kernels: for comparisons, more than 30 times slower in training |
//! | `cuda` | | NVIDIA GPUs |
//! | `cuda-nvrtc` | | NVIDIA GPUs, with kernels compiled by NVRTC instead of the bundled LLVM |
//! | `wgpu` | | GPUs through Vulkan, Metal, DirectX 12 or WebGPU |
//! | `nats` | | the module `distributed`: workers on other machines, through NATS JetStream |
//! | `download` | | `data::download`: fetches CIFAR-10 and CIFAR-100 |
//! | `onnx` | | trained networks as ONNX files, and as folders for model hubs; works without burn |
//! | `report` | | the module `report`: a page, plots, CSV and drawings of blocks from run folders; works without burn |
//!
//! `default-features = false` leaves only the search: no burn, about 30 small dependencies.
//!
//! # Terms
//!
//! - **Layer code**: one line of Table 1, `(index, kind, kernel, connection 1, connection 2)`; as text, `conv3(0)`.
//! - **Block code**: the layer codes of a block, from the first layer to Terminal, which ends it.
//! - **Stage**: the blocks at one size of the feature maps. Between stages, a pool halves the size and the width
//!   doubles.
//! - **Width**: filters of the convolutions in the first stage. **N**: blocks per stage.
//! - **Trial**: one architecture to evaluate, with its number, seed and cost. **Minibatch**: trials that are proposed
//!   before the agent learns from any of them; 64 in the paper.
//! - **Trajectory**: the states and actions of a walk through a space. **Episode**: a trajectory with its rewards.
//! - **Epsilon**: the probability of a random action. The **schedule** lowers it from 1 to 0.1 over the search (Table
//!   2).
//! - **Replay**: after each minibatch, earlier episodes are sampled at random and learned again.
//! - **Early stop**: each network is trained for 12 epochs only. **Recipe**: how a network is trained, as data.
//! - **Credit**: how a block's reward is distributed over its layers: at every layer (Equation 2), at Terminal, or in
//!   shares.
//! - **FLOPs**: multiply-adds of convolutions and the linear layer for one image. **Density**: edges divided by nodes
//!   of a block.
//! - **Fingerprint**: 128 bits that two blocks share if they are the same graph, however they are written.
//! - **Infeasible**: an architecture that is too large, diverges, or cannot be evaluated; its reward is that of
//!   guessing.
//!
//! # Should I use this?
//!
//! Yes, if you want to repeat or extend BlockQNN, to compare agents on equal budgets, or to search your own discrete
//! space with a learner that repeats exactly from a seed.
//!
//! No, if you want a good image classifier soon: take a published architecture. A search on the scale of the paper
//! (11,392 trainings) needs many GPUs. Gradient-based and weight-sharing methods (DARTS and its relatives) are not
//! implemented.
//!
//! In the repository, `docs/paper-map.md` lists which statements of the paper are implemented, how its gaps are
//! interpreted, and which test checks each reading; `docs/design.md` explains why the crate is built as it is.
//!
//! [`Agent`]: agent::Agent
//! [`BlockCode`]: space::block::BlockCode
//! [`BlockSpace`]: space::block::BlockSpace
//! [`CellCode`]: space::cell::CellCode
//! [`CellSpace`]: space::cell::CellSpace
//! [`Environment`]: environment::Environment
//! [`Evaluator`]: evaluator::Evaluator
//! [`LayerGraph`]: graph::LayerGraph
//! [`LeastSquares`]: agent::LeastSquares
//! [`LocalSearch`]: agent::LocalSearch
//! [`Observer`]: search::Observer
//! [`ProcessEvaluator`]: evaluator::ProcessEvaluator
//! [`QLearning`]: agent::QLearning
//! [`RedefinedReward`]: reward::RedefinedReward
//! [`RewardShaper`]: reward::RewardShaper
//! [`SearchSpace`]: space::SearchSpace
//! [`SecondsObserver`]: search::SecondsObserver
//! [`SoftTargets`]: reward::SoftTargets
//! [`Synthetic`]: environment::synthetic::Synthetic
//! [`TableEnvironment`]: environment::tabular::TableEnvironment
//! [`ThreadEvaluator`]: evaluator::ThreadEvaluator
//! [`ToGraph`]: graph::ToGraph

#![cfg_attr(docsrs, feature(doc_cfg))]
// Printing to a closed pipe or terminal would panic, and a library should not write to standard output.
#![warn(clippy::print_stdout, clippy::print_stderr)]

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
pub mod evaluator;
#[cfg(feature = "train")]
pub mod experiment;
pub mod export;
pub mod files;
pub mod graph;
pub mod identity;
#[cfg(feature = "train")]
pub mod network;
#[cfg(feature = "report")]
pub mod report;
pub mod reward;
pub mod search;
pub mod seed;
pub mod setting;
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
    #[doc = include_str!("../docs/python.md")]
    struct Python;
    #[cfg(feature = "nats")]
    #[doc = include_str!("../docs/distributed.md")]
    struct Distributed;
}
