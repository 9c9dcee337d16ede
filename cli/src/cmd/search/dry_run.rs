//! What `--dry-run` prints.

use super::Arguments;
use super::duration::Speed;
use crate::progress::seconds_as_text;
use blockqnn::agent::{AgentConfig, NextValues, QLearningConfig};
use blockqnn::experiment::Experiment;
use blockqnn::graph::{NetworkConfig, Reduction, StemConfig, ToGraph, WidthRule};
use blockqnn::reward::{Credit, FlopsOf};
use blockqnn::search::{MedianStopping, Repeats};
use blockqnn::space::SearchSpace;
use blockqnn::space::block::{BlockCode, BlockSpace, ConnectionRule, ConvolutionRule, TerminalRule};
use blockqnn::train::Recipe;
use std::error::Error;
use std::fmt::Display;
use std::path::Path;

/// Random blocks over which the share of trainable ones is counted.
const RANDOM_BLOCKS: u32 = 2_000;

/// Prints the resolved configuration, its cost, and how every point that the paper leaves open is interpreted.
pub(super) fn print(
    arguments: &Arguments,
    experiment: &Experiment,
    folder: Option<&Path>,
) -> Result<(), Box<dyn Error>> {
    let Experiment { agent, search, recipe, .. } = experiment;
    let images = experiment.data.training_images(folder)?;
    outln!("{}, resolved. Nothing is searched or written.\n", arguments.origin());

    print_search(experiment, images as u64)?;
    print_duration(arguments, experiment, images);
    if let AgentConfig::QLearning(agent) = agent {
        outln!("\nEpsilon: the fraction of random decisions, and for how many minibatches");
        out!("  epsilon    ");
        agent.epsilon.phases().iter().for_each(|phase| out!("{:>6}", phase.epsilon));
        out!("\n  minibatches");
        agent.epsilon.phases().iter().for_each(|phase| out!("{:>6}", phase.minibatches));
        outln!();
    } else {
        outln!("\nAgent\n  {agent}");
    }
    print_training(recipe, search.median_stopping);
    print_sizes(experiment)?;
    print_readings(experiment);
    outln!("\nEvery setting (for --config FILE, or one by one with --set PATH=VALUE)");
    outln!("{}", serde_json::to_string_pretty(experiment)?);
    Ok(())
}

/// Prints how much is trained on how many images.
fn print_search(experiment: &Experiment, images: u64) -> Result<(), Box<dyn Error>> {
    let Experiment { search, recipe, data, .. } = experiment;

    outln!("Search");
    outln!(
        "  {} minibatches of {} = {} blocks, {} epochs each on {images} training images of {}",
        search.trials.div_ceil(search.minibatch.max(1)),
        search.minibatch,
        search.trials,
        recipe.epochs,
        data.dataset.name(),
    );
    if let Some(rungs) = &search.rungs {
        let ladder = rungs.ladder(recipe.epochs)?;
        let at = rungs.trials_at(ladder.len(), search.trials, search.minibatch);
        let listed = |numbers: Vec<String>| numbers.join(", ");
        let epochs = listed(ladder.iter().map(|rung| rung.epochs.to_string()).collect());
        let trials = listed(at.iter().map(u64::to_string).collect());
        outln!("  in rungs of {epochs} epochs: {trials} blocks; one in {} is promoted (search.rungs)", rungs.one_in);
    }
    outln!(
        "  {} epochs, which are {} image passes (forward and backward), if every block is trained and none is \
         restarted",
        experiment.epochs(),
        experiment.image_passes(images)
    );
    outln!(
        "  {:.1} % of {RANDOM_BLOCKS} random blocks are small enough to be trained; the others exceed search.limits or \
         2^31 parameters",
        100.0 * experiment.trained_share(RANDOM_BLOCKS)
    );
    outln!(
        "  accuracy is measured on {} images held out of the training set; the test set is not read",
        data.validation
    );
    Ok(())
}

