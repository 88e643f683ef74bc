//! Pictures that shm2-media makes of raw frames, against GStreamer's own conversion of the same frames.

mod common;

use gst_video::{VideoFormat, VideoInfo};
use shm2_media::{Media, PictureError};

const SIZE: (u32, u32) = (162, 122);

/// A picture in RGB whose colours change slowly, so that those between two values of subsampled chroma are known well.
fn original() -> Vec<u8> {
    let (width, height) = SIZE;
    let pixel = |x: u32, y: u32| [x * 255 / width, y * 255 / height, (x + height - y) * 255 / (width + height)];
    let rows = (0..height).map(|y| (0..width).flat_map(|x| pixel(x, y)).map(|value| value as u8).collect::<Vec<_>>());
    rows.flatten().collect()
}

/// The picture in a format, and its caps.
fn frame(original: &[u8], format: VideoFormat) -> gst::Sample {
    let row = 3 * SIZE.0 as usize;
    let padded: Vec<_> = original.chunks(row).flat_map(|line| [line, &[0, 0]].concat()).collect();
    let rgb = VideoInfo::builder(VideoFormat::Rgb, SIZE.0, SIZE.1).fps(gst::Fraction::new(1, 1)).build().unwrap();
    assert_eq!(rgb.size(), padded.len());
    let sample = gst::Sample::builder().buffer(&gst::Buffer::from_slice(padded)).caps(&rgb.to_caps().unwrap()).build();
    let wanted = VideoInfo::builder(format, SIZE.0, SIZE.1).build().unwrap().to_caps().unwrap();
    let wanted = wanted.to_string().replace("framerate=(fraction)0/1", "framerate=(fraction)1/1");
    let limit = Some(gst::ClockTime::from_seconds(30));
    gst_video::convert_sample(&sample, &wanted.parse().unwrap(), limit).unwrap_or_else(|e| panic!("{wanted}: {e}"))
}

/// GStreamer's conversion to RGB, without padding.
fn converted(sample: &gst::Sample) -> Vec<u8> {
    let caps = gst_video::VideoCapsBuilder::new().format(VideoFormat::Rgb).build();
    let rgb = gst_video::convert_sample(sample, &caps, Some(gst::ClockTime::from_seconds(30))).unwrap();
    let info = VideoInfo::from_caps(rgb.caps().unwrap()).unwrap();
    let map = rgb.buffer().unwrap().map_readable().unwrap();
    let row = 3 * SIZE.0 as usize;
    map.chunks(info.stride()[0] as usize).take(SIZE.1 as usize).flat_map(|line| line[..row].to_vec()).collect()
}

/// Peak signal-to-noise ratio in dB of two pictures with 8 bits a value; 99 for equal ones.
/// 10 log10(255^2 / mean square error), as in ITU-T J.340.
fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    let mean = squares.sum::<f64>() / a.len() as f64;
    if mean == 0.0 { 99.0 } else { 10.0 * (255.0 * 255.0 / mean).log10() }
}

#[test]
fn pictures_of_raw_frames_are_those_that_gstreamer_makes() {
    common::init();
    let original = original();
    let (mut compared, mut refused) = (Vec::new(), Vec::new());
    for format in VideoFormat::iter_raw() {
        if shm2_media::VideoFormat::from_name(format.to_str()).is_none() {
            continue;
        }
        let sample = frame(&original, format);
        let Media::Video(video) = Media::from_caps(sample.caps().unwrap().to_string()).unwrap() else { panic!() };
        let map = sample.buffer().unwrap().map_readable().unwrap();
        match video.to_rgb(&map) {
            Ok(picture) => {
                assert_eq!((picture.width, picture.height), SIZE);
                let ratios = [psnr(&picture.bytes, &original), psnr(&converted(&sample), &original)];
                compared.push((format.to_str(), ratios));
            }
            Err(PictureError::Format { .. }) => refused.push(format.to_str()),
            Err(error) => panic!("{format}: {error}"),
        }
    }
    println!("{compared:.1?}\nrefused: {refused:?}");
    let poor: Vec<_> = compared.iter().filter(|(_, [own, theirs])| *own < theirs.min(46.0) - 1.0).collect();
    assert!(poor.is_empty(), "{poor:?}");
    assert!(compared.len() > 60, "{}", compared.len());
}
