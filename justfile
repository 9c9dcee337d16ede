# Recipes for https://just.systems; `.ci/run` runs the whole list of checks without it.

# Lists the recipes.
default:
    @just --list

# What to run before a commit.
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo test
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# All tests of the default features.
test *ARGS:
    cargo test {{ ARGS }}

# The documentation, as readers get it.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --open

# Every combination of features that must compile. The CUDA ones are checked, not linked.
features:
    cargo check --no-default-features
    cargo check --no-default-features --features report
    cargo check --no-default-features --features nats
    cargo check --no-default-features --features train
    cargo check
    cargo check --features ndarray
    cargo check --features download
    DOCS_RS=1 CUDARC_CUDA_VERSION=13000 cargo check --features cuda
    DOCS_RS=1 CUDARC_CUDA_VERSION=13000 cargo check --features cuda-nvrtc

# Both CPU devices against each other.
parity:
    cargo test --features ndarray --lib -- network:: train:: data::

# The paper's whole schedule on the synthetic environment, 20 seeds, all three credits.
credits:
    BLOCKQNN_ALL_CREDITS=1 cargo test --release --no-default-features --test agent_learns -- --nocapture --test-threads 1

# Agents on equal budgets: `just compare --synthetic motifs:1 --agent best --agent local`.
compare *ARGS:
    cargo run --release --no-default-features --example compare_agents -- {{ ARGS }}

# The baselines against figures of another implementation, each cell's deviation printed: `just agreement nasbench201.csv`.
agreement TABLE SEEDS="200" FIRST="1000":
    #!/usr/bin/env bash
    set -euo pipefail
    for dataset in cifar10 cifar100; do
        cargo run --release --no-default-features --example compare_agents -- --table {{ TABLE }} --dataset "$dataset" \
            --agent random --agent evolution --agent evolution50 --agent local --budgets 50,100,200,500 \
            --seeds {{ SEEDS }} --first-seed {{ FIRST }} | python3 tests/agreement.py "$dataset"
    done

# A search on the embedded images: `just run --seed 1`.
run *ARGS:
    cargo run --release --example cifar_search -- {{ ARGS }}

# A page of a run: `just report blockqnn-runs/embedded-quick-seed0`.
report *ARGS:
    cargo run --release --features report --example cifar_search -- report {{ ARGS }}

# The page of every kind of run, looked at in headless Chromium (needs Debian's chromium, and playwright of PyPI).
look:
    cargo test --no-default-features --features report --test report pages_for_a_browser_are_written
    python3 tests/report_page.py target/tmp/report/*.html

# A block on larger images, with the paper's ImageNet augmentation: `just transfer --data DIR --size 224`.
transfer *ARGS:
    cargo run --release --example imagenet_transfer -- {{ ARGS }}

# Whether reading images keeps up with training.
bench-loader:
    cargo bench --bench loader

# What the search costs, the journal, the report of 11,392 blocks; ends with a table.
bench:
    cargo bench --no-default-features --bench search --bench journal
    cargo bench --no-default-features --features report --bench report
    python3 benches/table.py

# Training steps on the CPU, batches, trainings side by side.
bench-trainer *ARGS:
    cargo bench --bench trainer -- {{ ARGS }}

# A folder that measures a machine with an NVIDIA card and no Rust (docs/gpu.md): `just gpu-bundle --data DIR`, or with
# a cifar_search built elsewhere `just gpu-bundle --binaries DIR`.
gpu-bundle *ARGS:
    python3 benches/gpu/bundle {{ ARGS }}

# Resident memory of 200 trainings in one process.
bench-memory:
    cargo bench --bench memory

# A search over NATS in which everything is killed, its leases and refusals (needs nats-server and openssl).
nats *ARGS:
    cargo test --no-default-features --features nats --test distributed -- --include-ignored {{ ARGS }}

# Trials a second over NATS, and the controller's memory (needs nats-server).
bench-nats *ARGS:
    cargo bench --no-default-features --features nats --bench nats -- {{ ARGS }}

# Tries random changes of a target's seeds for some seconds, on the stable toolchain.
mutate TARGET SECONDS="600":
    BLOCKQNN_FUZZ={{ TARGET }} BLOCKQNN_FUZZ_SECONDS={{ SECONDS }} cargo test --features nats --test fuzz_seeds -- --ignored --nocapture

# Fuzzes one of the targets in tests/fuzz/targets.rs for some seconds (needs nightly and cargo-fuzz).
fuzz TARGET SECONDS="600":
    mkdir -p fuzz/corpus/{{ TARGET }}
    cargo +nightly fuzz run --features train,nats {{ TARGET }} fuzz/corpus/{{ TARGET }} tests/fuzz/seeds/{{ TARGET }} -- \
        -max_total_time={{ SECONDS }} -rss_limit_mb=2048 -timeout=20

# Exported networks against PyTorch, with the Python that is named (it needs torch).
pytorch PYTHON="/usr/bin/python3":
    BLOCKQNN_PYTHON={{ PYTHON }} cargo test --test pytorch -- --include-ignored --nocapture

# The weights that `.ci/run` exported, used by a Rust program outside of this package to classify three images.
consumer:
    mkdir -p target/ci-use/images
    python3 tests/pytorch/png.py target/ci-use/images
    cp Cargo.lock tests/consumer/Cargo.lock
    cargo run --manifest-path tests/consumer/Cargo.toml --target-dir target -- target/ci-use/block.safetensors target/ci-use/images

# A crate outside of this package with a part of each kind of its own: its conformance checks, and its search.
downstream:
    cp Cargo.lock tests/downstream/Cargo.lock
    cargo test --manifest-path tests/downstream/Cargo.toml --target-dir target
    cargo run --manifest-path tests/downstream/Cargo.toml --target-dir target

# Licences, advisories, duplicates (needs cargo-deny).
deny:
    cargo deny check

# Frees what this crate built and keeps what its dependencies built.
clean-free:
    cargo clean -p blockqnn
    cargo clean --release -p blockqnn
