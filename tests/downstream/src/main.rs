//! A space, an agent, a reward and an evaluator of one's own, and an environment in Python: a search of multilayer
//! perceptrons, of which nobody knows a graph or a cost, for accuracy and latency.
use blockqnn::agent::{Agent, AgentError, Edit, Memory, RandomAgent, TrajectoryOf};
use blockqnn::environment::{BoxedEnvironment, Cancellation, Environment, EnvironmentExt, TrialContext};
use blockqnn::evaluation::{Direction, Evaluation, Reward};
use blockqnn::evaluator::{Assignment, Evaluator, EvaluatorError, Event, Verdict};
use blockqnn::evaluator::{PYTHON_WORKER, ProcessConfig, TrainerCommand, TrainerEnvironment};
use blockqnn::graph::Cost;
use blockqnn::report::{Report, Run};
use blockqnn::reward::{Credit, RewardError, RewardShaper};
use blockqnn::search::{Observer, RecordOf, RunFolder, Search, SearchConfig, SearchReport};
use blockqnn::seed::Rng;
use blockqnn::space::{SearchSpace, SpaceError, Step, walk};
use serde::{Deserialize, Serialize};
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

/// Starts `units.py`, next to the module that it imports.
fn units(folder: &Path) -> Result<BoxedEnvironment<Mlp>, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("blockqnn_worker.py"), PYTHON_WORKER)?;
    std::fs::write(folder.join("units.py"), include_str!("units.py"))?;
    let trainer = TrainerCommand::new("python3", [folder.join("units.py")]).with_name("units.py");
    Ok(TrainerEnvironment::new(serde_json::Value::Null, ProcessConfig::new().with_trainer(trainer))?.boxed())
}

/// The logarithm of the odds, so that a point near 100 % counts more than one near 50 %, less a tenth for each
/// millisecond.
struct LogOdds;

impl RewardShaper for LogOdds {
    fn reward(&self, accuracy: f64, evaluation: &Evaluation, _: Option<&Cost>) -> Result<Reward, RewardError> {
        let latency = match evaluation.metrics() {
            Some(metrics) => evaluation.measurement("latency_ms").ok_or(RewardError::missing("latency_ms", metrics))?,
            None => 0.0,
        };
        let share = (accuracy / 100.0).clamp(0.001, 0.999);
        Ok(Reward::new((share / (1.0 - share)).ln() - latency / 10.0)?)
    }
    fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
        Credit::Terminal.spread(reward, layers)
    }
}

/// Evaluates what came last first.
struct LastFirst(BoxedEnvironment<Mlp>, Vec<Assignment<Mlp>>);

impl Evaluator<Mlp> for LastFirst {
    fn submit(&mut self, assignment: Assignment<Mlp>) -> Result<(), EvaluatorError> {
        self.1.push(assignment);
        Ok(())
    }
    fn wait(&mut self, stop: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        let next = self.1.pop().ok_or_else(|| EvaluatorError("nothing was submitted".into()))?;
        let context = TrialContext::new(&next.trial).with_cancellation(stop.clone());
        let verdict = match self.0.evaluate(&next.architecture, &context) {
            _ if stop.is_cancelled() => Verdict::Cancelled,
            Ok(evaluation) => Verdict::Evaluated(evaluation),
            Err(error) => Verdict::Fault { message: error.to_string() },
        };
        listener(Event::Ended { trial: next.trial.id, verdict });
        Ok(())
    }
    fn identity(&self) -> String {
        self.0.identity()
    }
}

/// Counts the trials of a process: those that a resumed search finds in its folder are not among them.
#[derive(Default)]
struct Count(u64);

impl Observer<MlpSpace> for Count {
    fn on_finished(&mut self, _: &RecordOf<MlpSpace>) -> Result<(), blockqnn::environment::BoxError> {
        self.0 += 1;
        Ok(())
    }
}

type Evaluated<'o, E> = Search<'o, MlpSpace, Climber, E>;

/// The settings of a search, which begins with a perceptron that is known to be good.
fn settings<E>(evaluator: E, trials: u64) -> Evaluated<'static, E> {
    let layer = |width| Choice::Layer { width, activation: Activation::Gelu };
    let config = SearchConfig::new(trials).with_minibatch(8).with_seed(1);
    Search::with_evaluator(MlpSpace, Climber, evaluator, config).with_reward(LogOdds).enqueue([vec![
        layer(256),
        layer(128),
        Choice::End,
    ]])
}

