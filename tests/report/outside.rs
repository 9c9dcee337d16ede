//! What others look at: the pictures of the README, pages in a browser, `TensorBoard`.

use super::*;

/// The README's drawing of a block, found by a search of 2,848 blocks in the synthetic environment. With
/// `BLOCKQNN_BLESS` set it is written in place of being compared.
#[test]
fn the_block_of_the_readme_is_drawn_by_the_crate() {
    use blockqnn::agent::EpsilonSchedule;
    use blockqnn::reward::Credit;

    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let agent = QLearningConfig {
        learning_rate: 0.1,
        epsilon: EpsilonSchedule::short(),
        replay: ReplayConfig { rounds: 8, batch: 128 },
        ..QLearningConfig::paper()
    };
    let details = serde_json::json!({ "agent": agent });
    let config = SearchConfig::paper().with_seed(1).with_trials(89 * 32, 32);
    Search::new(BlockSpace::paper(), QLearning::new(agent).unwrap(), Synthetic::new().with_noise(2.0), config)
        .with_reward(RedefinedReward::accuracy(Credit::Terminal))
        .with_run_folder(create(&run).with_details(&details).unwrap())
        .run()
        .unwrap();
    let pictures = Report::read([&run]).unwrap().figures();
    let block = pictures.iter().find(|picture| picture.name == "block-1").unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures/block.svg");
    if std::env::var_os("BLOCKQNN_BLESS").is_some() {
        fs::write(&path, &block.svg).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == block.svg, "{} is of other code: bless it", path.display());
}

/// Pages of every kind of run, for `tools/report_page.py` to look at in a browser.
#[test]
fn pages_for_a_browser_are_written() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let long = format!("{HOSTILE}-{}", "a-very-long-name-".repeat(6)).replace('/', "-");
    search(&path(&long), 192, Nobody);
    fs::write(path(&long).join("verified.csv"), "trial,accuracy\n0,91.5\n3,92.25\n7,90\n").unwrap();
    search(&path("short"), 32, Nobody);
    search(&path("damaged"), 96, Nobody);
    search(&path("empty"), 16, Nobody);
    fs::remove_file(path("empty").join("journal.jsonl")).unwrap();
    let mut journal = fs::read(path("damaged").join("journal.jsonl")).unwrap();
    let middle = journal.len() / 2;
    journal[middle] ^= 1;
    fs::write(path("damaged").join("journal.jsonl"), &journal).unwrap();

    for (name, runs) in [
        ("finished", vec![long.as_str()]),
        ("short", vec!["short"]),
        ("damaged", vec!["damaged"]),
        ("empty", vec!["empty"]),
        ("several", vec![long.as_str(), "short", "damaged", "empty"]),
    ] {
        let report = Report::read(runs.into_iter().map(path)).unwrap();
        fs::create_dir_all(&out).unwrap();
        report.write_html(out.join(format!("{name}.html"))).unwrap();
        let page = fs::read_to_string(out.join(format!("{name}.html"))).unwrap();
        assert!(!page.contains(r#"d="M""#) && !page.contains(r#"d="MZ""#), "{name} has a path without points");
    }
}

/// The reader of `TensorBoard` itself finds the numbers of the CSV.
#[test]
#[ignore = "needs tensorboard (pip install tensorboard; name that Python with BLOCKQNN_TENSORBOARD_PYTHON)"]
fn tensorboard_reads_the_numbers_of_the_csv() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let space = BlockSpace::paper();
    // Ended after two minibatches, and extended.
    for trials in [32, 64] {
        let config = SearchConfig::paper().with_trials(trials, 16);
        let environment = Eventful { inner: Synthetic::new(), calls: 0 };
        let report = Search::new(space.clone(), RandomAgent, environment, config)
            .with_run_folder(RunFolder::open(&run).unwrap())
            .with_observer(TensorBoard::new(run.join("tensorboard"), space.clone()))
            .run()
            .unwrap();
        assert_eq!(report.records.len() as u64, trials);
    }
    Report::read([&run]).unwrap().write_csv(folder.path().join("csv")).unwrap();
    let python = std::env::var("BLOCKQNN_TENSORBOARD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/events.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("64 trials agree"), "{text}{errors}");
}
