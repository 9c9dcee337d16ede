//! A space, an agent, an environment, a reward and an evaluator of one's own, in one file: a search of multilayer
//! perceptrons, of which this crate knows no graph and no cost.
use blockqnn::agent::{Agent, AgentError, Edit, Memory, RandomAgent, TrajectoryOf};
use blockqnn::environment::{Cancellation, Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Metrics, Reward};
use blockqnn::evaluator::{Assignment, Evaluator, EvaluatorError, Event, Verdict};
use blockqnn::graph::Cost;
use blockqnn::report::{Report, Run};
use blockqnn::reward::{Credit, RewardError, RewardShaper};
use blockqnn::search::{Observer, RecordOf, RunFolder, Search, SearchConfig, SearchReport};
use blockqnn::seed::Rng;
use blockqnn::space::{SearchSpace, SpaceError, Step, walk};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::error::Error;
use std::path::Path;

/// What follows a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Activation {
    Relu,
    Gelu,
    Tanh,
}

/// A decision: one layer more, or the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Choice {
    Layer { width: u32, activation: Activation },
    End,
}

/// The layers of a perceptron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mlp {
    layers: Vec<(u32, Activation)>,
}

/// One to four layers: a state is the number of those that there are.
struct MlpSpace;

impl SearchSpace for MlpSpace {
    type State = u8;
    type Action = Choice;
    type Architecture = Mlp;

    fn initial_state(&self) -> u8 {
        0
    }
    fn actions(&self, layers: &u8) -> Vec<Choice> {
        let activations = [Activation::Relu, Activation::Gelu, Activation::Tanh];
        let widths = [32, 64, 128, 256, 512].into_iter().filter(|_| *layers < 4);
        let layer = |width| activations.map(|activation| Choice::Layer { width, activation });
        widths.flat_map(layer).chain((*layers > 0).then_some(Choice::End)).collect()
    }
    fn step(&self, layers: &u8, choice: &Choice) -> Result<Step<u8>, SpaceError> {
        match choice {
            _ if !self.actions(layers).contains(choice) => Err(SpaceError::illegal(layers, choice)),
            Choice::End => Ok(Step::Terminal),
            Choice::Layer { .. } => Ok(Step::Next(layers + 1)),
        }
    }
    fn decode(&self, choices: &[Choice]) -> Result<Mlp, SpaceError> {
        let layer = |choice| match choice {
            Choice::Layer { width, activation } => Some((width, activation)),
            Choice::End => None,
        };
        walk(self, choices).map(|walk| Mlp { layers: walk.actions.into_iter().filter_map(layer).collect() })
    }
    fn describe(&self, mlp: &Mlp) -> String {
        let layers = mlp.layers.iter().map(|(width, activation)| format!("{width}{activation:?}"));
        layers.collect::<Vec<_>>().join(" ")
    }
}

/// Changes the best so far in one place: all it knows is the memory, so that there is nothing to save.
struct Climber;

impl<S: SearchSpace> Agent<S> for Climber {
    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        match memory.episodes().iter().max_by_key(|episode| episode.reward) {
            Some(best) if !rng.next_u32().is_multiple_of(4) => Edit::random(space, &best.trajectory, rng),
            _ => RandomAgent.propose(space, memory, rng),
        }
    }
}

/// Wants 500 units in all, and smooth activations.
struct Units;

impl Environment<Mlp> for Units {
    type Error = Infallible;

    fn evaluate(&mut self, mlp: &Mlp, _: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let units: u32 = mlp.layers.iter().map(|(width, _)| width).sum();
        let rough = mlp.layers.iter().filter(|(_, activation)| *activation == Activation::Relu).count();
        let accuracy = 95.0 - f64::from(units.abs_diff(500)) / 20.0 - 2.0 * rough as f64;
        Ok(Evaluation::Measured(Metrics::from_accuracy(accuracy.max(0.0))))
    }
    fn identity(&self) -> String {
        "500 units 1".to_owned()
    }
}

/// The logarithm of the odds, so that a point near 100 % counts more than one near 50 %.
struct LogOdds;

impl RewardShaper for LogOdds {
    fn reward(&self, accuracy: f64, _: &Evaluation, _: Option<&Cost>) -> Result<Reward, RewardError> {
        let share = (accuracy / 100.0).clamp(0.001, 0.999);
        Ok(Reward::new((share / (1.0 - share)).ln())?)
    }
    fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
        Credit::Terminal.spread(reward, layers)
    }
}

/// Evaluates what came last first.
struct LastFirst(Units, Vec<Assignment<Mlp>>);

