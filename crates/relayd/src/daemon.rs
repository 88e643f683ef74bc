//! The daemon around the supervisor: listeners, control, metrics, video devices, signals.

#[cfg(unix)]
use crate::control::serve_status;
use crate::demand::{BindError, Demand, Listener, Rules, watch_video_device};
use crate::event::{Event, Events};
use crate::listen::Address;
use crate::manager;
use crate::metrics::serve_metrics;
use crate::relay::{Relay, RelayError, Reload, log_warnings};
use crate::settings::Settings;
use signal_hook::consts::SIGINT;
#[cfg(unix)]
use signal_hook::consts::SIGTERM;
use std::io;
use tracing::{info, warn};

/// Runs the whole daemon: pipelines, listeners, control, metrics, signals.
///
/// # Errors
/// Why it does not start, or cannot continue.
pub fn run(settings: Settings, sockets: Vec<Listener>, reload: &Reload) -> Result<(), RelayError> {
    let system = |what| move |source| RelayError::System { what, source };
    log_warnings(&settings);
    let mut listeners = sockets;
    for address in &settings.listen {
        listeners.push(listen(address)?);
    }
    let rules =
        Rules { most: settings.max_clients, token: settings.token.clone(), allow_uid: settings.allow_uid.clone() };
    let (control, metrics) = (settings.control.clone(), settings.metrics);
    // Everything that may fail comes before the output, which creates files.
    let (events, inbox) = Events::new();
    watch_signals(events.clone()).map_err(system("watch signals"))?;
    #[cfg(unix)]
    let _control = control
        .map(|path| serve_status(&path, events.clone()).map_err(|source| RelayError::Control { path, source }))
        .transpose()?;
    #[cfg(not(unix))]
    drop(control);
    if let Some(address) = metrics {
        if !address.ip().is_loopback() {
            warn!("metrics at {address} can be read from other machines");
        }
        let at = serve_metrics(address, events.clone()).map_err(|source| RelayError::Metrics { address, source })?;
        info!("metrics at http://{at}/metrics");
    }
    let consumers = settings.consumers;
    for (number, path) in settings.video_devices.iter().enumerate() {
        watch_video_device(path.clone(), number, events.clone())
            .map_err(|source| RelayError::VideoDevice { path: path.clone(), source })?;
        info!("readers of {} are demand", path.display());
    }
    let relay = Relay::new(settings, &events, inbox)?;
    info!("the output runs");
    if consumers {
        info!("consumers of the output's region are demand");
    }
    for listener in &listeners {
        info!("listening at {listener}");
    }
    let _demand = Demand::start(listeners, rules, events).map_err(system("serve clients"))?;
    manager::ready("input off");
    relay.work(reload)
}

fn listen(address: &Address) -> Result<Listener, BindError> {
    if address.is_wide() {
        warn!("{address} can be reached from other machines: every connection switches the input on");
    }
    Listener::bind(address)
}

#[cfg(unix)]
fn watch_signals(events: Events) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, signal_hook::consts::SIGHUP])?;
    let forward = move || signals.forever().for_each(|signal| events.send(Event::Signal(signal)));
    std::thread::Builder::new().name("signals".into()).spawn(forward)?;
    Ok(())
}

/// Ctrl+C, Ctrl+Break and the closing of the console.
#[cfg(windows)]
fn watch_signals(events: Events) -> io::Result<()> {
    ctrlc::set_handler(move || events.send(Event::Signal(SIGINT))).map_err(io::Error::other)
}
