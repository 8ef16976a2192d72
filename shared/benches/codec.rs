//! The stored form of the append that a no-op step makes.

mod history;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stepstream_shared::event::codec;

fn codec(criterion: &mut Criterion) {
    let chain = history::chain(10);
    let append = &chain.appends[5];
    let envelope = history::envelope(append.at);
    let head = [7; 32];
    let encoded = codec::encode(&head, &envelope, append.events.clone(), [1; 16]).expect("events are encodable");
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(append.events.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| codec::encode(&head, &envelope, append.events.clone(), [1; 16]));
    });
    group.bench_function("decode", |bencher| bencher.iter(|| codec::decode(&encoded.body)));
    group.bench_function("verify", |bencher| bencher.iter(|| codec::verify(&head, &encoded.body, &encoded.hash)));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
