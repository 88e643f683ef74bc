//! What several tests need.

/// Of several threads that make a producer at the same moment, what those got that could.
pub fn contest<E: Send>(create: impl Fn() -> Result<shm2::Producer, E> + Sync) -> Vec<shm2::Producer> {
    let start = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        let attempt = || {
            start.wait();
            create().ok()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}
