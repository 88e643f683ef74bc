//! Payloads as slices.

#![expect(unsafe_code, reason = "the unsafe calls are what is tested")]

use shm2::{Access, Consumer, FrameInfo, Producer, WaitSet};
use shm2_testing::TempRegion;
use std::time::Duration;

const LIMIT: Option<Duration> = Some(Duration::from_secs(20));

#[test]
fn a_slice_is_the_memory_of_the_region_or_the_private_copy() {
    let region = TempRegion::new();
    // SAFETY: this process alone uses the region.
    let mut producer = unsafe { Producer::create(&region.uri()).unwrap().trust_consumers() };
    for access in [Access::Lease, Access::Snapshot] {
        let consumer = Consumer::builder(&region.uri()).unwrap().access(access).build();
        // SAFETY: as above.
        let mut consumer = unsafe { consumer.trust_producer() };
        let mut slot = producer.reserve(1000).unwrap();
        let filled = slot.bytes_mut();
        filled.iter_mut().zip(0..).for_each(|(byte, value)| *byte = value as u8);
        let expected = filled.to_vec();
        producer.publish(slot, &FrameInfo::new()).unwrap();
        let frame = consumer.next(LIMIT).unwrap();
        assert_eq!(frame.bytes(), expected);
        assert_eq!(frame.bytes().as_ptr(), frame.as_ptr());
        assert_eq!(frame.is_leased(), access == Access::Lease);
    }
    let empty = producer.reserve(0).unwrap();
    producer.publish(empty, &FrameInfo::new()).unwrap();
    // SAFETY: as above.
    let mut consumer = unsafe { Consumer::new(&region.uri()).unwrap().trust_producer() };
    assert_eq!(consumer.next(LIMIT).unwrap().bytes(), b"");
}

#[test]
fn values_of_plain_data_are_read_in_place_or_copied_and_a_wrong_size_is_none() {
    let region = TempRegion::new();
    let mut producer = Producer::create(&region.uri()).unwrap();
    let mut set = WaitSet::new();
    set.add(Consumer::new(&region.uri()).unwrap()).unwrap();
    let samples = [1.5f32, -2.5, 3.5];
    producer.send_value(&samples[..], &FrameInfo::new()).unwrap();
    let frame = set.next(LIMIT).unwrap().frame.unwrap();
    assert_eq!(frame.read_value(), Some(samples));
    assert_eq!(frame.read_value::<[f32; 2]>(), None);
    assert_eq!(frame.read_value::<[f32; 4]>(), None);
    // SAFETY: this process alone uses the region.
    let frame = unsafe { frame.trust_producer() };
    assert_eq!(frame.value::<[f32]>(), Some(&samples[..]));
    assert_eq!(frame.value::<[f32]>().unwrap().as_ptr().cast(), frame.as_ptr());
    assert_eq!(frame.value::<[u64]>(), None);
}
