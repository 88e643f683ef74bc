//! Mounts of the server: each knows its regions' state before it is asked for, and what became of its pipeline.

use crate::pattern::Pattern;
use crate::pipeline;
use crate::settings::{Mount, Multicast, Settings};
use crate::status::MountStatus;
use gst::glib;
use gst::prelude::*;
use gst_rtsp::RTSPStatusCode;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{RTSPAddressPool, RTSPMedia, RTSPMediaFactory, RTSPMediaStatus, RTSPMountPoints};
use shm2::{AttachError, Overview};
use shm2_relay::log_limit::LogLimit;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Role of clients without a user.
pub const ANYONE: &str = "anyone";
/// Mounts that were made because a region's name matches, at most.
const MOST_MATCHED: usize = 1000;
/// Time for a pipeline to end, in which the next client waits for it.
const END: Duration = Duration::from_secs(5);

/// Called with a mount's path when its pipeline has failed.
pub type Failed = Arc<dyn Fn(&str) + Send + Sync>;

/// All mounts.
pub struct Mounts {
    points: RTSPMountPoints,
    state: Mutex<State>,
    failed: Failed,
    most_matched: usize,
}

struct State {
    /// Regions that are mounts when they are asked for, with the settings of this mount.
    regions: Option<(Pattern, Mount)>,
    multicast: Multicast,
    /// Of all mounts: no two of them get the same.
    addresses: RTSPAddressPool,
    entries: BTreeMap<String, Entry>,
    not_found: u64,
    log: LogLimit,
}

struct Entry {
    mount: Mount,
    factory: RTSPMediaFactory,
    media: glib::WeakRef<RTSPMedia>,
    is_matched: bool,
    status: MountStatus,
}

impl State {
    fn matched(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.is_matched)
    }
}

/// Lines of the log that clients cause are limited.
macro_rules! limited {
    ($state:expr, $level:ident, $kind:literal, $($text:tt)*) => {
        if $state.log.permits($kind, Instant::now()) {
            $level!($($text)*);
        }
    };
}

impl Mounts {
    /// Offers the mounts of these settings.
    pub fn new(points: RTSPMountPoints, settings: &Settings, failed: Failed) -> Arc<Self> {
        let state = State {
            regions: settings.regions.clone(),
            multicast: settings.multicast.clone(),
            addresses: addresses(&settings.multicast),
            entries: BTreeMap::new(),
            not_found: 0,
            log: LogLimit::default(),
        };
        let mounts = Arc::new(Self { points, state: Mutex::new(state), failed, most_matched: MOST_MATCHED });
        settings.mounts.iter().for_each(|mount| mounts.add(&mut mounts.lock(), mount.clone(), false));
        mounts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a mount whose path is free. The lock is held meanwhile, so that the server has a factory for each entry and
    /// no other; it calls nothing here that takes this lock.
    fn add(self: &Arc<Self>, state: &mut State, mount: Mount, is_matched: bool) {
        let factory = self.factory(&mount, &state.addresses);
        self.points.add_factory(&mount.path, factory.clone());
        let status = MountStatus { path: mount.path.clone(), regions: mount.regions.clone(), ..MountStatus::default() };
        let entry = Entry { factory, media: glib::WeakRef::new(), is_matched, status, mount };
        state.entries.insert(entry.mount.path.clone(), entry);
    }

    /// Removes mounts. What is returned is dropped without the lock: the end of a pipeline takes it.
    fn remove(&self, state: &mut State, paths: &[String]) -> Vec<Entry> {
        paths.iter().for_each(|path| self.points.remove_factory(path));
        paths.iter().filter_map(|path| state.entries.remove(path)).collect()
    }

    fn factory(self: &Arc<Self>, mount: &Mount, addresses: &RTSPAddressPool) -> RTSPMediaFactory {
        let factory = RTSPMediaFactory::new();
        factory.set_shared(true);
        factory.set_protocols(mount.protocols);
        factory.set_address_pool(Some(addresses));
        let roles = if mount.users.is_empty() { vec![ANYONE.into()] } else { mount.users.clone() };
        for role in &roles {
            let role = gst::Structure::builder(role.as_str())
                .field("media.factory.access", true)
                .field("media.factory.construct", true)
                .build();
            factory.add_role_from_structure(&role);
        }
        let (weak, path) = (Arc::downgrade(self), mount.path.clone());
        factory.connect_media_configure(move |_, media| {
            if let Some(mounts) = weak.upgrade() {
                mounts.watch(&path, media);
            }
        });
        factory
    }

    /// Follows a pipeline from its start to its end.
    fn watch(self: &Arc<Self>, path: &str, media: &RTSPMedia) {
        let follow = |change: fn(&Mounts, &str, Option<&RTSPMedia>)| {
            let (weak, path) = (Arc::downgrade(self), path.to_owned());
            move |media: &RTSPMedia| {
                if let Some(mounts) = weak.upgrade() {
                    change(&mounts, &path, Some(media));
                }
            }
        };
        if let Some(entry) = self.lock().entries.get_mut(path) {
            entry.media.set(Some(media));
            entry.status.starts += 1;
            entry.status.plays = true;
        }
        media.connect_prepared(follow(|mounts, path, _| limited!(mounts.lock(), info, "plays", "{path} plays")));
        media.connect_unprepared(follow(|mounts, path, media| mounts.ended(path, media)));
        let (weak, path) = (Arc::downgrade(self), path.to_owned());
        media.connect_handle_message(None, move |media, message| {
            if let (gst::MessageView::Error(error), Some(mounts)) = (message.view(), weak.upgrade()) {
                let source = error.src().map(|source| source.name().to_string()).unwrap_or_default();
                let debug = error.debug().unwrap_or_default();
                let more = debug.lines().last().unwrap_or_default();
                mounts.failure(&path, media, &format!("{source}: {}: {more}", error.error().message()));
            }
            true
        });
    }

    fn ended(&self, path: &str, media: Option<&RTSPMedia>) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(path) else { return };
        // A new pipeline may have taken its place.
        if entry.media.upgrade().as_ref() == media {
            entry.status.plays = false;
            limited!(state, info, "released", "{path} is released: nobody plays it");
        }
    }

