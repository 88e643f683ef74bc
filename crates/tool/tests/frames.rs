//! `shm2 cat` and `shm2 snapshot`: frames as files that other programs read.

#![cfg(unix)]

mod common;

use common::{Ended, begin, producer, shm2};
use shm2::FrameInfo;
use shm2_testing::{TempPath, TempRegion, until};
use std::io::Read;

/// A frame whose bytes are numbers, `bytes` of them.
fn numbers(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

/// What `cat` writes of one frame under `caps`.
fn cat(caps: &str, frame: &[u8], options: &[&str]) -> Ended {
    let name = TempRegion::new();
    let _producer = producer(&name, caps, 1, frame);
    shm2(&[&["cat", "-n", "1", "--timeout", "30s", &name], options].concat())
}

#[test]
fn raw_video_is_written_as_y4m() {
    let i420 = "video/x-raw, format=I420, width=5, height=3, framerate=30000/1001, pixel-aspect-ratio=12/11";
    // Rows of 8 and 4 bytes: a stride is a multiple of four.
    let frame = numbers(8 * 4 + 2 * 4 * 2);
    let out = cat(i420, &frame, &[]).succeeded().out;
    let header = "YUV4MPEG2 W5 H3 F30000:1001 Ip A12:11 C420jpeg XCOLORRANGE=LIMITED\nFRAME\n";
    let rows = |plane: usize, stride: usize, width: usize, rows: usize| {
        (0..rows).flat_map(|row| frame[plane + row * stride..][..width].to_vec()).collect::<Vec<_>>()
    };
    let planes = [rows(0, 8, 5, 3), rows(32, 4, 3, 2), rows(40, 4, 3, 2)].concat();
    assert_eq!(out, [header.as_bytes(), &planes].concat());

    for (caps, bytes, chroma, frame_bytes) in [
        ("format=GRAY8, width=4, height=2", 8, "Cmono ", 8),
        ("format=Y42B, width=4, height=2", 24, "C422 ", 16),
        ("format=YUY2, width=4, height=2", 16, "C422 ", 16),
        ("format=NV12, width=4, height=2", 12, "C420jpeg ", 12),
        ("format=Y444, width=4, height=2", 24, "C444 ", 24),
        ("format=I420_10LE, width=4, height=2", 24, "C420p10 ", 24),
        ("format=BGRA, width=4, height=2", 32, "C444 ", 24),
        ("format=RGB, width=4, height=2", 24, "C444 ", 24),
    ] {
        let out = cat(&format!("video/x-raw, {caps}, framerate=25/1"), &numbers(bytes), &[]).succeeded().out;
        let end = out.iter().position(|byte| *byte == b'\n').unwrap();
        let header = String::from_utf8(out[..end].to_vec()).unwrap();
        assert!(header.contains(chroma), "{caps}: {header}");
        assert_eq!(out.len(), end + 1 + "FRAME\n".len() + frame_bytes, "{caps}");
    }
}

#[test]
fn raw_audio_is_written_as_wav() {
    let caps = "audio/x-raw, format=S16LE, layout=interleaved, rate=48000, channels=2";
    let out = cat(caps, &numbers(400), &[]).succeeded().out;
    assert_eq!((&out[..4], &out[8..16], &out[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
    let number = |at: usize| u32::from_le_bytes(out[at..at + 4].try_into().unwrap());
    // Integers, 2 channels; samples and bytes a second; 4 bytes for a sample of all channels, of 16 bits each.
    assert_eq!([number(20), number(24), number(28), number(32)], [2 << 16 | 1, 48_000, 192_000, 16 << 16 | 4]);
    assert_eq!(out[44..], numbers(400));

    let planar = "audio/x-raw, format=S16LE, layout=non-interleaved, rate=8000, channels=2";
    let out = cat(planar, &[1, 0, 2, 0, 3, 0, 4, 0], &[]).succeeded().out;
    assert_eq!(out[44..], [1, 0, 3, 0, 2, 0, 4, 0]);
    cat("audio/x-raw, format=S16BE, layout=interleaved, rate=8000, channels=1", &[0; 4], &[])
        .failed_with("audioconvert");
}

#[test]
fn other_streams_are_written_as_they_are() {
    let frame = numbers(1000);
    assert_eq!(cat("video/x-h264, stream-format=byte-stream", &frame, &[]).succeeded().out, frame);
    assert_eq!(cat("video/x-raw, format=RGB, width=4, height=4", &frame, &["--raw"]).succeeded().out, frame);
    assert_eq!(cat("", &frame, &["--raw"]).succeeded().out, frame);
    cat("", &frame, &[]).failed_with("--raw");
    cat("no caps at all", &frame, &[]).failed_with("");
    cat("video/x-raw, format=RGB, width=400, height=400", &frame, &[]).failed_with("the frame has 1000");
    cat("video/x-raw, format=v210, width=4, height=4", &frame, &[]).failed_with("v210");
}

#[test]
fn cat_ends_with_the_stream_and_with_its_reader() {
    let name = TempRegion::new();
    let caps = "video/x-raw, format=GRAY8, width=4, height=2, framerate=25/1";
    let mut producer = producer(&name, caps, 1, &[7; 8]);
    let mut reading = begin(&["cat", &name]);
    let mut out = reading.take_stdout().unwrap();
    let mut begun = [0; 10];
    out.read_exact(&mut begun).unwrap();
    producer.send(&[8; 8], &FrameInfo::new()).unwrap();
    producer.end_of_stream().unwrap();
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"FRAME\n\x08\x08\x08\x08\x08\x08\x08\x08"), "{rest:?}");
    assert!(reading.wait().success());

    let mut reading = begin(&["cat", &name]);
    drop(reading.take_stdout());
    until("cat to end", || {
        let _ = producer.send(&[8; 8], &FrameInfo::new());
        reading.ended().is_some()
    });
    assert!(reading.wait().success());
}

#[test]
fn other_caps_in_the_middle_end_a_file_that_cannot_have_them() {
    let name = TempRegion::new();
    let caps = |width: u32| format!("video/x-raw, format=GRAY8, width={width}, height=2, framerate=25/1");
    let mut producer = producer(&name, &caps(4), 1, &[7; 8]);
    let mut reading = begin(&["cat", &name]);
    let mut begun = [0; 10];
    let mut out = reading.take_stdout().unwrap();
    out.read_exact(&mut begun).unwrap();
    producer.set_caps(caps(8).as_bytes()).unwrap();
    producer.send(&[7; 16], &FrameInfo::new()).unwrap();
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"FRAME\n\x07\x07\x07\x07\x07\x07\x07\x07"));
    let output = reading.output();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("other caps"), "{error}");
}

