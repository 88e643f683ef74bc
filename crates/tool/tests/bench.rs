//! `shm2 bench`: figures for each kind of consumer and each size, and nothing is left behind.

mod common;

use common::shm2;

#[test]
fn the_figures_are_there_for_both_sizes() {
    let ended = shm2(&["bench", "--duration", "1.2", "--json"]).succeeded();
    let figures = ended.json();
    let of = |measure: &str| figures.iter().filter(|figure| figure["measure"] == measure).count();
    assert!(of("throughput") == 2 && [2, 4].contains(&of("latency")), "{}", ended.text());
    for figure in figures {
        let number = |name: &str| figure[name].as_f64().unwrap();
        assert!([1024.0, 3_110_400.0].contains(&number("frame_bytes")));
        if figure["measure"] == "latency" {
            assert!(number("frames") > 0.0 && number("p50_ns") > 0.0, "{figure}");
            assert!(number("p50_ns") <= number("p99_ns") && number("p99_ns") <= number("max_ns"), "{figure}");
        } else {
            assert!(number("frames_per_second") > 0.0 && number("bytes_per_second") > 0.0, "{figure}");
        }
    }
    let text = shm2(&["bench", "--duration", "0.3"]).succeeded().text();
    assert!(text.contains("this machine at this moment"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_and_no_region_is_left() {
    let bench = common::begin(&["bench", "--duration", "60"]);
    let region = format!("/dev/shm/shm2-bench-{}", bench.id());
    shm2_testing::until("the region is there", || std::path::Path::new(&region).exists());
    bench.signal(shm2_testing::Signal::INT);
    let output = bench.output();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped before all was measured"));
    assert!(!std::path::Path::new(&region).exists());
}
