//! Single buffers through each element; the core library is the peer.

mod common;

use gst::prelude::*;
use gst_check::Harness;
use shm2::{Consumer, FrameInfo, Producer, Start};
use shm2_testing::{LIMIT, TempRegion};

fn sink(name: &TempRegion, properties: &str) -> Harness {
    common::init();
    let line = format!("shm2sink sync=false shm-path={} {properties}", &**name);
    let element = gst::parse::launch(&line).unwrap();
    let mut harness = Harness::with_element(&element, Some("sink"), None);
    harness.set_src_caps_str("application/x-test");
    harness.play();
    harness
}

fn src(name: &TempRegion, properties: &str) -> Harness {
    common::init();
    let element = gst::parse::launch(&format!("shm2src shm-path={} {properties}", &**name)).unwrap();
    let mut harness = Harness::with_element(&element, None, Some("src"));
    harness.use_systemclock();
    harness
}

fn consumer(name: &TempRegion) -> Consumer {
    Consumer::builder(name).unwrap().start(Start::Oldest).attach(Some(LIMIT)).unwrap()
}

#[test]
fn several_memories_are_gathered_and_times_offsets_and_flags_arrive() {
    let name = TempRegion::new();
    let mut harness = sink(&name, "");
    let mut consumer = consumer(&name);
    let mut buffer = gst::Buffer::from_slice(vec![1u8; 100]);
    {
        let buffer = buffer.get_mut().unwrap();
        buffer.append_memory(gst::Memory::from_slice(vec![2u8; 50]));
        buffer.append_memory(gst::Memory::from_slice(vec![3u8; 7]));
        buffer.set_pts(gst::ClockTime::from_mseconds(40));
        buffer.set_dts(gst::ClockTime::from_mseconds(30));
        buffer.set_duration(gst::ClockTime::from_mseconds(10));
        buffer.set_offset(5);
        buffer.set_offset_end(6);
        buffer.set_flags(gst::BufferFlags::DELTA_UNIT | gst::BufferFlags::MARKER);
    }
    harness.push(buffer).unwrap();
    let frame = consumer.next(Some(LIMIT)).unwrap();
    assert_eq!(frame.to_vec(), [vec![1; 100], vec![2; 50], vec![3; 7]].concat());
    assert_eq!(frame.caps().map(|(_, caps)| caps), Some(&b"application/x-test"[..]));
    let info = frame.info();
    assert_eq!((info.pts, info.dts, info.duration), (Some(40_000_000), Some(30_000_000), Some(10_000_000)));
    assert_eq!((info.offset, info.offset_end), (Some(5), Some(6)));
    let flags = gst::BufferFlags::from_bits_retain(info.flags);
    assert!(flags.contains(gst::BufferFlags::DELTA_UNIT | gst::BufferFlags::MARKER));
}

#[test]
fn empty_and_single_byte_buffers_arrive() {
    let name = TempRegion::new();
    let mut harness = sink(&name, "");
    let mut consumer = consumer(&name);
    for length in [0usize, 1, 0, 4097] {
        harness.push(gst::Buffer::from_slice(vec![9u8; length])).unwrap();
        assert_eq!(consumer.next(Some(LIMIT)).unwrap().to_vec(), vec![9u8; length]);
    }
}

#[test]
fn end_of_stream_arrives() {
    let name = TempRegion::new();
    let mut harness = sink(&name, "");
    let mut consumer = consumer(&name);
    harness.push(gst::Buffer::from_slice([1u8])).unwrap();
    harness.push_event(gst::event::Eos::new());
    consumer.next(Some(LIMIT)).unwrap();
    assert!(matches!(consumer.next(Some(LIMIT)), Err(shm2::ReceiveError::EndOfStream)));
}

#[test]
fn memory_that_is_not_the_systems_is_refused() {
    let name = TempRegion::new();
    let harness = sink(&name, "");
    let pad = harness.element().unwrap().static_pad("sink").unwrap();
    let accepts = |caps: &str| pad.query_accept_caps(&caps.parse().unwrap());
    assert!(accepts("video/x-raw,format=NV12"));
    assert!(accepts("video/x-raw(memory:SystemMemory),format=NV12"));
    assert!(!accepts("video/x-raw(memory:DMABuf),format=NV12"));
    assert!(!accepts("video/x-raw(memory:GLMemory),format=RGBA"));
}

