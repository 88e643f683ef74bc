//! The regions of folders again and again, with what changed a second.

use crate::folders;
use serde::Serialize;
use shm2::Overview;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

/// Frames whose mean size stands for all frames since the last sample.
const MEASURED: u64 = 32;

/// Looks at all regions of its folders.
pub struct Sampler {
    folders: Vec<PathBuf>,
    last: HashMap<PathBuf, Counts>,
}

/// A region and its rates.
pub struct Sample {
    pub region: Overview,
    pub rates: Rates,
}

/// Changes a second since the last sample of the same generation; none in the first one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Frames and events.
    pub frames: Option<f64>,
    /// Bytes of payloads, from the mean size of the newest frames.
    pub bytes: Option<f64>,
    /// Dropped frames, of all reasons.
    pub dropped: Option<f64>,
}

#[derive(Clone, Copy)]
struct Counts {
    at: Instant,
    generation: u64,
    newest: u64,
    dropped: u64,
}

impl Sampler {
    pub fn new(folders: &[PathBuf]) -> Self {
        Self { folders: folders.to_vec(), last: HashMap::new() }
    }

    /// All regions with a live producer, sorted by path within each folder.
    pub fn sample(&mut self) -> Vec<Sample> {
        let regions: Vec<_> = folders::regions(&self.folders);
        let last = std::mem::take(&mut self.last);
        let sample = |region: Overview| {
            let now = Counts::of(&region);
            let before = last.get(&region.path).filter(|before| before.generation == now.generation);
            let rates = before.map(|before| rates(&region, *before, now)).unwrap_or_default();
            self.last.insert(region.path.clone(), now);
            Sample { region, rates }
        };
        regions.into_iter().map(sample).collect()
    }
}

impl Counts {
    fn of(region: &Overview) -> Self {
        let Overview { generation, newest, .. } = *region;
        Self { at: Instant::now(), generation, newest, dropped: dropped(region) }
    }
}

/// Dropped frames of all reasons.
pub fn dropped(region: &Overview) -> u64 {
    region.dropped_oldest.saturating_add(region.dropped_newest).saturating_add(region.dropped_too_large)
}

fn rates(region: &Overview, before: Counts, now: Counts) -> Rates {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-6);
    let a_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let frames = a_second(now.newest, before.newest);
    Rates {
        frames: Some(frames),
        bytes: mean_bytes(region, before.newest).map(|mean| mean * frames),
        dropped: Some(a_second(now.dropped, before.dropped)),
    }
}

/// Mean size of the newest frames after sequence `after`.
fn mean_bytes(region: &Overview, after: u64) -> Option<f64> {
    if region.newest <= after {
        return Some(0.0);
    }
    let first = after.max(region.newest.saturating_sub(MEASURED));
    let frames = Overview::recent_frames(&region.uri(), first).ok()?;
    let sum: f64 = frames.iter().map(|frame| frame.bytes as f64).sum();
    (!frames.is_empty()).then(|| sum / frames.len() as f64)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use shm2::{FrameInfo, Producer};
    use shm2_testing::TempRegion;

    #[test]
    fn rates_are_of_one_generation() {
        let folder = TempRegion::new();
        std::fs::create_dir(folder.path()).unwrap();
        let name = format!("{}/a", &*folder);
        let create = || Producer::builder(&name).unwrap().size(8 << 20).create().unwrap();
        let (mut producer, mut sampler) = (create(), Sampler::new(&[folder.path().into()]));
        let mut sample = || sampler.sample().pop().map(|sample| sample.rates);
        assert_eq!(sample(), Some(Rates::default()));
        for length in [100, 300] {
            producer.send(&vec![7; length], &FrameInfo::new()).unwrap();
        }
        let rates = sample().unwrap();
        let (frames, bytes) = (rates.frames.unwrap(), rates.bytes.unwrap());
        assert!(frames > 0.0 && (bytes / frames - 200.0).abs() < 1e-6, "{rates:?}");
        assert_eq!(sample().unwrap(), Rates { frames: Some(0.0), bytes: Some(0.0), dropped: Some(0.0) });
        drop(producer);
        assert_eq!(sample(), None);
        let _next = create();
        assert_eq!(sample(), Some(Rates::default()));
    }
}
