//! Live regions as devices: `gst-device-monitor-1.0` and programs that let their user choose a source list them.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use shm2::consumer::Overview;
use std::path::Path;

/// Where regions are looked for.
const DIRECTORY: &str = "/dev/shm";

mod region {
    use super::*;

    #[derive(Default)]
    pub struct Device {
        pub(super) path: std::sync::OnceLock<String>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Device {
        const NAME: &'static str = "GstShm2Device";
        type Type = super::Device;
        type ParentType = gst::Device;
    }

    impl ObjectImpl for Device {}
    impl GstObjectImpl for Device {}

    impl DeviceImpl for Device {
        fn create_element(&self, name: Option<&str>) -> Result<gst::Element, gst::LoggableError> {
            let path = self.path.get().cloned().unwrap_or_default();
            let builder = glib::Object::builder::<crate::src::Shm2Src>().property("shm-path", path);
            let builder = if let Some(name) = name { builder.property("name", name) } else { builder };
            Ok(builder.build().upcast())
        }
    }
}

glib::wrapper! {
    /// One live region.
    pub struct Device(ObjectSubclass<region::Device>) @extends gst::Device, gst::Object;
}

impl Device {
    fn new(region: &Overview) -> Self {
        let caps = region.caps.as_deref().and_then(crate::caps::from_text).unwrap_or_else(gst::Caps::new_any);
        let uri = uri(region);
        let properties = gst::Structure::builder("shm2-region")
            .field("shm-path", &uri)
            .field("shm2.bytes", region.bytes)
            .field("shm2.producer-pid", region.producer_pid)
            .field("shm2.kept", region.is_kept)
            .build();
        let name = region.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let device: Self = glib::Object::builder()
            .property("display-name", name)
            .property("device-class", class(&caps))
            .property("caps", &caps)
            .property("properties", properties)
            .build();
        // A fresh one has none yet.
        let _ = device.imp().path.set(uri);
        device
    }

    fn path(&self) -> &str {
        self.imp().path.get().map_or("", String::as_str)
    }
}

/// The region's name as the elements write it.
fn uri(region: &Overview) -> String {
    crate::uri::uri_of(&region.path.to_string_lossy()).unwrap_or_default()
}

fn class(caps: &gst::Caps) -> &'static str {
    match caps.structure(0).map(|s| s.name().as_str().split('/').next().unwrap_or_default()) {
        Some("video" | "image") => "Source/Video",
        Some("audio") => "Source/Audio",
        _ => "Source",
    }
}

mod provider {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::thread::JoinHandle;
    use std::time::Duration;

    /// How often a monitor learns what came and went.
    const LOOK_EVERY: Duration = Duration::from_secs(1);

    #[derive(Default)]
    pub struct Provider {
        watcher: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Provider {
        const NAME: &'static str = "GstShm2DeviceProvider";
        type Type = super::Provider;
        type ParentType = gst::DeviceProvider;
    }

    impl ObjectImpl for Provider {}
    impl GstObjectImpl for Provider {}

    impl DeviceProviderImpl for Provider {
        fn metadata() -> Option<&'static gst::subclass::DeviceProviderMetadata> {
            static METADATA: std::sync::LazyLock<gst::subclass::DeviceProviderMetadata> =
                std::sync::LazyLock::new(|| {
                    gst::subclass::DeviceProviderMetadata::new(
                        "Shared-memory regions",
                        // Monitors that filter by class ask only providers that name all of it.
                        "Source/Video/Audio",
                        "Lists the regions in /dev/shm that have a live producer",
                        "The shm2 contributors",
                    )
                });
            Some(&*METADATA)
        }

        fn probe(&self) -> Vec<gst::Device> {
            live().into_iter().map(|region| Device::new(&region).upcast()).collect()
        }

        fn start(&self) -> Result<(), gst::LoggableError> {
            let provider = self.obj().clone();
            let mut known = follow(&provider, Vec::new());
            let (end, ended) = channel();
            let look = move || {
                while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    known = follow(&provider, std::mem::take(&mut known));
                }
            };
            let thread = std::thread::Builder::new().name("shm2-devices".into()).spawn(look);
            let thread = thread.map_err(|e| gst::loggable_error!(gst::CAT_RUST, "no thread: {e}"))?;
            *crate::lock(&self.watcher) = Some((end, thread));
            Ok(())
        }

        fn stop(&self) {
            let watcher = crate::lock(&self.watcher).take();
            if let Some((end, thread)) = watcher {
                drop(end);
                // A thread that panicked has nothing left to end.
                let _ = thread.join();
            }
        }
    }

    /// Tells what came and went since `known`; returns what is there now.
    fn follow(provider: &super::Provider, known: Vec<Device>) -> Vec<Device> {
        let regions = live();
        // One whose caps were not known yet comes anew with them.
        let is_live = |device: &Device| {
            let region = regions.iter().find(|region| device.path() == uri(region));
            region.is_some_and(|region| region.caps.is_none() || device.caps().is_some_and(|caps| !caps.is_any()))
        };
        let (mut still, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(is_live);
        gone.iter().for_each(|device| provider.device_remove(device));
        for region in &regions {
            let uri = uri(region);
            if !still.iter().any(|device| device.path() == uri) {
                let device = Device::new(region);
                provider.device_add(&device);
                still.push(device);
            }
        }
        still
    }

    fn live() -> Vec<Overview> {
        Overview::all_in(Path::new(DIRECTORY))
    }
}

glib::wrapper! {
    /// Lists live regions.
    pub struct Provider(ObjectSubclass<provider::Provider>) @extends gst::DeviceProvider, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::DeviceProvider::register(Some(plugin), "shm2deviceprovider", gst::Rank::PRIMARY, Provider::static_type())
}