#[test]
fn the_source_waits_for_a_keyframe_and_marks_breaks() {
    let name = TempRegion::new();
    let mut producer = Producer::builder(&name).unwrap().history(10).create().unwrap();
    producer.set_caps(b"video/x-test, width=(int)5").unwrap();
    let delta = gst::BufferFlags::DELTA_UNIT.bits();
    for (number, flags) in [delta, delta, 0, delta].into_iter().enumerate() {
        let mut info = FrameInfo::new().with_pts(number as u64);
        info.flags = flags;
        producer.send(&[number as u8; 10], &info).unwrap();
    }
    let mut harness = src(&name, "live-only=false");
    harness.play();
    for number in [2u8, 3] {
        let buffer = harness.pull().unwrap();
        assert_eq!(buffer.map_readable().unwrap().as_slice(), [number; 10]);
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_nseconds(number.into())));
        assert!(!buffer.peek_memory(0).flags().is_empty(), "the memory is read-only");
    }
    let caps = harness.sinkpad().unwrap().current_caps().unwrap();
    assert_eq!(caps.to_string(), "video/x-test, width=(int)5");
}

#[test]
fn a_received_buffer_is_copied_before_it_is_written() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.set_caps(b"application/x-test").unwrap();
    producer.send(&[7; 1000], &FrameInfo::new()).unwrap();
    let mut harness = src(&name, "");
    harness.play();
    let mut buffer = harness.pull().unwrap();
    buffer.make_mut().map_writable().unwrap().fill(1);
    let mut other = consumer(&name);
    assert_eq!(other.next(Some(LIMIT)).unwrap().to_vec(), [7; 1000]);
}

#[test]
fn latency_is_the_producers_and_the_deadline() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.set_caps(b"application/x-test").unwrap();
    let mut info = FrameInfo::new();
    info.latency = 30_000_000;
    producer.send(&[7; 10], &info).unwrap();
    let mut harness = src(&name, "processing-deadline=5000000");
    harness.play();
    harness.pull().unwrap();
    assert_eq!(harness.query_latency(), Some(gst::ClockTime::from_mseconds(35)));
}

#[test]
fn caps_that_are_not_caps_are_an_error() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.set_caps(b"\xff\xfe no caps at all").unwrap();
    producer.send(&[7; 10], &FrameInfo::new()).unwrap();
    let pipeline = common::Pipeline::playing(&format!("shm2src shm-path={} ! fakesink", &*name));
    let error = pipeline.error().expect("an error");
    assert!(error.contains("are not caps"), "{error}");
}

#[test]
fn a_new_producer_is_a_discontinuity_even_without_a_flag() {
    let name = TempRegion::new();
    let mut harness = src(&name, "live-only=false");
    harness.play();
    for round in 0..3u64 {
        let mut producer = Producer::builder(&name).unwrap().history(10).create().unwrap();
        producer.set_caps(b"application/x-test").unwrap();
        for number in 0..2 {
            producer.send(&[1], &FrameInfo::new().with_pts(round * 10 + number)).unwrap();
            let buffer = harness.pull().unwrap();
            let is_break = buffer.flags().contains(gst::BufferFlags::DISCONT);
            // The base class marks the first buffer.
            assert_eq!(is_break, number == 0, "frame {number} of producer {round}");
        }
    }
}