/// Prints how long the search takes on this machine. What trains elsewhere is not known.
fn print_duration(arguments: &Arguments, experiment: &Experiment, images: usize) {
    let elsewhere = "divide the image passes by 3,600 and by the images per second of your device, measured with a few \
                     trials (--trials 8); blockqnn plan estimates the time for many workers";
    if arguments.trains_elsewhere() {
        outln!("  hours: {elsewhere}");
        return;
    }
    match Speed::measure(arguments, experiment, images) {
        Ok(speed) => {
            let time = seconds_as_text(speed.seconds(experiment.image_passes(images as u64)));
            outln!("  about {time} on this machine, if blocks are as large as random ones: {speed}");
        }
        Err(error) => outln!("  hours: not measured here ({error}); {elsewhere}"),
    }
}

fn print_training(recipe: &Recipe, stopping: Option<MedianStopping>) {
    outln!("\nTraining of a block");
    outln!("  optimizer {:?}", recipe.optimizer);
    outln!("  batch {}, learning rate {}, schedule {:?}", recipe.batch_size, recipe.learning_rate, recipe.schedule);
    let rates: Vec<String> =
        (0..recipe.epochs.min(24)).map(|epoch| format!("{:.2e}", recipe.learning_rate_at(epoch, 0))).collect();
    outln!("  learning rate by epoch: {}", rates.join(" "));
    outln!(
        "  if no better than chance after epoch 1: restart with the learning rate times {}, at most {} times",
        recipe.restarts.factor,
        recipe.restarts.max
    );
    if let Some(MedianStopping { grace_epochs, min_trials }) = stopping {
        outln!(
            "  stopped early after an epoch above {grace_epochs}, if its best accuracy is below the median of {min_trials} \
             or more blocks of earlier minibatches (search.median_stopping)"
        );
    }
}

fn print_sizes(experiment: &Experiment) -> Result<(), Box<dyn Error>> {
    outln!("\nSize of a network, for three blocks");
    for text in [
        "conv1(0) terminal(1)",
        "conv3(0) conv3(1) add(0,2) terminal(3)",
        "conv5(0) conv3(0) max3(0) concat(1,2) terminal(3)",
    ] {
        let block: BlockCode = text.parse()?;
        let cost = block.to_graph().cost(&experiment.network())?;
        outln!("  {:<52} {:>12} parameters {:>14} FLOPs", text, cost.parameters, cost.flops);
    }
    Ok(())
}

/// Prints how a point that the paper leaves open is interpreted.
fn reading(name: &str, reading: impl Display) {
    outln!("  {name:<14} {reading}");
}

fn print_readings(experiment: &Experiment) {
    outln!("\nInterpretation of what the paper leaves open");
    if let AgentConfig::QLearning(agent) = &experiment.agent {
        q_learning_readings(agent, experiment.reward.credit);
    }
    reward_readings(experiment);
    block_readings(&experiment.space);
    network_readings(experiment);
}

fn q_learning_readings(agent: &QLearningConfig, credit: Credit) {
    let QLearningConfig { learning_rate, initial_q, discount, replay, next_values, .. } = agent;
    let (rounds, batch) = (replay.rounds, replay.batch);
    let credit = match credit {
        Credit::EveryLayer => "the reward at every layer's update, Equation 2 (reward.credit)",
        Credit::Terminal => "the reward at Terminal only, as in MetaQNN (reward.credit)",
        _ => "the reward divided by the number of layers T at each layer (reward.credit)",
    };
    let next_values = match next_values {
        NextValues::Updated => "from the last layer to the first, each from the value just updated (agent.next_values)",
        _ => "each from the values before the episode, as Equation 2 is printed (agent.next_values)",
    };
    let rate = format!("{learning_rate} for the Q-table; the paper uses 0.01 (agent.learning_rate)");
    reading("learning rate", rate);
    reading("initial Q", format!("{initial_q} percentage points (agent.initial_q)"));
    reading("discount", format!("{discount}; Equation 2 has none, which means 1 (agent.discount)"));
    reading("ties", "a greedy choice among equal values is random");
    let draws = format!("{rounds} rounds of {batch} fresh draws with replacement after each minibatch (agent.replay)");
    reading("replay", draws);
    reading("credit", credit);
    reading("next values", next_values);
}

