//! A header that says anything: the consumer is refused, or attaches and gets what it gets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shm2::consumer::{Access, Liveness, Start};
use shm2::{Consumer, FrameInfo, Producer};
use shm2_fuzz::{NOW, Side, Store, builder, file, name, take};
use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

std::thread_local! { static REGION: RefCell<Option<(Producer, File, Vec<u8>)>> = const { RefCell::new(None) } }

fuzz_target!(|input: (Vec<Store>, bool, bool, bool)| {
    let (stores, snapshot, heartbeat, oldest) = input;
    REGION.with_borrow_mut(|region| {
        let (_, file, header) = region.get_or_insert_with(begin);
        stores.iter().take(16).for_each(|store| store.apply(file, Side::Both));
        let access = if snapshot { Access::Snapshot } else { Access::Lease };
        let liveness = if heartbeat { Liveness::Heartbeat } else { Liveness::Lock };
        let start = if oldest { Start::Oldest } else { Start::History };
        let builder = Consumer::builder(&name()).expect("the name is good");
        if let Ok(mut consumer) = builder.access(access).liveness(liveness).start(start).attach(NOW) {
            let _held = [take(&mut consumer), take(&mut consumer)];
        }
        let _ = file.write_all_at(header, 0);
    });
});

fn begin() -> (Producer, File, Vec<u8>) {
    let mut producer = builder().history(8).keep_region(true).create().expect("a region can be made");
    for n in 0..4 {
        producer.send(&[n; 100], &FrameInfo::new()).expect("there is free space");
    }
    let file = file();
    let mut bytes = vec![0; 65_536 + 16 * 128];
    file.read_exact_at(&mut bytes, 0).expect("the header is there");
    (producer, file, bytes)
}
