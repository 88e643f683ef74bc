//! Ways to pass messages under criterion: `cargo bench --manifest-path benches/Cargo.toml --bench rings`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shm2_benches::stream::{SIZES, WAYS};
use std::time::Duration;

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream");
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        for (name, way) in WAYS {
            let time = |bencher: &mut criterion::Bencher| {
                bencher.iter_custom(|count| Duration::from_nanos((way(size, count as usize) * count as f64) as u64));
            };
            group.bench_function(BenchmarkId::new(name, size), time);
        }
    }
    group.finish();
}

criterion_group!(benches, streams);
criterion_main!(benches);