#[test]
fn metas_arrive_and_dropped_ones_are_counted() {
    let name = TempRegion::new();
    common::init();
    gst::meta::CustomMeta::register("Shm2TestMeta", &[]);
    let caps = "video/x-raw,format=GRAY8,width=64,height=48,framerate=30/1";
    let mut harness = sink(&name, "");
    harness.set_src_caps_str(caps);
    let mut source = src(&name, "live-only=false");
    let reference: gst::Caps = "timestamp/x-ntp".parse().unwrap();
    let mut buffer = gst::Buffer::from_slice(vec![0u8; 64 * 48]);
    {
        let buffer = buffer.get_mut().unwrap();
        gst_video::VideoCropMeta::add(buffer, (4, 6, 32, 24));
        // A rectangle outside the picture is skipped.
        gst_video::VideoRegionOfInterestMeta::add(buffer, "far", (60, 0, 10, 10));
        let mut region = gst_video::VideoRegionOfInterestMeta::add(buffer, "face", (1, 2, 3, 4));
        region.set_id(7);
        region.set_parent_id(5);
        region.add_param(gst::Structure::builder("detection").field("confidence", 0.5f64).build());
        let time = gst::ClockTime::from_seconds(12);
        gst::ReferenceTimestampMeta::add(buffer, &reference, time, gst::ClockTime::from_mseconds(3));
        let mut custom = gst::meta::CustomMeta::add(buffer, "Shm2TestMeta").unwrap();
        custom.mut_structure().set("answer", 42i32);
        gst_video::VideoAFDMeta::add(
            buffer,
            0,
            gst_video::VideoAFDSpec::AtscA53,
            gst_video::VideoAFDValue::_43Full169Full,
        );
        gst_video::VideoBarMeta::add(buffer, 1, true, 12, 34);
        gst_video::VideoCaptionMeta::add(buffer, gst_video::VideoCaptionType::Cea708Cdp, b"captions");
        let rate = gst::Fraction::new(30000, 1001);
        let jam = gst::glib::DateTime::from_iso8601("2026-02-03T04:05:06.5+02:00", None).unwrap();
        let drop_frame = gst_video::VideoTimeCodeFlags::DROP_FRAME;
        let code = gst_video::ValidVideoTimeCode::new(rate, Some(&jam), drop_frame, 1, 2, 3, 4, 1).unwrap();
        gst_video::VideoTimeCodeMeta::add(buffer, &code);
        let samples = gst::format::Default::from_u64;
        gst_audio::AudioClippingMeta::add(buffer, samples(312), samples(7));
        gst_video::VideoAffineTransformationMeta::add(buffer, None);
    }
    harness.push(buffer).unwrap();
    source.play();
    let received = source.pull().unwrap();
    assert_eq!(received.meta::<gst_video::VideoCropMeta>().unwrap().rect(), (4, 6, 32, 24));
    let regions: Vec<_> = received.iter_meta::<gst_video::VideoRegionOfInterestMeta>().collect();
    let [region] = &regions[..] else { panic!("{} regions", regions.len()) };
    assert_eq!((region.rect(), region.roi_type(), region.id(), region.parent_id()), ((1, 2, 3, 4), "face", 7, 5));
    assert_eq!(region.param("detection").unwrap().get::<f64>("confidence"), Ok(0.5));
    let stamp = received.meta::<gst::ReferenceTimestampMeta>().unwrap();
    assert_eq!((stamp.reference(), stamp.timestamp()), (reference.as_ref(), gst::ClockTime::from_seconds(12)));
    assert_eq!(stamp.duration(), Some(gst::ClockTime::from_mseconds(3)));
    let custom = gst::meta::CustomMeta::from_buffer(&received, "Shm2TestMeta").unwrap();
    assert_eq!(custom.structure().get::<i32>("answer"), Ok(42));
    let format = received.meta::<gst_video::VideoAFDMeta>().unwrap();
    assert_eq!(
        (format.spec(), format.afd()),
        (gst_video::VideoAFDSpec::AtscA53, gst_video::VideoAFDValue::_43Full169Full)
    );
    let bars = received.meta::<gst_video::VideoBarMeta>().unwrap();
    assert_eq!((bars.field(), bars.is_letterbox(), bars.bar_data1(), bars.bar_data2()), (1, true, 12, 34));
    let caption = received.meta::<gst_video::VideoCaptionMeta>().unwrap();
    assert_eq!((caption.caption_type(), caption.data()), (gst_video::VideoCaptionType::Cea708Cdp, &b"captions"[..]));
    let code = received.meta::<gst_video::VideoTimeCodeMeta>().unwrap().tc();
    assert_eq!((code.to_string().as_str(), code.field_count()), ("01:02:03;04", 1));
    let jam = code.latest_daily_jam().unwrap().to_utc().unwrap();
    assert_eq!(jam.format("%Y-%m-%d %H:%M:%S.%f").unwrap(), "2026-02-03 02:05:06.500000");
    let clipping = received.meta::<gst_audio::AudioClippingMeta>().unwrap();
    assert_eq!((clipping.start().value(), clipping.end().value()), (312, 7));
    assert_eq!(
        common::stat(&harness.element().unwrap(), "metas-dropped"),
        2,
        "the rectangle and the affine transformation"
    );
}