/// Searches in a new folder, or continues the search that is in it; returns what was evaluated now, too.
fn search(folder: &Path, trials: u64) -> Result<(SearchReport<MlpSpace>, u64), Box<dyn Error>> {
    let (evaluator, mut count) = (LastFirst(units(&folder.with_extension("python"))?, Vec::new()), Count::default());
    let search = settings(evaluator, trials).with_observer(&mut count).with_run_folder(RunFolder::open(folder)?);
    Ok((search.run()?, count.0))
}

fn page(folder: &Path) -> Result<Report, Box<dyn Error>> {
    Ok(Report::new(vec![Run::new(&MlpSpace, RunFolder::read(folder)?)]))
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("perceptrons-{}", std::process::id()));
    let (report, evaluated) = search(&folder, 120)?;
    println!("{} is the best of {evaluated} trials", MlpSpace.describe(&report.best()[0].architecture));
    println!("its page has {} bytes", page(&folder)?.html().len());
    for record in report.measurement_front("latency_ms", Direction::Minimise) {
        let metrics = record.evaluation.metrics().ok_or("a front has what was measured")?;
        println!("{:.2} ms: {:.1} %", metrics.measurements["latency_ms"], metrics.value);
    }
    std::fs::remove_dir_all(folder.with_extension("python"))?;
    Ok(std::fs::remove_dir_all(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blockqnn::graph::CostQuantity;
    use blockqnn::search::History;
    use blockqnn::testing::*;

    #[test]
    fn all_parts_keep_their_contracts() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let units = || units(folder.path()).unwrap();
        check_space(&MlpSpace)?;
        check_agent(&MlpSpace, || Climber)?;
        check_environment(&MlpSpace, units, 100)?;
        check_reward(&LogOdds)?;
        Ok(check_evaluator(&MlpSpace, || LastFirst(units(), Vec::new()))?)
    }

    #[test]
    fn a_loop_that_asks_and_tells_makes_the_same_search() -> Result<(), Box<dyn Error>> {
        let parent = tempfile::tempdir()?;
        let (run, _) = search(&parent.path().join("run"), 32)?;
        let mut units = units(parent.path())?;
        let mut session = settings(units.identity(), 32).open()?;
        while let Some(asked) = session.ask()? {
            session.tell(asked.trial.id, units.evaluate(&asked.architecture, &TrialContext::new(&asked.trial))?)?;
        }
        let values = |report: &SearchReport<MlpSpace>| -> Vec<_> {
            report.records.iter().map(|record| (record.architecture.clone(), record.reward)).collect()
        };
        assert_eq!(values(&session.finish()?), values(&run));
        Ok(())
    }

    #[test]
    fn a_search_begins_with_what_another_found() -> Result<(), Box<dyn Error>> {
        let parent = tempfile::tempdir()?;
        let (old, _) = search(&parent.path().join("old"), 64)?;
        let history = History::read_run(&MlpSpace, parent.path().join("old"))?;
        let evaluator = LastFirst(units(parent.path())?, Vec::new());
        let new = settings(evaluator, 16).with_history(history).run()?;
        let known = |mlp: &Mlp| old.records.iter().any(|record| record.architecture == *mlp);
        assert!(known(&new.records[0].architecture), "what was asked for first is evaluated again");
        assert!(!new.records[1..].iter().any(|record| known(&record.architecture)));
        assert!(
            SearchReport::<MlpSpace>::mean_value(&new.records)
                > SearchReport::<MlpSpace>::mean_value(&old.records[..16])
        );
        Ok(())
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
        assert!(texts[0].contains(",latency_ms,"));
        let html = page.html();
        for unknown in [">parameters</th>", ">FLOPs</th>", ">depth</th>", "channels", "conv 1"] {
            assert!(!html.contains(unknown), "{unknown}");
        }
        let figures: Vec<String> = page.figures().into_iter().map(|figure| figure.name).collect();
        for known in ["learning", "accuracy-by-latency_ms"] {
            assert!(figures.contains(&known.to_owned()), "{known} in {figures:?}");
        }
        for unknown in ["accuracy-flops", "lengths", "kinds", "block-1"] {
            assert!(!figures.contains(&unknown.to_owned()), "{unknown} in {figures:?}");
        }
        assert!(html.contains("Accuracy against FLOPs is not drawn: this search knows no cost."));
        Ok(())
    }
}