/// What is left of a snapshot: its report, and the file.
fn snapshot(caps: &str, frame: &[u8], file: &str) -> (Ended, Vec<u8>) {
    let (name, folder) = (TempRegion::new(), TempPath::new("pictures"));
    let _producer = producer(&name, caps, 2, frame);
    std::fs::create_dir(&*folder).unwrap();
    let path = folder.join(file);
    let ended = shm2(&["snapshot", &name, "-o", path.to_str().unwrap()]);
    let bytes = std::fs::read(&path).unwrap_or_default();
    assert_eq!(std::fs::read_dir(&*folder).unwrap().count(), usize::from(ended.code == Some(0)), "{file}");
    (ended, bytes)
}

#[test]
fn a_snapshot_is_a_picture_with_the_pixels_of_the_frame() {
    let pixels = numbers(5 * 4 * 2);
    let caps = "video/x-raw, format=RGBx, width=5, height=2, framerate=25/1";
    let (ended, png) = snapshot(caps, &pixels, "x.png");
    assert!(ended.succeeded().text().contains("frame 2, 5x2"));
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut found = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut found).unwrap();
    assert_eq!((info.width, info.height, info.color_type), (5, 2, png::ColorType::Rgb));
    let expected: Vec<_> = pixels.chunks(4).flat_map(|pixel| pixel[..3].to_vec()).collect();
    assert_eq!(found[..info.buffer_size()], expected);

    let (ended, jpeg) = snapshot(caps, &pixels, "x.JPG");
    ended.succeeded();
    assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]) && jpeg.ends_with(&[0xff, 0xd9]));
    let (ended, bytes) = snapshot(caps, &pixels, "x.rgb");
    assert!(ended.succeeded().text().contains("40 bytes"));
    assert_eq!(bytes, pixels);
}

