use super::*;
use crate::evaluation::{Evaluation, Infeasibility, Metrics, Reward};
use crate::space::cell::{CellCode, CellIdentity, CellSpace};

const RUNGS: Rungs = Rungs { count: 3, one_in: 3, epochs: Vec::new() };

fn ladder() -> Vec<Rung> {
    RUNGS.ladder(9).unwrap()
}

/// A trial of the cell with this number; without a value it is infeasible.
fn record(id: u64, cell: usize, rung: usize, value: Option<f64>) -> RecordOf<CellSpace> {
    let cell = CellCode::all().nth(cell).unwrap();
    let evaluation = match value {
        Some(value) => Evaluation::Measured(Metrics::from_accuracy(value)),
        None => Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 0 }),
    };
    Record {
        id,
        minibatch: 0,
        seed: 0,
        actions: cell.edges().to_vec(),
        architecture: cell,
        fingerprint: CellSpace::new().with_identity(CellIdentity::Code).fingerprint(&cell),
        cost: None,
        evaluation,
        reward: Reward::new(value.unwrap_or(10.0)).unwrap(),
        cached: false,
        rung: Some(ladder()[rung]),
    }
}

fn first(values: &[f64]) -> Vec<RecordOf<CellSpace>> {
    values.iter().enumerate().zip(0..).map(|((cell, &value), id)| record(id, cell, 0, Some(value))).collect()
}

fn due(records: &[RecordOf<CellSpace>]) -> Vec<(usize, u32)> {
    RUNGS.due::<CellSpace>(records, &ladder()).into_iter().map(|(position, rung)| (position, rung.number)).collect()
}

#[test]
fn a_ladder_has_thirds_rounded_up_and_merges_equal_rungs() {
    let epochs = |count, full| {
        let ladder = Rungs::new(count).ladder(full)?;
        Ok::<_, InvalidSetting>(ladder.iter().map(|rung| (rung.number, rung.epochs)).collect::<Vec<_>>())
    };
    assert_eq!(epochs(3, 9).unwrap(), [(0, 1), (1, 3), (2, 9)]);
    assert_eq!(epochs(3, 12).unwrap(), [(0, 2), (1, 4), (2, 12)]);
    assert_eq!(epochs(2, 12).unwrap(), [(0, 4), (1, 12)]);
    assert_eq!(epochs(5, 4).unwrap(), [(0, 1), (1, 2), (2, 4)]);
    assert_eq!(epochs(9, 2).unwrap(), [(0, 1), (1, 2)]);
    let expected = "search.rungs.count is 3: it must be left out, or the evaluations at least 2 epochs long";
    for full in [0, 1] {
        assert_eq!(epochs(3, full).unwrap_err().to_string(), expected);
    }
}