#[test]
fn attach_and_detach_are_element_messages_also_while_the_source_waits() {
    let name = TempRegion::new();
    let consumer = common::Pipeline::playing(&format!("shm2src name=src shm-path={} ! fakesink", &*name));
    let bus = consumer.0.bus().unwrap();
    let next = || {
        let message = bus.timed_pop_filtered(gst::ClockTime::try_from(LIMIT).ok(), &[gst::MessageType::Element]);
        message.and_then(|m| m.structure().map(|s| s.to_owned())).expect("a message")
    };
    for _ in 0..2 {
        let mut producer = Producer::create(&name).unwrap();
        producer.set_caps(b"application/x-test").unwrap();
        producer.send(&[1], &FrameInfo::new()).unwrap();
        let attached = next();
        assert_eq!(attached.name(), "shm2-attached");
        assert_eq!(attached.get::<String>("shm-path").as_deref(), Ok(&*name));
        assert_eq!(attached.get::<String>("access").as_deref(), Ok("lease"));
        assert!(attached.get::<u64>("generation").is_ok_and(|generation| generation != 0));
        drop(producer);
        assert_eq!(next().name(), "shm2-detached");
    }
}

#[test]
fn a_region_is_found_by_its_uri() {
    let name = TempRegion::new();
    common::init();
    let uri = name.uri();
    let src = gst::Element::make_from_uri(gst::URIType::Src, &uri, None).unwrap();
    assert_eq!(src.property::<String>("shm-path"), uri);
    let handler = src.dynamic_cast_ref::<gst::URIHandler>().unwrap();
    assert_eq!(handler.uri().as_deref(), Some(uri.as_str()));
    let sink = gst::Element::make_from_uri(gst::URIType::Sink, &uri, None).unwrap();
    assert_eq!(sink.factory().unwrap().name(), "shm2sink");
    let error = handler.set_uri("shm://").unwrap_err();
    assert!(error.matches(gst::URIError::BadUri) && error.to_string().contains("is empty"), "{error}");
    if !common::have(&["playbin3"]) {
        return;
    }
    let player = common::Pipeline::playing(&format!("playbin3 uri={uri} video-sink=fakesink"));
    let caps = "video/x-raw,format=I420,width=64,height=48,framerate=30/1";
    let _producer = common::Pipeline::playing(&format!("videotestsrc is-live=true ! {caps} ! shm2sink shm-path={uri}"));
    let (change, state, _) = player.0.state(gst::ClockTime::try_from(LIMIT).ok());
    assert!(change.is_ok() && state == gst::State::Playing, "{change:?} {state:?}");
}

#[test]
fn drops_are_an_element_message() {
    let name = TempRegion::new();
    let line = format!(
        "shm2sink name=sink sync=false wait-for-connection=true full-policy=drop-newest shm-size=4849664 shm-path={}",
        &*name
    );
    let producer = common::Pipeline::playing(&format!("fakesrc sizetype=fixed sizemax=30000 num-buffers=100 ! {line}"));
    // Reads nothing, so that the region fills.
    let _consumer = consumer(&name);
    let bus = producer.0.bus().unwrap();
    let dropped = bus.iter_timed_filtered(gst::ClockTime::try_from(LIMIT).ok(), &[gst::MessageType::Element]);
    let details = dropped.filter_map(|m| m.structure().map(|s| s.to_owned())).find(|s| s.name() == "shm2-dropped");
    assert!(details.unwrap().get::<u64>("dropped-newest").unwrap() > 0);
}

/// What the sink offers upstream for raw video of 64 x 48.
fn offer(harness: &mut Harness) -> gst::query::Allocation<gst::Query> {
    let caps = "video/x-raw,format=GRAY8,width=64,height=48,framerate=30/1".parse::<gst::Caps>().unwrap();
    harness.set_src_caps(caps.clone());
    let mut query = gst::query::Allocation::new(Some(&caps), true);
    assert!(harness.srcpad().unwrap().peer_query(&mut query));
    query
}