fn reward_readings(experiment: &Experiment) {
    let Experiment { reward, search, .. } = experiment;
    let flops = match reward.flops_of {
        FlopsOf::Network => {
            "multiply-adds of convolutions and the linear layer, whole network, one image (reward.flops_of)"
        }
        _ => "multiply-adds of the first block alone, one image (reward.flops_of)",
    };
    let repeats = match search.repeats {
        Repeats::Resample => "a block that was evaluated before is replaced by a new proposal (search.repeats)",
        Repeats::Replay => "a block that was evaluated before is learned once more and replaced (search.repeats)",
        _ => "a block that was evaluated before is rewarded from the cache (search.repeats)",
    };
    let (mu, rho) = (reward.mu, reward.rho);
    let score = if search.objective.is_accuracy() {
        "accuracy in percent".to_owned()
    } else {
        format!("score of the {} (search.objective)", search.objective.name)
    };
    let formula = format!("{score} - {mu} ln(FLOPs) - {rho} ln(density), natural logarithms");
    reading("reward", format!("{formula} (reward.mu, reward.rho)"));
    reading("FLOPs", flops);
    reading("density", "edges / nodes of the block as proposed; start and terminal count as nodes");
    reading("repeats", repeats);
    let worst = search.objective.show(search.worst_value());
    let infeasible = if search.objective.worst.is_none() {
        format!("rewarded with the chance accuracy: {worst} (search.limits sets the limits)")
    } else {
        format!("rewarded as if the {} were {worst} (search.objective.worst)", search.objective.name)
    };
    reading("infeasible", infeasible);
}

fn block_readings(space: &BlockSpace) {
    let terminal = match space.terminal() {
        TerminalRule::Connected => "Terminal(K) adds layer K to the output (space.terminal)",
        _ => "one action without connection (space.terminal)",
    };
    let convolution = match space.convolution() {
        ConvolutionRule::PreActivation => "ReLU, convolution without bias, batch norm in one layer (space.convolution)",
        _ => "convolution only; ReLU and batch norm are separate layers (space.convolution)",
    };
    let connections = match space.connections() {
        ConnectionRule::Ascending => "two different layers (space.connections)",
        ConnectionRule::Equal => "two layers, or one twice (space.connections)",
        _ => "any two layers in either order, or one twice (space.connections)",
    };
    let (most, first) = (space.max_layers(), space.actions(&space.initial_state()).len());
    let layers = format!("up to {most}, including Terminal; {first} possible first actions");
    reading("layers", format!("{layers}; Terminal never directly after the start"));
    reading("Terminal", terminal);
    reading("convolution", convolution);
    reading("add, concat", connections);
    reading("additions", "for unequal channels, 1x1 convolutions without bias or norm widen the narrower input");
    reading("average pools", "the mean over the part of the window inside the image");
    reading("output", "layers without successor are concatenated in the order of their index");
}

fn network_readings(experiment: &Experiment) {
    let Experiment { recipe, data, .. } = experiment;
    let NetworkConfig { stages, repeats, width, stem, widths, reduction, .. } = experiment.network();
    let StemConfig { kernel, stride, pools, multiplier, normalised } = stem;
    let widths = match widths {
        WidthRule::Bounded => {
            "a 1x1 cell brings concatenations in a block, and a block's wider input, to the stage's width \
             (search.network.widths)"
        }
        _ => "a concatenation is as wide as its inputs together, and so is what follows (search.network.widths)",
    };
    let network = format!("{stages} stages of N = {repeats} blocks, width {width} doubled per stage");
    let multiplied = if multiplier > 1 { format!(", {multiplier} times the width") } else { String::new() };
    let normalised = if normalised { ", batch norm" } else { "" };
    let stem = format!("stem {kernel}x{kernel} stride {stride}{multiplied}{normalised}, {pools} pools");
    let reduction = match reduction {
        Reduction::Convolution => {
            "a 3x3 cell of stride 2 with the filters of the next stage (search.network.reduction)"
        }
        _ => "a 2x2 max pool of stride 2 (search.network.reduction)",
    };
    reading("network", format!("{network}; {stem} (search.network)"));
    reading("reductions", reduction);
    reading("widths", widths);
    reading("head", "batch norm, ReLU, global average pool, linear layer with bias");
    reading("batch norm", "momentum 0.1, epsilon 1e-5");
    reading("weights", "He initialisation, normal with deviation sqrt(2 / fan-in), also the linear layer's");
    reading("validation", format!("{} images of the training set (data.validation)", data.validation));
    let restarts = format!("after {} restarts a network no better than chance is trained further", recipe.restarts.max);
    reading("restarts", format!("also if the loss is not finite; {restarts}"));
}