    fn failure(&self, path: &str, media: &RTSPMedia, why: &str) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(path) else { return };
        if entry.media.upgrade().as_ref() != Some(media) {
            return;
        }
        entry.media.set(None);
        entry.status.plays = false;
        entry.status.failures += 1;
        entry.status.last_failure = Some(why.into());
        limited!(state, warn, "failed", "{path} failed, its clients are disconnected: {why}");
        drop(state);
        (self.failed)(path);
    }

    /// The mount of a path as requested, which may go on behind it (`/camera/stream=0`).
    pub fn find(&self, requested: &str) -> Option<String> {
        let state = self.lock();
        let is_it = |path: &&String| {
            requested.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        state.entries.keys().filter(is_it).max_by_key(|path| path.len()).cloned()
    }

    /// Makes a mount ready for a client that asks for it: whether its regions have producers, and which pipeline shows
    /// them. The server asks for a user afterwards.
    pub fn prepare(self: &Arc<Self>, requested: &str) -> RTSPStatusCode {
        let Some(path) = self.find(requested).or_else(|| self.add_matching(requested)) else {
            let mut state = self.lock();
            state.not_found += 1;
            limited!(state, info, "no mount", "there is no mount {:?}", short(requested));
            return RTSPStatusCode::NotFound;
        };
        let found = self.lock().entries.get(&path).map(|it| (it.mount.clone(), it.factory.clone(), it.media.upgrade()));
        let Some((mount, factory, media)) = found else { return RTSPStatusCode::NotFound };
        let status = media.as_ref().map_or(RTSPMediaStatus::Unprepared, ended);
        // Its pipeline runs: this client gets the same.
        if status == RTSPMediaStatus::Prepared {
            return RTSPStatusCode::Ok;
        }
        match launch(&mount) {
            Ok(text) => {
                factory.set_launch(&text);
                RTSPStatusCode::Ok
            }
            Err((code, why)) => {
                self.refused(&path, &why);
                code
            }
        }
    }

    fn refused(&self, path: &str, why: &str) {
        let mut state = self.lock();
        limited!(state, warn, "refused", "{path} is refused: {why}");
        if let Some(entry) = state.entries.get_mut(path) {
            entry.status.refused += 1;
            entry.status.last_failure = Some(why.into());
        }
    }

    /// Adds a mount for a live region whose name matches.
    fn add_matching(self: &Arc<Self>, requested: &str) -> Option<String> {
        let regions = self.lock().regions.clone()?;
        let (pattern, mount) = &regions;
        // A control of a stream may follow.
        let path = format!("/{}", requested.trim_start_matches('/').split('/').next()?);
        let region = pattern.region(&path)?;
        if let Err(error) = Overview::of(&region) {
            // Others are not there.
            if matches!(error, AttachError::Denied { .. }) {
                limited!(self.lock(), warn, "denied", "{path} is no mount: {error}");
            }
            return None;
        }
        self.make_room();
        let mut state = self.lock();
        // Another client, or a reload, may have come first.
        if state.entries.contains_key(&path) {
            return Some(path);
        }
        if state.regions.as_ref() != Some(&regions) {
            return None;
        }
        if state.matched().count() >= self.most_matched {
            let most = self.most_matched;
            limited!(state, warn, "full", "{path} is no mount: there are {most} mounts of live regions already");
            return None;
        }
        self.add(&mut state, Mount { path: path.clone(), regions: vec![region], ..mount.clone() }, true);
        Some(path)
    }

    /// Where there are as many mounts of matching regions as may be, removes those that nobody plays and that have no
    /// producer.
    fn make_room(&self) {
        let state = self.lock();
        if state.matched().count() < self.most_matched {
            return;
        }
        let idle = state.matched().filter(|entry| !entry.status.plays).map(|entry| entry.mount.clone());
        let idle = idle.collect::<Vec<_>>();
        drop(state);
        let is_dead = |mount: &Mount| mount.regions.iter().all(|region| Overview::of(region).is_err());
        let dead: Vec<_> = idle.into_iter().filter(is_dead).map(|mount| mount.path).collect();
        let mut state = self.lock();
        let is_idle = |path: &String| state.entries.get(path).is_some_and(|it| it.is_matched && !it.status.plays);
        let dead: Vec<_> = dead.into_iter().filter(is_idle).collect();
        let removed = self.remove(&mut state, &dead);
        drop(state);
        drop(removed);
    }

    /// Asks the encoders for a keyframe, for a client that begins in the middle.
    pub fn request_keyframe(&self, requested: &str) {
        let Some(path) = self.find(requested) else { return };
        let media = self.lock().entries.get(&path).and_then(|entry| entry.media.upgrade());
        let Some(bin) = media.and_then(|media| media.element().downcast::<gst::Bin>().ok()) else { return };
        let pads = (0..).map_while(|number| bin.by_name(&format!("pay{number}"))?.static_pad("src"));
        for pad in pads {
            let event = gst::event::CustomUpstream::new(
                gst::Structure::builder("GstForceKeyUnit").field("all-headers", true).build(),
            );
            // Sound and some encoders do not know it.
            let _ = pad.send_event(event);
        }
    }

    /// Takes other settings. Returns the mounts that are gone or changed: their clients have to leave.
    pub fn reload(self: &Arc<Self>, settings: &Settings) -> Vec<String> {
        let mut state = self.lock();
        let is_same_pattern = state.regions == settings.regions;
        let is_same_multicast = state.multicast == settings.multicast;
        let stays = |entry: &Entry| match entry.is_matched {
            _ if !is_same_multicast => false,
            // A mount that is given takes its place.
            true => is_same_pattern && settings.mounts.iter().all(|mount| mount.path != entry.mount.path),
            false => settings.mounts.contains(&entry.mount),
        };
        let gone: Vec<_> =
            state.entries.iter().filter(|(_, entry)| !stays(entry)).map(|(path, _)| path.clone()).collect();
        let removed = self.remove(&mut state, &gone);
        if !is_same_multicast {
            state.addresses = addresses(&settings.multicast);
        }
        (state.regions, state.multicast) = (settings.regions.clone(), settings.multicast.clone());
        let is_new = |mount: &&Mount| !state.entries.contains_key(&mount.path);
        let new: Vec<_> = settings.mounts.iter().filter(is_new).cloned().collect();
        new.into_iter().for_each(|mount| self.add(&mut state, mount, false));
        drop(state);
        drop(removed);
        gone
    }

    /// The state of each mount, and the requests of others.
    pub fn status(&self) -> (Vec<MountStatus>, u64) {
        let state = self.lock();
        (state.entries.values().map(|entry| entry.status.clone()).collect(), state.not_found)
    }

    /// Logs that a client is one too many.
    pub fn log_excess(&self) {
        limited!(self.lock(), warn, "sent away", "a client is sent away: there are as many as --max-clients permits");
    }

    /// Logs how many lines were left out.
    pub fn log_summary(&self) {
        if let Some(summary) = self.lock().log.summary(Instant::now()) {
            info!("{summary}");
        }
    }
}

