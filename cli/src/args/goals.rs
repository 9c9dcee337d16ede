//! What blocks should cost, and what they may cost: `--target`, `--limit`, `--latency`.

use crate::overrides::Overrides;
use blockqnn::graph::CostQuantity;
use blockqnn::train::{LATENCY_BATCH_MS, LATENCY_MS, LATENCY_RATIO};
use serde_json::{Map, Value, json};

/// Percentage points of reward for each doubling over a target, unless a weight is given.
const WEIGHT: f64 = 3.0;

/// Targets and limits for costs and measurements.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Goals {
    /// Target for a cost or a measurement: a block that exceeds it loses WEIGHT percentage points of reward for each
    /// doubling over the target [default weight: 3]. Costs are parameters, flops and `activation_bytes`; measurements
    /// are `latency_ms` (one image), `latency_batch_ms` (a batch) and `latency_ratio` (one image, relative to a network
    /// of the block resnet-basic), or what a --trainer reports. For example --target `latency_ms=5` (repeatable)
    #[arg(long = "target", value_name = "NAME=VALUE[:WEIGHT]", value_parser = target)]
    targets: Vec<(String, f64, f64)>,

    /// Limit on a cost or a measurement: a block above it is infeasible. Blocks over a cost are not trained; a
    /// measurement is known only after the training. Names are those of --target (repeatable)
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = limit)]
    limits: Vec<(String, f64)>,

    /// Measure the latency of each block's network on its device once it is trained, while other trainings of this
    /// machine wait; a target or limit for a latency implies it. It is in results.csv and in the report, with the
    /// front of accuracy against latency
    #[arg(long)]
    latency: bool,
}

impl Goals {
    /// Adds the given options to the changes of settings. A trainer of the user's measures what it likes.
    pub(crate) fn put(&self, overrides: &mut Overrides, has_trainer: bool) -> Result<(), String> {
        if self.latency && has_trainer {
            return Err("--latency would not be used: a trainer measures its own networks (its function may return \
                        \"measurements\"), and --target and --limit take them by name"
                .to_owned());
        }
        let targets = self.targets.iter();
        let targets: Map<String, Value> = targets
            .map(|(name, target, weight)| (name.clone(), json!({ "target": target, "weight": weight })))
            .collect();
        if !targets.is_empty() {
            overrides.set("reward.targets", Value::Object(targets));
        }
        let mut measured = Map::new();
        for (name, limit) in &self.limits {
            match CostQuantity::named(name) {
                Some(cost) => overrides.set(&format!("search.limits.{}", cost.name()), whole(name, *limit)?),
                None => drop(measured.insert(name.clone(), json!(limit))),
            }
        }
        if !measured.is_empty() {
            overrides.set("search.measurement_limits", Value::Object(measured));
        }
        let is_latency = |name: &String| [LATENCY_MS, LATENCY_BATCH_MS, LATENCY_RATIO].contains(&name.as_str());
        let names = self.targets.iter().map(|(name, ..)| name).chain(self.limits.iter().map(|(name, _)| name));
        let measures = self.latency || names.into_iter().any(is_latency);
        overrides.set_if("recipe.latency", (measures && !has_trainer).then_some(true));
        Ok(())
    }
}

/// Costs are counted.
fn whole(name: &str, limit: f64) -> Result<u64, String> {
    if limit.fract() != 0.0 || !(0.0..9e15).contains(&limit) {
        return Err(format!("--limit {name}={limit}: this cost is counted, so its limit must be a whole number"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
    Ok(limit as u64)
}

fn target(text: &str) -> Result<(String, f64, f64), String> {
    let (text, weight) = text.split_once(':').unwrap_or((text, ""));
    let (name, value) = limit(text)?;
    let weight = if weight.is_empty() { Ok(WEIGHT) } else { weight.parse() };
    let weight =
        weight.map_err(|_| "the weight after the colon must be a number, such as latency_ms=5:3".to_owned())?;
    Ok((name, value, weight))
}

fn limit(text: &str) -> Result<(String, f64), String> {
    let value = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let value = value.and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    value.ok_or_else(|| "write a name and a number, such as latency_ms=5 or flops=20e6".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use blockqnn::experiment::Preset;

    fn goals(targets: &[&str], limits: &[&str], latency: bool) -> Goals {
        Goals {
            targets: targets.iter().map(|text| target(text).unwrap()).collect(),
            limits: limits.iter().map(|text| limit(text).unwrap()).collect(),
            latency,
        }
    }

    #[test]
    fn targets_and_limits_by_name_become_settings() {
        let mut overrides = Overrides::new();
        overrides.set_text("reward.targets={\"parameters\":{\"target\":5,\"weight\":1}}").unwrap();
        overrides.set_text("search.measurement_limits={\"energy\":4}").unwrap();
        let goals = goals(&["latency_ms=5", "flops=2e6:1.5"], &["latency_ratio=2.5", "parameters=20e3"], false);
        goals.put(&mut overrides, false).unwrap();
        let experiment = overrides.apply(Preset::Quick).unwrap();
        let targets: Vec<_> = experiment.reward.targets.iter().collect();
        let told = |place: usize| (targets[place].0, targets[place].1.target, targets[place].1.weight);
        assert_eq!(
            (told(0), told(1), told(2)),
            (("flops", 2e6, 1.5), ("latency_ms", 5.0, 3.0), ("parameters", 5.0, 1.0))
        );
        assert_eq!(experiment.search.limits.parameters, Some(20_000));
        let limits: Vec<_> = experiment.search.measurement_limits.into_iter().collect();
        assert_eq!(limits, [("energy".to_owned(), 4.0), ("latency_ratio".to_owned(), 2.5)]);
        assert!(experiment.recipe.latency);
        experiment.reward.validate().unwrap();
    }

    #[test]
    fn one_target_does_not_replace_another_one_of_a_file() {
        let mut overrides = Overrides::new();
        overrides.set_text("reward.targets={\"parameters\":{\"target\":5,\"weight\":1}}").unwrap();
        goals(&["flops=7"], &[], false).put(&mut overrides, false).unwrap();
        let experiment = overrides.apply(Preset::Quick).unwrap();
        assert_eq!(experiment.reward.targets.iter().count(), 2);
        assert!(!experiment.recipe.latency);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["latency_ms", "=5", "latency_ms=fast"] {
            assert!(limit(text).unwrap_err().contains("such as latency_ms=5"), "{text}");
        }
        assert!(target("latency_ms=5:heavy").unwrap_err().contains("the weight after the colon"));
        let put = |goals: Goals, trainer| goals.put(&mut Overrides::new(), trainer).unwrap_err();
        assert!(put(goals(&[], &["flops=1.5"], false), false).contains("must be a whole number"));
        assert!(put(goals(&[], &[], true), true).contains("--latency would not be used"));
        let mut overrides = Overrides::new();
        goals(&["latency_ms=5"], &[], false).put(&mut overrides, true).unwrap();
        assert!(!overrides.contains("recipe.latency"), "the trainer measures it");
    }
}
