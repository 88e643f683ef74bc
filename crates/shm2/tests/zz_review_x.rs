//! throw-away review
#![allow(unsafe_code, missing_docs, clippy::all)]
use shm2::*;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct N(String);
impl N {
    fn new(t: &str) -> N {
        let p = format!("/dev/shm/shm2-rev-{t}-{}", std::process::id());
        let _ = std::fs::remove_file(&p);
        N(p)
    }
}
impl Drop for N {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
fn ms(n: u64) -> Option<Duration> {
    Some(Duration::from_millis(n))
}
fn poke(p: &str, off: u64, v: u64) {
    std::fs::OpenOptions::new().write(true).open(p).unwrap().write_all_at(&v.to_le_bytes(), off).unwrap();
}
fn maps(p: &str) -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|l| l.contains(p)).count()
}

#[test]
fn t01_keep_cycle() {
    let n = N::new("t01");
    let mut p = Producer::create(&n.0).unwrap();
    let r = Arc::new(p.reserve(1000).unwrap());
    p.publish_part(&r, 0..1000, &FrameInfo::new(), b"", Box::new(r.clone())).unwrap();
    drop(r);
    drop(p);
    println!("T01 mappings left after all handles dropped: {}", maps(&n.0));
}

#[test]
fn t02_poll_zero() {
    let n = N::new("t02");
    let p = Producer::create(&n.0).unwrap();
    let mut c = Consumer::builder(&n.0).unwrap().attach(ms(1000)).unwrap();
    drop(p);
    let mut p = Producer::create(&n.0).unwrap();
    p.send(b"x", &FrameInfo::new()).unwrap();
    let t = Instant::now();
    let mut got = false;
    while t.elapsed() < Duration::from_secs(2) && !got {
        got = c.next(Some(Duration::ZERO)).is_ok();
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("T02 zero-timeout poll found the new producer: {got}; stats {:?}", c.stats());
}

#[test]
fn t03_latest_only_hang() {
    let n = N::new("t03");
    let p = Producer::create(&n.0).unwrap();
    for access in [Access::Lease, Access::Snapshot] {
        let mut c = Consumer::builder(&n.0).unwrap().access(access).latest_only(true).attach(ms(1000)).unwrap();
        let canceller = c.canceller();
        poke(&n.0, layout::cell_offset(1), 1 + layout::CELLS);
        let (tx, rx) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let r = c.next(ms(100));
            let _ = tx.send(format!("{r:?}"));
            std::mem::forget(c)
        });
        std::thread::sleep(Duration::from_millis(300));
        canceller.set(true);
        println!("T03 {access:?}: {:?}", rx.recv_timeout(Duration::from_secs(2)));
    }
    drop(p);
}

#[test]
fn t04_history_stall() {
    for (policy, label) in [(FullPolicy::DropNewest, "newest"), (FullPolicy::Block { timeout: ms(300) }, "block")] {
        for history in [1u32, u32::MAX] {
            let n = N::new("t04");
            let mut p =
                Producer::builder(&n.0).unwrap().arena(1 << 20).history(history).full_policy(policy).create().unwrap();
            let len = if history == 1 { 600_000 } else { 100_000 };
            let mut ok = 0;
            let mut err = None;
            for _ in 0..14 {
                match p.send(&vec![1; len], &FrameInfo::new()) {
                    Ok(_) => ok += 1,
                    Err(e) => {
                        err = Some(e);
                        if matches!(policy, FullPolicy::Block { .. }) {
                            break;
                        }
                    }
                }
            }
            println!("T04 {label} history {history}, no consumer at all: ok {ok}, last error {err:?}");
        }
        let n = N::new("t04");
        let mut p = Producer::builder(&n.0).unwrap().arena(1 << 20).full_policy(policy).create().unwrap();
        let _c = Consumer::builder(&n.0).unwrap().access(Access::Snapshot).attach(ms(1000)).unwrap();
        p.consumers();
        let mut ok = 0;
        for _ in 0..10 {
            match p.send(&vec![1; 400_000], &FrameInfo::new()) {
                Ok(_) => ok += 1,
                Err(_) => {
                    if label == "block" {
                        break;
                    }
                }
            }
        }
        println!("T04 {label} with one snapshot consumer, 2 frames fit: ok {ok} of 10");
    }
}