#[test]
fn a_pool_with_a_maximum_is_not_starved_by_frames_that_consumers_hold() {
    let name = TempRegion::new();
    let mut harness = sink(&name, "");
    let query = offer(&mut harness);
    let (pool, size, ..) = query.allocation_pools().next().unwrap();
    let pool = pool.clone().unwrap();
    let mut config = pool.config();
    config.set_params(query.get().0.map(|caps| caps.to_owned()).as_ref(), size, 2, 3);
    pool.set_config(config).unwrap();
    pool.set_active(true).unwrap();
    let mut consumer = consumer(&name);
    let mut held = std::collections::VecDeque::new();
    for number in 0..100u8 {
        let mut buffer = pool.acquire_buffer(None).unwrap();
        buffer.get_mut().unwrap().map_writable().unwrap().fill(number);
        harness.push(buffer).unwrap();
        held.push_back((number, consumer.next(Some(LIMIT)).unwrap()));
        // Twice the pool's maximum.
        if held.len() > 6 {
            let (number, frame) = held.pop_front().unwrap();
            assert!(frame.to_vec().iter().all(|byte| *byte == number));
        }
    }
    assert_eq!(common::stat(&harness.element().unwrap(), "zero-copied"), 100);
    pool.set_active(false).unwrap();
}

#[test]
fn a_part_of_a_memory_is_published_in_place() {
    let name = TempRegion::new();
    let mut harness = sink(&name, "");
    let query = offer(&mut harness);
    let (allocator, params) = query.allocation_params().next().unwrap();
    let mut memory = allocator.unwrap().alloc(1000, Some(&params)).unwrap();
    let bytes: Vec<_> = (0..1000u32).map(|i| i as u8).collect();
    memory.get_mut().unwrap().map_writable().unwrap().copy_from_slice(&bytes);
    let mut consumer = consumer(&name);
    for (offset, length) in [(100, 500), (0, 1000), (999, 1)] {
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().append_memory(memory.share(offset..offset + length));
        harness.push(buffer).unwrap();
        assert_eq!(consumer.next(Some(LIMIT)).unwrap().to_vec(), bytes[offset..offset + length]);
    }
    // Two adjacent parts are one span, but two memories: they are copied once.
    let mut buffer = gst::Buffer::new();
    buffer.get_mut().unwrap().append_memory(memory.share(0..10));
    buffer.get_mut().unwrap().append_memory(memory.share(10..20));
    harness.push(buffer).unwrap();
    assert_eq!(consumer.next(Some(LIMIT)).unwrap().to_vec(), bytes[..20]);
    let sink = harness.element().unwrap();
    assert_eq!((common::stat(&sink, "zero-copied"), common::stat(&sink, "copied")), (3, 1));
}

#[test]
fn the_stream_is_held_back_again_when_the_last_consumer_has_left() {
    let name = TempRegion::new();
    let line = format!("shm2sink name=sink sync=false wait-for-connection=true shm-path={}", &*name);
    let producer = common::Pipeline::playing(&format!("fakesrc sizetype=fixed sizemax=300 ! {line}"));
    let published = || producer.stat("sink", "published");
    for _ in 0..3 {
        let mut consumer = consumer(&name);
        for _ in 0..100 {
            consumer.next(Some(LIMIT)).unwrap();
        }
        drop(consumer);
        let mut before = published();
        shm2_testing::until("a sink that holds the stream back", || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            std::mem::replace(&mut before, published()) == published()
        });
    }
}

#[test]
fn a_source_that_wakes_ahead_of_time_passes_every_frame_and_stops_at_any_time() {
    let name = TempRegion::new();
    let mut producer = Producer::create(&name).unwrap();
    producer.set_caps(b"application/x-test").unwrap();
    let mut harness = src(&name, "wake-ahead=true");
    harness.play();
    let (ended, is_over) = std::sync::mpsc::channel::<()>();
    let sender = std::thread::spawn(move || {
        for number in 0..200_u8 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            producer.send(&[number], &FrameInfo::new()).unwrap();
        }
        // The producer stays until the source has stopped.
        let _ = is_over.recv();
    });
    let first = harness.pull().unwrap().map_readable().unwrap()[0];
    for number in first + 1..200 {
        assert_eq!(*harness.pull().unwrap().map_readable().unwrap(), [number]);
    }
    let element = harness.element().unwrap();
    let looks = ["looks-found", "looks-missed"].map(|field| common::stat(&element, field));
    println!("looks that found a frame, and that did not: {looks:?}");
    drop(harness);
    drop(ended);
    sender.join().unwrap();
}
