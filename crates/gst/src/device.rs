//! Live regions as devices, for `gst-device-monitor-1.0` and programs with a choice of sources.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use shm2::Overview;

/// Folder that is searched for regions, and the folders in it.
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
}

/// The region's name as the elements write it.
fn uri(region: &Overview) -> String {
    region.uri()
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
    use shm2::discovery::{ListingChange, Watch, WatchEnd, all_below};
    use std::collections::HashMap;
    use std::path::PathBuf;
    use std::sync::Mutex;
    use std::time::Duration;

    #[derive(Default)]
    pub struct Provider {
        /// Ends the thread that follows the regions.
        running: Mutex<Option<WatchEnd>>,
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
                        "Lists the regions in /dev/shm and its folders that have a live producer",
                        "The shm2 contributors",
                    )
                });
            Some(&*METADATA)
        }

        fn probe(&self) -> Vec<gst::Device> {
            all_below(DIRECTORY).iter().map(|region| Device::new(region).upcast()).collect()
        }

        fn start(&self) -> Result<(), gst::LoggableError> {
            let mut devices = Devices::new(self.obj().clone());
            let running = devices.end.clone();
            devices.update(Some(Duration::ZERO));
            let follow = move || {
                while !devices.end.is_set() {
                    devices.update(None);
                }
            };
            let thread = std::thread::Builder::new().name("shm2-devices".into()).spawn(follow);
            thread.map_err(|e| gst::loggable_error!(gst::CAT_RUST, "no thread: {e}"))?;
            *crate::lock(&self.running) = Some(running);
            Ok(())
        }

        /// Does not wait for the thread: it may be in a handler of a message, which may have called this.
        fn stop(&self) {
            crate::lock(&self.running).take().inspect(WatchEnd::end);
        }
    }

    /// The devices that a started provider has.
    struct Devices {
        provider: super::Provider,
        regions: Watch,
        known: HashMap<PathBuf, Device>,
        /// Set when the provider is stopped.
        end: WatchEnd,
    }

    impl Devices {
        fn new(provider: super::Provider) -> Self {
            let regions = Watch::new([DIRECTORY]);
            let end = regions.ender();
            Self { provider, regions, known: HashMap::new(), end }
        }

        /// Waits for changes, and adds and removes devices. A region with another producer or other caps is another
        /// device.
        fn update(&mut self, timeout: Option<Duration>) {
            for change in self.regions.wait(timeout) {
                if self.end.is_set() {
                    return;
                }
                if let Some(device) = self.known.remove(change.path()) {
                    self.provider.device_remove(&device);
                }
                if let ListingChange::Appeared(region) | ListingChange::Changed(region) = change
                    && !self.end.is_set()
                {
                    self.add(&region);
                }
            }
        }

        fn add(&mut self, region: &Overview) {
            let device = Device::new(region);
            self.provider.device_add(&device);
            if self.end.is_set() {
                // The base class has removed those that it had.
                self.provider.device_remove(&device);
            }
            self.known.insert(region.path.clone(), device);
        }
    }
}

glib::wrapper! {
    /// Lists live regions.
    pub struct Provider(ObjectSubclass<provider::Provider>) @extends gst::DeviceProvider, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::DeviceProvider::register(Some(plugin), "shm2deviceprovider", gst::Rank::PRIMARY, Provider::static_type())
}