#[test]
fn given_epochs_are_the_ladder_if_they_ascend_to_the_full_ones() {
    let rungs = Rungs::at([12, 200]);
    let ladder = rungs.ladder(200).unwrap();
    assert_eq!(ladder.iter().map(|rung| (rung.number, rung.epochs)).collect::<Vec<_>>(), [(0, 12), (1, 200)]);
    let error = |rungs: &Rungs| rungs.ladder(200).unwrap_err().to_string();
    let message = error(&Rungs::at([12, 36]));
    let expected = "so many that the last are the 200 of a whole evaluation";
    assert_eq!(message, format!("search.rungs.epochs is 12, 36: it must be {expected}"));
    for epochs in [vec![200, 12], vec![12, 12, 200], vec![0, 200]] {
        let message = error(&Rungs::at(epochs));
        assert!(message.ends_with("it must be in ascending order, each at least 1, once"), "{message}");
    }
    let message = error(&Rungs { count: 3, ..rungs.clone() });
    assert_eq!(message, "search.rungs.count is 3: it must be 2, the number of search.rungs.epochs");
    assert!(SearchConfig::new(8).with_rungs(Rungs::at([200, 12])).validate().is_err());
    let json = |rungs: &Rungs| serde_json::to_string(rungs).unwrap();
    assert_eq!(json(&Rungs::new(3)), r#"{"count":3,"one_in":3}"#);
    assert_eq!(serde_json::from_str::<Rungs>(&json(&rungs)).unwrap(), rungs);
}

#[test]
fn the_best_third_is_promoted_and_the_earlier_of_equals() {
    assert_eq!(due(&first(&[5.0, 7.0])), [], "a third of two is none");
    assert_eq!(due(&first(&[5.0, 7.0, 6.0])), [(1, 1)]);
    assert_eq!(due(&first(&[5.0, 7.0, 7.0, 7.0, 1.0, 7.0])), [(1, 1), (2, 1)]);
}

#[test]
fn an_architecture_is_promoted_once_to_each_rung() {
    let mut records = first(&[5.0, 7.0, 6.0, 1.0, 2.0, 8.0]);
    records.push(record(6, 5, 1, Some(30.0)));
    assert_eq!(due(&records), [(1, 1)], "the best is at rung 1 already");
    records.push(record(7, 1, 1, Some(20.0)));
    assert_eq!(due(&records), [], "two of six");
    records.extend([record(8, 6, 0, Some(9.0)), record(9, 7, 0, Some(0.0))]);
    records.push(record(10, 8, 0, Some(0.0)));
    assert_eq!(due(&records), [(8, 1)]);
    records.push(record(11, 6, 1, Some(25.0)));
    assert_eq!(due(&records), [(6, 2)], "the best of three at rung 1");
    records.push(record(12, 5, 2, Some(50.0)));
    assert_eq!(due(&records), []);
}

#[test]
fn what_was_not_measured_is_not_promoted_and_does_not_count() {
    let mut records = first(&[5.0, 7.0]);
    records.push(record(2, 2, 0, None));
    assert_eq!(due(&records), [], "two were measured");
    records.push(record(3, 3, 0, Some(1.0)));
    assert_eq!(due(&records), [(1, 1)]);
    records.push(record(4, 1, 1, None));
    assert_eq!(due(&records), [], "one that fails at the next rung was promoted nevertheless");
    assert_eq!(records[4].standing().rung, 0);
}

#[test]
fn a_trial_is_ruled_out_once_no_number_of_worse_ones_would_promote_it() {
    let records = first(&[5.0, 7.0, 6.0, 1.0]);
    let out = |left| RUNGS.ruled_out::<CellSpace>(&records, &ladder(), left);
    assert_eq!(out(0), [1, 2, 0, 3], "nothing follows");
    assert_eq!(out(1), [2, 0, 3], "with five there is one place");
    assert_eq!(out(2), [0, 3], "with six there are two");
    assert_eq!(out(8), [] as [usize; 0]);
}

#[test]
fn trials_of_long_searches_are_counted_at_once_and_in_the_same_shares() {
    let at = |trials, minibatch| RUNGS.trials_at(3, trials, minibatch);
    assert_eq!(at(0, 8), [0; 3]);
    let [counted, divided] =
        [(MOST_COUNTED, 1), (8 * MOST_COUNTED + 900_000, 8)].map(|(trials, size)| at(trials, size));
    assert_eq!((counted.iter().sum(), divided.iter().sum()), (MOST_COUNTED, 8 * MOST_COUNTED + 900_000));
    for trials in [counted, divided] {
        for step in trials.windows(2) {
            assert!((step[0] / 3).abs_diff(step[1]) <= 4, "{trials:?}");
        }
    }
    let endless = at(u64::MAX, 8);
    assert_eq!(endless.iter().map(|trials| u128::from(*trials)).sum::<u128>(), u128::from(u64::MAX));
    assert!((endless[0] as f64 / endless[2] as f64 - 9.0).abs() < 1e-9, "{endless:?}");
    assert_eq!(Rungs { one_in: u64::MAX, ..RUNGS }.trials_at(2, u64::MAX, u64::MAX), [u64::MAX, 0]);
}

#[test]
fn kendalls_tau_is_over_those_measured_at_both_rungs() {
    let mut records = first(&[1.0, 2.0, 3.0, 4.0, 9.0]);
    assert!(RungAgreement::of(&records).is_empty());
    for (place, value) in [(0, 10.0), (1, 30.0), (2, 20.0), (3, 40.0)] {
        records.push(record(5 + place, usize::try_from(place).unwrap(), 1, Some(value)));
    }
    let found = RungAgreement::of(&records);
    let [agreement] = found[..] else { panic!("{found:?}") };
    assert_eq!((agreement.lower.epochs, agreement.upper.epochs, agreement.count), (1, 3, 4));
    assert!((agreement.kendall - 2.0 / 3.0).abs() < 1e-12);
    assert!((agreement.error - (2.0f64 * 13.0 / (9.0 * 4.0 * 3.0)).sqrt()).abs() < 1e-12);
    assert_eq!(agreement.to_string(), "Kendall's tau of 1 and 3 epochs: 0.67 ± 0.49, of 4 architectures");
    assert!(!agreement.is_low() && !RungAgreement { kendall: -1.0, ..agreement }.is_low(), "four are too few");
    let of_ten = |kendall| RungAgreement { count: 10, kendall, error: 0.25, ..agreement };
    assert!(of_ten(0.2).is_low() && !of_ten(0.3).is_low());
}