#[test]
fn a_snapshot_that_cannot_be_made_leaves_no_file() {
    let raw = "video/x-raw, format=RGB, width=4, height=2";
    for (caps, bytes, file, reason) in [
        (raw, 24, "none/x.png", "No such file"),
        (raw, 23, "x.png", "the frame has 23"),
        ("", 24, "x.png", "no caps"),
        ("video/x-raw, format=NONE, width=4, height=2", 24, "x.png", "NONE"),
        ("video/x-raw, format=v210, width=48, height=2", 256, "x.png", "v210"),
        ("audio/x-raw, format=S16LE, layout=interleaved, rate=8000, channels=1", 24, "x.png", "audio/x-raw"),
        ("video/x-raw, format=GRAY8, width=70000, height=1", 70_000, "x.jpg", "65,535"),
    ] {
        let (ended, _) = snapshot(caps, &numbers(bytes), file);
        ended.failed_with(reason);
    }
    let name = TempRegion::new();
    let _producer = producer(&name, raw, 1, &[7; 24]);
    shm2(&["snapshot", &name, "-o", "/dev/full"]).failed_with("/dev/full");
    shm2(&["snapshot", &name, "-o", "/dev/shm"]).failed_with("/dev/shm");
}

#[test]
fn a_snapshot_of_jpeg_frames_is_their_picture() {
    let mut gray = Vec::new();
    jpeg_encoder::Encoder::new(&mut gray, 95).encode(&[200; 48], 8, 6, jpeg_encoder::ColorType::Luma).unwrap();
    let mut red = Vec::new();
    let pixels = [250, 10, 10].repeat(48);
    jpeg_encoder::Encoder::new(&mut red, 95).encode(&pixels, 8, 6, jpeg_encoder::ColorType::Rgb).unwrap();
    for (jpeg, pixel) in [(gray, [200, 200, 200]), (red, [250, 10, 10])] {
        let (ended, png) = snapshot("image/jpeg, width=8, height=6", &jpeg, "x.png");
        ended.succeeded();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut found = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut found).unwrap();
        assert_eq!((info.width, info.height), (8, 6));
        assert!(found.chunks(3).all(|p| p.iter().zip(pixel).all(|(a, b)| a.abs_diff(b) < 6)), "{found:?}");
        let (ended, _) = snapshot("image/jpeg, width=8, height=6", &jpeg[..20], "x.png");
        ended.failed_with("JPEG");
    }
}

#[test]
fn a_picture_goes_to_standard_output_alone() {
    let name = TempRegion::new();
    let _producer = producer(&name, "video/x-raw, format=RGB, width=4, height=2", 1, &[7; 24]);
    let ended = shm2(&["snapshot", &name, "-o", "-"]).succeeded();
    let mut reader = png::Decoder::new(std::io::Cursor::new(&ended.out)).read_info().unwrap();
    let mut found = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut found).unwrap();
    assert!(ended.out.ends_with(b"IEND\xaeB`\x82") && found == [7; 24], "{:?}", ended.error);
}

#[test]
fn cat_continues_with_the_next_producer_if_it_is_told_to() {
    let name = TempRegion::new();
    let first = producer(&name, "", 1, b"first");
    let mut reading = begin(&["cat", "--raw", "--reconnect", "--timeout", "30s", "-n", "2", &name]);
    let mut out = reading.take_stdout().unwrap();
    let mut begun = [0; 5];
    out.read_exact(&mut begun).unwrap();
    drop(first);
    let _second = producer(&name, "", 1, b"second");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!((&begun, rest.as_str()), (b"first", "second"));
    assert!(reading.wait().success());
}

#[test]
fn cat_ends_when_it_is_stopped_though_it_lags_behind() {
    let name = TempRegion::new();
    let frame = numbers(400_000);
    let mut producer = producer(&name, "application/x-data", 1, &frame);
    for options in [&["--duration", "300ms"][..], &[]] {
        let mut reading = begin(&[&["cat", "--raw", &name], options].concat());
        let mut out = reading.take_stdout().unwrap();
        let draining = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()).unwrap());
        until("a consumer", || producer.consumers() > 0);
        if options.is_empty() {
            reading.signal(shm2_testing::Signal::TERM);
        }
        // There is always a frame to take.
        until("cat to end", || {
            let _ = producer.send(&frame, &FrameInfo::new());
            reading.ended().is_some()
        });
        assert!(reading.wait().success());
        draining.join().unwrap();
    }
}

#[test]
fn audio_with_too_many_channels_is_no_wav() {
    let caps = "audio/x-raw, format=F64LE, layout=interleaved, rate=1, channels=8192, channel-mask=(bitmask)0x0";
    cat(caps, &numbers(8192 * 8), &[]).failed_with("8192 channels do not fit wav");
}
