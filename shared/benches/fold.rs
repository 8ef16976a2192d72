//! The fold of a log: its time per event must not grow with the width of the graph.

mod history;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use history::{History, empty};

fn fold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold");
    let mut measure = |name: &str, size: usize, history: &History| {
        let events = history.events();
        group.throughput(Throughput::Elements(events.len() as u64));
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            bencher.iter_batched(
                empty,
                |mut execution| {
                    for event in &events {
                        execution.apply(&history.graphs, event).expect("a legal history folds");
                    }
                    execution
                },
                BatchSize::LargeInput,
            );
        });
    };
    for width in [100, 1_000, 10_000] {
        measure("fan_out", width, &history::fan_out(width));
    }
    for items in [100, 1_000, 10_000] {
        measure("map", items, &history::map(items));
    }
    for length in [10, 10_000] {
        measure("chain", length, &history::chain(length));
    }
    group.finish();
}

criterion_group!(benches, fold);
criterion_main!(benches);
