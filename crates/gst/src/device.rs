//! Live regions as devices, for `gst-device-monitor-1.0` and programs with a choice of sources.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use shm2::consumer::Overview;
use std::path::Path;

/// Directory that is searched for regions.
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
        // The path of a new device is not set yet.
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
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
    use std::time::Duration;

    /// Time between two searches for regions.
    const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

    #[derive(Default)]
    pub struct Provider {
        /// Keeps the searching thread running.
        search: Mutex<Option<Sender<()>>>,
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
                        // A monitor with a class filter asks only providers whose class contains all of it.
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
            let (running, ended) = channel();
            let mut known = update(&provider, Vec::new(), &ended);
            let search = move || {
                while ended.recv_timeout(SEARCH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    known = update(&provider, std::mem::take(&mut known), &ended);
                }
            };
            let thread = std::thread::Builder::new().name("shm2-devices".into()).spawn(search);
            thread.map_err(|e| gst::loggable_error!(gst::CAT_RUST, "no thread: {e}"))?;
            *crate::lock(&self.search) = Some(running);
            Ok(())
        }

        /// Does not wait for the searching thread: it may be in a handler of a message, which may have called this.
        fn stop(&self) {
            drop(crate::lock(&self.search).take());
        }
    }

    /// Adds and removes devices since `known`; returns the current ones. `ended` has no sender any more when the
    /// provider is stopped.
    fn update(provider: &super::Provider, known: Vec<Device>, ended: &Receiver<()>) -> Vec<Device> {
        let is_over = || ended.try_recv() == Err(TryRecvError::Disconnected);
        let regions = live();
        // A device without known caps is replaced when its region has caps.
        let is_live = |device: &Device| {
            let region = regions.iter().find(|region| device.path() == uri(region));
            region.is_some_and(|region| region.caps.is_none() || device.caps().is_some_and(|caps| !caps.is_any()))
        };
        let (mut devices, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(is_live);
        gone.iter().take_while(|_| !is_over()).for_each(|device| provider.device_remove(device));
        for region in &regions {
            let uri = uri(region);
            if !is_over() && !devices.iter().any(|device| device.path() == uri) {
                let device = Device::new(region);
                provider.device_add(&device);
                if is_over() {
                    // The base class has removed those that it had.
                    provider.device_remove(&device);
                }
                devices.push(device);
            }
        }
        devices
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