impl Evaluator<Mlp> for LastFirst {
    fn submit(&mut self, assignment: Assignment<Mlp>) -> Result<(), EvaluatorError> {
        self.1.push(assignment);
        Ok(())
    }
    fn wait(&mut self, stop: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        let next = self.1.pop().ok_or_else(|| EvaluatorError("nothing was submitted".into()))?;
        let context = TrialContext::new(&next.trial).with_cancellation(stop.clone());
        let Ok(evaluation) = self.0.evaluate(&next.architecture, &context);
        let verdict = if stop.is_cancelled() { Verdict::Cancelled } else { Verdict::Evaluated(evaluation) };
        listener(Event::Ended { trial: next.trial.id, verdict });
        Ok(())
    }
    fn identity(&self) -> String {
        self.0.identity()
    }
}

/// Counts the trials of a process: those that a resumed search finds in its folder are not among them.
#[derive(Default)]
struct Evaluated(u64);

impl Observer<MlpSpace> for Evaluated {
    fn on_finished(&mut self, _: &RecordOf<MlpSpace>) -> Result<(), blockqnn::environment::BoxError> {
        self.0 += 1;
        Ok(())
    }
}

/// Searches in a new folder, or continues the search that is in it.
fn search(folder: &Path, trials: u64) -> Result<(SearchReport<MlpSpace>, u64), Box<dyn Error>> {
    let (evaluator, mut evaluated) = (LastFirst(Units, Vec::new()), Evaluated::default());
    let config = SearchConfig::new(trials).with_minibatch(8).with_seed(1);
    let report = Search::with_evaluator(MlpSpace, Climber, evaluator, config)
        .with_reward(LogOdds)
        .with_observer(&mut evaluated)
        .with_run_folder(RunFolder::open(folder)?)
        .run()?;
    Ok((report, evaluated.0))
}

fn page(folder: &Path) -> Result<Report, Box<dyn Error>> {
    Ok(Report::new(vec![Run::new(&MlpSpace, RunFolder::read(folder)?)]))
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("perceptrons-{}", std::process::id()));
    let (report, evaluated) = search(&folder, 120)?;
    println!("{} is the best of {evaluated} trials", MlpSpace.describe(&report.best()[0].architecture));
    println!("its page has {} bytes", page(&folder)?.html().len());
    Ok(std::fs::remove_dir_all(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blockqnn::graph::CostQuantity;
    use blockqnn::testing::*;

    #[test]
    fn all_parts_keep_their_contracts() -> Result<(), Violation> {
        check_space(&MlpSpace)?;
        check_agent(&MlpSpace, || Climber)?;
        check_environment(&MlpSpace, || Units, 100)?;
        check_reward(&LogOdds)?;
        check_evaluator(&MlpSpace, || LastFirst(Units, Vec::new()))
    }

    #[test]
    fn a_search_is_continued_in_its_folder() -> Result<(), Box<dyn Error>> {
        let parent = tempfile::tempdir()?;
        let (whole, evaluated) = search(&parent.path().join("whole"), 64)?;
        assert_eq!((whole.records.len(), evaluated), (64, 64), "nothing is refused");
        let halves = parent.path().join("halves");
        assert_eq!(search(&halves, 24)?.1, 24);
        let (continued, evaluated) = search(&halves, 64)?;
        assert_eq!((continued.records, evaluated), (whole.records, 40));
        Ok(())
    }

    #[test]
    fn nothing_is_said_that_nobody_knows() -> Result<(), Box<dyn Error>> {
        let parent = tempfile::tempdir()?;
        let folder = parent.path().join("run");
        let (report, _) = search(&folder, 64)?;
        assert!(report.pareto_front(CostQuantity::Flops).is_empty());
        let mut csv = Vec::new();
        report.write_csv(&MlpSpace, &mut csv)?;
        let mut texts = vec![String::from_utf8(csv)?];
        let page = page(&folder)?;
        texts.extend(page.series().iter().map(|series| series.csv()));
        for text in &texts {
            let columns: Vec<&str> = text.lines().next().unwrap_or_default().split(',').collect();
            for unknown in ["parameters", "flops", "activation_bytes", "depth", "layers", "density", "mean_layers"] {
                assert!(!columns.contains(&unknown), "{unknown} in {columns:?}");
            }
        }
        let html = page.html();
        for unknown in [">parameters</th>", ">FLOPs</th>", ">depth</th>", "channels", "conv 1", "Pareto"] {
            assert!(!html.contains(unknown), "{unknown}");
        }
        let figures: Vec<String> = page.figures().into_iter().map(|figure| figure.name).collect();
        assert!(figures.contains(&"learning".to_owned()), "{figures:?}");
        for unknown in ["accuracy-flops", "lengths", "kinds", "block-1"] {
            assert!(!figures.contains(&unknown.to_owned()), "{unknown} in {figures:?}");
        }
        assert!(html.contains("Accuracy against FLOPs is not drawn: this search knows no cost."));
        Ok(())
    }
}