#[test]
fn t05_directory_again() {
    let d = format!("/dev/shm/shm2-rev-dir-{}", std::process::id());
    std::fs::create_dir(&d).unwrap();
    let path = format!("{d}/x");
    let p2 = path.clone();
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut c = Consumer::new(&p2).unwrap();
        let _ = tx.send(format!("{:?}", c.next(ms(3000))));
    });
    std::thread::sleep(Duration::from_millis(200));
    std::fs::remove_dir(&d).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    std::fs::create_dir(&d).unwrap();
    let mut p = Producer::create(&path).unwrap();
    p.send(b"x", &FrameInfo::new()).unwrap();
    println!("T05 {:?}", rx.recv_timeout(Duration::from_secs(5)));
    drop(p);
    let _ = std::fs::remove_dir_all(&d);
}

#[test]
fn t06_fork_drop() {
    for what in ["producer", "consumer"] {
        let n = N::new("t06");
        let mut p = Some(Producer::create(&n.0).unwrap());
        let mut c = Some(Consumer::builder(&n.0).unwrap().attach(ms(1000)).unwrap());
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            unsafe { libc::alarm(5) };
            if what == "producer" {
                drop(p.take())
            } else {
                drop(c.take())
            }
            unsafe { libc::_exit(0) };
        }
        let mut s = 0;
        unsafe { libc::waitpid(pid, &mut s, 0) };
        println!("T06 child drops {what}: signalled {} sig {}", libc::WIFSIGNALED(s), libc::WTERMSIG(s));
    }
}

#[test]
fn t07_quadratic() {
    for (stalled, arena, len) in
        [(false, 4u64 << 20, 1000usize), (true, 4 << 20, 1000), (true, 1 << 20, 1000), (true, 64 << 20, 20_000)]
    {
        let n = N::new("t07");
        let mut p = Producer::builder(&n.0).unwrap().arena(arena).create().unwrap();
        let _c = stalled.then(|| Consumer::builder(&n.0).unwrap().attach(ms(1000)).unwrap());
        let data = vec![0; len];
        for _ in 0..8000 {
            p.send(&data, &FrameInfo::new()).unwrap();
        }
        let t = Instant::now();
        for _ in 0..2000 {
            p.send(&data, &FrameInfo::new()).unwrap();
        }
        println!("T07 stalled={stalled} arena {arena} frame {len}: {:?} per frame", t.elapsed() / 2000);
    }
    let n = N::new("t07");
    let mut p = Producer::create(&n.0).unwrap();
    for _ in 0..100_000 {
        p.send(&[0; 8], &FrameInfo::new()).unwrap();
    }
    let t = Instant::now();
    for _ in 0..1_000_000 {
        p.send(&[0; 8], &FrameInfo::new()).unwrap();
    }
    println!("T07 tiny frames alone: {:?} per frame", t.elapsed() / 1_000_000);
}

#[test]
fn t08_duplicates() {
    let n = N::new("t08");
    let mut p = Producer::builder(&n.0).unwrap().arena(1 << 20).create().unwrap();
    let _c = Consumer::builder(&n.0).unwrap().attach(ms(1000)).unwrap();
    let r = Arc::new(p.reserve(900_000).unwrap());
    for _ in 0..4 {
        p.publish_part(&r, 0..900_000, &FrameInfo::new(), b"", Box::new(r.clone())).unwrap();
    }
    drop(r);
    let e = p.send(&vec![0; 900_000], &FrameInfo::new());
    println!("T08 four duplicates evictable: send -> {e:?}, stats {:?}", p.handle().stats());
}

#[test]
fn t09_overflow() {
    let n = N::new("t09");
    let p = Producer::create(&n.0).unwrap();
    let max = u64::MAX;
    poke(&n.0, layout::cell_offset(max), max);
    poke(&n.0, 128, max); // head
    poke(&n.0, 256, max); // oldest
    for access in [Access::Lease, Access::Snapshot] {
        let n = n.0.clone();
        let r = std::thread::spawn(move || {
            let mut c = Consumer::builder(&n).unwrap().access(access).attach(ms(1000)).unwrap();
            format!("{:?}", c.next(ms(100)).map(|f| f.sequence()))
        })
        .join();
        println!(
            "T09 {access:?}: {:?}",
            r.map_err(|e| e.downcast_ref::<&str>().map(|s| s.to_string()).or(e.downcast_ref::<String>().cloned()))
        );
    }
    drop(p);
}

fn ofd(fd: i32, kind: i32, pos: i64) -> i32 {
    let f = libc::flock { l_type: kind as i16, l_whence: 0, l_start: pos, l_len: 1, l_pid: 0 };
    unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &f) }
}

