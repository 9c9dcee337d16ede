//! The report of a run of 11,392 blocks, the paper's number: reading, the page, all figures as PNG.
//!
//! ```sh
//! cargo bench -p blockqnn --no-default-features --features report --bench report
//! ```
//!
//! The run folder is made with the synthetic environment.

use blockqnn::agent::{QLearning, QLearningConfig, ReplayConfig};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::report::Report;
use blockqnn::search::{Durability, RunFolder, Search, SearchConfig};
use blockqnn::space::block::BlockSpace;
use criterion::{Criterion, criterion_group, criterion_main};

fn report(criterion: &mut Criterion) {
    let parent = tempfile::tempdir().expect("there is a temporary folder");
    let path = parent.path().join("run");
    let config = QLearningConfig { replay: ReplayConfig { rounds: 1, batch: 128 }, ..QLearningConfig::paper() };
    let details = serde_json::json!({ "agent": config });
    let folder = RunFolder::create(&path).expect("the folder is new").with_details(&details).expect("plain data");
    let folder = folder.with_durability(Durability::EveryMinibatch).with_checkpoint_every(0);
    let agent = QLearning::new(config).expect("the settings are valid");
    let search = Search::new(BlockSpace::paper(), agent, Synthetic::new().with_noise(3.0), SearchConfig::paper());
    search.with_run_folder(folder).run().expect("the search runs");

    let report = Report::read([&path]).expect("the run is there");
    let mut group = criterion.benchmark_group("report");
    group.sample_size(10);
    group.bench_function("read", |bencher| bencher.iter(|| Report::read([&path]).expect("the run is there")));
    group.bench_function("page", |bencher| bencher.iter(|| report.html()));
    group.bench_function("figures as PNG", |bencher| {
        let bytes = || report.figures().iter().map(|figure| figure.png().expect("a PNG").len()).sum::<usize>();
        bencher.iter(bytes);
    });
    group.finish();
}

criterion_group!(benches, report);
criterion_main!(benches);