fn addresses(multicast: &Multicast) -> RTSPAddressPool {
    let pool = RTSPAddressPool::new();
    let ((first, last), (low, high)) = (&multicast.addresses, multicast.ports);
    if let Err(error) = pool.add_range(first, last, low, high, 1) {
        warn!("multicast {first}-{last}: {error}");
    }
    pool
}

/// The state of a pipeline, after its end if it is about to end: until then the server refuses it.
fn ended(media: &RTSPMedia) -> RTSPMediaStatus {
    let begun = Instant::now();
    while media.status() == RTSPMediaStatus::Unpreparing && begun.elapsed() < END {
        std::thread::sleep(Duration::from_millis(5));
    }
    media.status()
}

/// The beginning of a text of others, for the log.
pub fn short(text: &str) -> String {
    const MOST: usize = 300;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The pipeline for the regions as they are now.
fn launch(mount: &Mount) -> Result<String, (RTSPStatusCode, String)> {
    let mut caps = Vec::new();
    for region in &mount.regions {
        let overview = Overview::of(region).map_err(|error| (RTSPStatusCode::ServiceUnavailable, error.to_string()))?;
        let text = overview.caps.and_then(|caps| String::from_utf8(caps).ok());
        let missing = || (RTSPStatusCode::ServiceUnavailable, format!("the producer of {region} has sent no caps yet"));
        caps.push(text.ok_or_else(missing)?);
    }
    pipeline::describe(mount, &caps).map_err(|error| (RTSPStatusCode::UnsupportedMediaType, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Given;
    use shm2::{FrameInfo, Producer};
    use shm2_testing::TempRegion;

    fn settings(pattern: &str) -> Settings {
        gst::init().unwrap();
        gstshm2::plugin_register_static().unwrap();
        Given { regions: Some(pattern.into()), ..Given::default() }.settings().unwrap()
    }

    fn mounts(settings: &Settings) -> Arc<Mounts> {
        let points = RTSPMountPoints::new();
        // Found where there is no other.
        points.add_factory("/", RTSPMediaFactory::new());
        Mounts::new(points, settings, Arc::new(|_: &str| ()))
    }

    /// What the server has for a path.
    fn offered(mounts: &Mounts, path: &str) -> Option<RTSPMediaFactory> {
        let (factory, length) = mounts.points.match_(path);
        (length > 1).then_some(factory)
    }

    fn produce(region: &TempRegion) -> Producer {
        let mut producer = Producer::builder(region).unwrap().size(8 << 20).create().unwrap();
        producer.set_caps(b"video/x-raw, format=I420, width=16, height=16, framerate=25/1").unwrap();
        producer.send(&[0; 384], &FrameInfo::new()).unwrap();
        producer
    }

    fn path(region: &TempRegion) -> String {
        format!("/{}", region.path().file_name().unwrap().to_str().unwrap())
    }

    /// Clients that come at once, and a reload beside them: the server's factory is that of the entry, and a pattern
    /// that is gone leaves no mount.
    #[test]
    fn clients_and_a_reload_at_once_leave_one_factory_or_none() {
        let region = TempRegion::new();
        let _producer = produce(&region);
        let (with, without) = (settings(&region), settings("/dev/shm/shm2-test-none"));
        let mounts = mounts(&with);
        let path = path(&region);
        for round in 0..300 {
            mounts.reload(&with);
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| (start.wait(), mounts.prepare(&path)));
                }
                start.wait();
                if round % 2 == 0 {
                    mounts.reload(&without);
                }
            });
            let entry = mounts.lock().entries.get(&path).map(|entry| entry.factory.clone());
            assert_eq!(entry, offered(&mounts, &path), "round {round}");
            assert_eq!(entry.is_some(), round % 2 == 1, "round {round}");
            mounts.reload(&without);
        }
    }

    #[test]
    fn a_region_without_a_producer_leaves_its_mount_to_the_next() {
        let regions = [(); 3].map(|()| TempRegion::new());
        let settings = settings("/dev/shm/shm2-test-*");
        let mut mounts = mounts(&settings);
        Arc::get_mut(&mut mounts).unwrap().most_matched = 2;
        let ask = |number: usize| mounts.prepare(&path(&regions[number]));
        let [first, _second, _third] = regions.each_ref().map(produce);
        assert_eq!([ask(0), ask(1), ask(2)], [RTSPStatusCode::Ok, RTSPStatusCode::Ok, RTSPStatusCode::NotFound]);
        drop(first);
        assert_eq!([ask(2), ask(1)], [RTSPStatusCode::Ok; 2]);
        let offered = regions.each_ref().map(|region| offered(&mounts, &path(region)).is_some());
        assert_eq!(offered, [false, true, true]);
    }

    /// Of two pools the first address would be the same, and the second mount could not play beside the first.
    #[test]
    fn mounts_share_the_addresses_for_multicast() {
        let mount = |name| format!("/{name}=/dev/shm/shm2-test-none");
        let given = Given { mount_texts: vec![mount("a"), mount("b")], ..Given::default() };
        let _initialized = settings("/dev/shm/shm2-test-none");
        let mounts = mounts(&given.settings().unwrap());
        let pools = || ["/a", "/b"].map(|path| offered(&mounts, path).and_then(|factory| factory.address_pool()));
        let [first, second] = pools();
        assert!(first.is_some() && first == second);
        let other = Given { multicast: Some("239.1.2.3-239.1.2.4:6000-6009".into()), ..given };
        mounts.reload(&other.settings().unwrap());
        let [third, fourth] = pools();
        assert!(third.is_some() && third == fourth && third != first);
    }
}
