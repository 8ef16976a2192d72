//! The decision about one no-op step: its result comes in, its successor is scheduled, both are applied.

mod history;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use stepstream_shared::time::Timestamp;

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let chain = history::begin(&history::chain_document(10), &json!({"text": "x".repeat(90)}));
    group.bench_function("no_op_step", |bencher| {
        bencher.iter_batched(
            || chain.execution.clone(),
            |mut execution| {
                let decided = execution.decide_in_place(&chain.graphs, history::completed(0), now);
                (decided.expect("a legal command"), execution)
            },
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Elements(10));
    group.bench_function("chain_of_10", |bencher| {
        bencher.iter_batched(
            || chain.execution.clone(),
            |mut execution| {
                for step in 0..10 {
                    let decided = execution.decide_in_place(&chain.graphs, history::completed(step), now);
                    decided.expect("a legal command");
                }
                execution
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
