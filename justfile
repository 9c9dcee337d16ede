# Recipes for https://just.systems. The list of checks is tools/checks, which needs no `just`.

# Lists the recipes.
default:
    @just --list

# What to run before a commit.
check:
    tools/checks format clippy_library tests

# The checks of CI, all or some: `just ci small_search`.
ci *STEPS:
    tools/checks {{ STEPS }}

# Every combination of features that must compile. The CUDA ones are checked, not linked.
features:
    cargo check -p blockqnn --no-default-features
    cargo check -p blockqnn --no-default-features --features report
    cargo check -p blockqnn --no-default-features --features nats
    cargo check -p blockqnn --no-default-features --features train
    cargo check -p blockqnn
    cargo check -p blockqnn --features ndarray
    cargo check -p blockqnn --features download
    DOCS_RS=1 CUDARC_CUDA_VERSION=13000 cargo check -p blockqnn --features cuda
    DOCS_RS=1 CUDARC_CUDA_VERSION=13000 cargo check -p blockqnn --features cuda-nvrtc
    cargo check -p blockqnn-cli --no-default-features --features flex

# The paper's whole schedule on the synthetic environment, 20 seeds, all three credits.
credits:
    BLOCKQNN_ALL_CREDITS=1 cargo test --release -p blockqnn --no-default-features --test search agent_learns:: -- \
        --nocapture --test-threads 1

# The baselines against figures of another implementation: `just agreement nasbench201.csv`.
agreement TABLE SEEDS="200" FIRST="1000":
    #!/usr/bin/env bash
    set -euo pipefail
    for dataset in cifar10 cifar100; do
        cargo run --release -- compare --table {{ TABLE }} --dataset "$dataset" \
            --agent random --agent evolution --agent evolution50 --agent local --budgets 50,100,200,500 \
            --seeds {{ SEEDS }} --first-seed {{ FIRST }} | python3 tools/agreement.py "$dataset"
    done

# What the search costs beside the training, the journal, the report of 11,392 blocks; ends with a table.
bench:
    cargo bench -p blockqnn --no-default-features --bench search --bench journal
    cargo bench -p blockqnn --no-default-features --features report --bench report
    python3 tools/bench_table.py

# Training steps on the CPU, batches, trainings side by side.
bench-trainer *ARGS:
    cargo bench -p blockqnn --bench trainer -- {{ ARGS }}

# A folder that measures a machine with an NVIDIA card and no Rust: docs/gpu.md.
gpu-bundle *ARGS:
    python3 benches/gpu/bundle {{ ARGS }}

# The GPU paths on a GPU made of software, lavapipe (Debian; the first build takes an hour).
software-gpu *ARGS:
    vulkaninfo --summary >/dev/null 2>&1 || apt-get install -y mesa-vulkan-drivers vulkan-tools
    command -v nats-server >/dev/null || apt-get install -y nats-server
    cargo build --release --locked -p blockqnn-cli -p blockqnn-measure \
        --features blockqnn-cli/wgpu,blockqnn-cli/nats,blockqnn-measure/wgpu
    CUBECL_WGPU_DEFAULT_DEVICE=Cpu python3 benches/gpu/stages all --device wgpu {{ ARGS }}

# Resident memory of 200 trainings in one process.
bench-memory:
    cargo run --release -p blockqnn-measure -- memory --networks 200

# A search over NATS in which everything is killed, its leases and refusals (needs nats-server and openssl).
nats *ARGS:
    cargo test -p blockqnn --no-default-features --features nats --test distributed -- --include-ignored {{ ARGS }}

# Trials a second over NATS, and the controller's memory (needs nats-server).
bench-nats *ARGS:
    cargo bench -p blockqnn --no-default-features --features nats --bench nats -- {{ ARGS }}

# Tries random changes of a target's seeds for some seconds, on the stable toolchain.
fuzz-stable TARGET SECONDS="600":
    BLOCKQNN_FUZZ={{ TARGET }} BLOCKQNN_FUZZ_SECONDS={{ SECONDS }} cargo test -p blockqnn --features nats \
        --test fuzz_seeds -- --ignored --nocapture

# Fuzzes one of the targets in fuzz/targets.rs for some seconds (needs nightly and cargo-fuzz).
fuzz TARGET SECONDS="600":
    mkdir -p fuzz/corpus/{{ TARGET }}
    cargo +nightly fuzz run --features train,nats {{ TARGET }} fuzz/corpus/{{ TARGET }} fuzz/seeds/{{ TARGET }} -- \
        -max_total_time={{ SECONDS }} -rss_limit_mb=2048 -timeout=20

# Exported networks against PyTorch, with the Python that is named (it needs torch).
pytorch PYTHON="/usr/bin/python3":
    BLOCKQNN_PYTHON={{ PYTHON }} cargo test -p blockqnn --test trained pytorch:: -- --include-ignored --nocapture

# Licences, advisories, duplicates (needs cargo-deny).
deny:
    cargo deny check

# Frees what the workspace built and keeps what its dependencies built.
clean-free:
    cargo clean -p blockqnn -p blockqnn-cli -p blockqnn-measure -p consumer -p downstream
    cargo clean --release -p blockqnn -p blockqnn-cli -p blockqnn-measure -p consumer -p downstream