#[test]
fn t10_reader_locks() {
    use std::os::fd::AsRawFd;
    let base = 0x4000_0000_0000_0000i64;
    let n = N::new("t10");
    let p = Producer::create(&n.0).unwrap();
    let ro = std::fs::File::open(&n.0).unwrap();
    println!(
        "T10 read-only opener locks takeover {} page0 {}",
        ofd(ro.as_raw_fd(), libc::F_RDLCK, base + 1),
        ofd(ro.as_raw_fd(), libc::F_RDLCK, base + 64)
    );
    let t = Instant::now();
    println!(
        "T10 auto attach: {:?} after {:?}",
        Consumer::builder(&n.0).unwrap().attach(ms(100)).map(|c| c.access()),
        t.elapsed()
    );
    drop(p);
    println!("T10 name left after close: {}", std::path::Path::new(&n.0).exists());
    println!("T10 next producer: {:?}", Producer::create(&n.0));
}

#[test]
fn t11_huge() {
    let n = N::new("t11");
    if let Ok(path) = std::env::var("REV_T11") {
        let mut c =
            Consumer::builder(&path).unwrap().access(Access::Snapshot).start(Start::Oldest).attach(ms(1000)).unwrap();
        println!("T11 child: {:?}", c.next(ms(100)).map(|f| f.len()));
        return;
    }
    let p = Producer::create(&n.0).unwrap();
    std::fs::OpenOptions::new().write(true).open(&n.0).unwrap().set_len(1 << 40).unwrap();
    poke(&n.0, 16, 1 << 40);
    let arena = (1u64 << 40) - layout::ARENA_OFFSET;
    poke(&n.0, 56, arena);
    poke(&n.0, layout::cell_offset(1) + 8, layout::ARENA_OFFSET);
    poke(&n.0, layout::cell_offset(1) + 16, arena);
    poke(&n.0, layout::cell_offset(1), 1);
    poke(&n.0, 128, 1);
    let o = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["t11_huge", "--nocapture", "--exact"])
        .env("REV_T11", &n.0)
        .output()
        .unwrap();
    println!("T11 {:?} {}", o.status, String::from_utf8_lossy(&o.stderr).lines().next().unwrap_or(""));
    drop(p);
}

#[test]
fn t12_meta_self_block() {
    let n = N::new("t12");
    let mut p = Producer::builder(&n.0)
        .unwrap()
        .arena(65536)
        .history(0)
        .full_policy(FullPolicy::Block { timeout: None })
        .create()
        .unwrap();
    let h = p.handle();
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let r = Arc::new(p.reserve(65536).unwrap());
        let k = r.clone();
        let _ = tx.send(p.publish_part(&r, 0..65536, &FrameInfo::new(), b"meta", Box::new(k)));
    });
    println!("T12 no consumer, block: {:?}", rx.recv_timeout(Duration::from_secs(1)));
    h.set_cancelled(true);
    println!("T12 after cancel {:?}", rx.recv_timeout(Duration::from_secs(1)));
}

#[test]
fn t13_drain_max() {
    let n = N::new("t13");
    let r = std::panic::catch_unwind(|| {
        let mut p = Producer::create(&n.0).unwrap();
        p.drain(Duration::MAX)
    });
    println!("T13 drain(MAX): ok={:?}", r.is_ok());
}

#[test]
fn t14_block_other_page() {
    for consumers in [1usize, 2] {
        let n = N::new("t14");
        let mut p = Producer::builder(&n.0)
            .unwrap()
            .arena(1 << 20)
            .full_policy(FullPolicy::Block { timeout: None })
            .create()
            .unwrap();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let threads: Vec<_> = (0..consumers)
            .map(|i| {
                let (s, path) = (stop.clone(), n.0.clone());
                let mut c = Consumer::builder(&n.0).unwrap().attach(ms(1000)).unwrap();
                std::thread::spawn(move || {
                    let _ = path;
                    let mut held = std::collections::VecDeque::new();
                    while !s.load(std::sync::atomic::Ordering::Relaxed) {
                        if let Ok(f) = c.next(ms(50)) {
                            if i == consumers - 1 {
                                held.push_back(f);
                                if held.len() > 6 {
                                    std::thread::sleep(Duration::from_micros(200));
                                    held.pop_front();
                                }
                            }
                        } else {
                            held.pop_front();
                        }
                    }
                })
            })
            .collect();
        let t = Instant::now();
        for _ in 0..300 {
            p.send(&vec![0; 120_000], &FrameInfo::new()).unwrap();
        }
        println!("T14 block, {consumers} consumers, last holds 6 of 8: {:?} per frame", t.elapsed() / 300);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for t in threads {
            t.join().unwrap();
        }
    }
}
